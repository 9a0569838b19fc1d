"""Keras in its three containers, skops, and boosters: formats that name classes and functions to make.

Sources: CVE-2024-3660 and -2025-9905 (Lambda in HDF5), -2025-1550 and -8747 (functions by module and name), -9906
(switching safe mode off), -12058 and -12060 (files by layers), -49655 (torch in a layer); for skops CVE-2025-54412,
-54413 and -54886.
"""

from __future__ import annotations

import base64
import io
import json
from functools import partial

import h5py
import numpy as np

from tests.support.corpus.malicious_containers import zipped
from tests.support.corpus.malicious_pickles import BAD, BAD_4
from tests.support.corpus.sample import Sample

_KERAS = "keras."
Config = dict[str, object]
_CODE = base64.b64encode(b"\xe3" + bytes(40)).decode()
"""What begins like a marshalled code object."""


def layer(class_name: str, config: Config, module: str = "keras.layers", registered: str | None = None) -> Config:
    """A layer as Keras 3 describes it."""
    return {"module": module, "class_name": class_name, "config": config, "registered_name": registered}


def function(module: str, name: str) -> Config:
    """A function by name, as Keras 3 describes it."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def _model(*layers: Config, compile_config: Config | None = None) -> Config:
    config: Config = {"name": "m", "trainable": True, "layers": [layer("InputLayer", {"name": "i"}), *layers]}
    whole = layer("Sequential", config, "keras")
    return whole | {"compile_config": compile_config} if compile_config else whole


def keras_zip(config: object, weights: bytes | None = None, **more: bytes) -> bytes:
    """What Keras 3 saves."""
    metadata = json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}).encode()
    members = {"metadata.json": metadata, "config.json": json.dumps(config).encode()}
    return zipped(members | {"model.weights.h5": weights or weights_h5()} | more)


def weights_h5(**attributes: str) -> bytes:
    """An HDF5 file with one dataset and root attributes."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_dataset("layers/dense/vars/0", data=np.ones((2, 2), np.float32))
        for name, value in attributes.items():
            file.attrs[name] = value
    return buffer.getvalue()


def _h5(*layers: Config) -> bytes:
    """What Keras 2 saves: the configuration is an attribute."""
    config = {"class_name": "Sequential", "config": {"name": "m", "layers": list(layers)}}
    return weights_h5(model_config=json.dumps(config), keras_version="2.15.0", backend="tensorflow")


_LAMBDA_2: Config = {
    "class_name": "Lambda",
    "config": {"name": "l", "function": [_CODE, None, None], "function_type": "lambda"},
}
_LAMBDA_3 = layer("Lambda", {
    "name": "l", "function": {"class_name": "__lambda__", "config": {"code": _CODE, "defaults": None, "closure": None}},
})  # fmt: skip


def _lambda_of(module: str, name: str, **arguments: object) -> Config:
    return layer("Lambda", {"name": "l", "function": function(module, name), "arguments": arguments})


def _wrapped(inner: Config) -> Config:
    return {"class_name": "TimeDistributed", "config": {"name": "t", "layer": inner}}


def _nested_model(inner: Config) -> Config:
    return {"class_name": "Functional", "config": {"name": "f", "layers": [_wrapped(inner)]}}


def _h5_link(kind: str) -> bytes:
    """An HDF5 file whose dataset lies in another file."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        if kind == "link":
            file["layers"] = h5py.ExternalLink("/etc/passwd", "/x")
        elif kind == "up":
            file["layers"] = h5py.ExternalLink("../../secret.h5", "/x")
        else:
            file.create_dataset("layers", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    return buffer.getvalue()


def _h5_pickle() -> bytes:
    """A pickled object kept in a dataset, as some trainers keep their optimiser."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["optimizer_weights"] = np.void(BAD)
        file.create_dataset("state", data=np.void(BAD_4))
    return buffer.getvalue()


def _h5_layers() -> list[Sample]:
    named: Config = {"class_name": "Dense", "config": {"name": "d", "activation": function("os", "system")}}
    return [
        Sample("lambda.h5", lambda: _h5(_LAMBDA_2), _KERAS),
        Sample("lambda.hdf5", lambda: _h5(_LAMBDA_3), _KERAS),
        Sample("lambda-wrapped.h5", lambda: _h5(_wrapped(_LAMBDA_2)), _KERAS),
        Sample("lambda-nested.h5", lambda: _h5(_nested_model(_LAMBDA_2)), _KERAS),
        Sample("lambda-as.bin", lambda: _h5(_LAMBDA_2), _KERAS),
        Sample("function-os.h5", lambda: _h5(named), _KERAS),
        Sample("external-link.h5", lambda: _h5_link("link"), "hdf5.|keras."),
        Sample("external-link-up.h5", lambda: _h5_link("up"), "hdf5.|keras."),
        Sample("external-data.h5", lambda: _h5_link("data"), "hdf5.|keras."),
        Sample("pickle-inside.h5", _h5_pickle, "hdf5.|keras.|pickle."),
    ]


def _torch_wrapper() -> Config:
    return layer("TorchModuleWrapper", {"name": "t", "module": base64.b64encode(BAD).decode()}, "keras.layers")


def _keras_3() -> list[Sample]:
    switch = _lambda_of("keras.config", "enable_unsafe_deserialization")
    injected: dict[str, Config] = {
        "lambda": _LAMBDA_3,
        "lambda-wrapped": layer("TimeDistributed", {"name": "t", "layer": _LAMBDA_3}),
        "lambda-function-os": _lambda_of("os", "system", command="true"),
        "lambda-function-builtins": _lambda_of("builtins", "exec"),
        "lambda-get-file": _lambda_of("keras.utils", "get_file", fname="x", origin="http://127.0.0.1:9/x"),
        "lambda-load-model": _lambda_of("keras.models", "load_model", filepath="other.keras", safe_mode=False),
        "switch": switch,
        "module-os": {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None},
        "module-subprocess": layer("Popen", {"args": ["true"]}, "subprocess"),
        "module-numpy": layer("runstring", {"astr": "0"}, "numpy.testing._private.utils"),
        "activation-os": layer("Activation", {"name": "a", "activation": function("os", "system")}),
        "initializer-builtins": layer("Dense", {"name": "d", "kernel_initializer": layer("eval", {}, "builtins")}),
        "module-extract": _lambda_of("keras.src.utils.file_utils", "extract_archive"),
        "vocabulary-outside": layer("StringLookup", {"name": "s", "vocabulary": "/etc/passwd"}),
        "vocabulary-remote": layer("StringLookup", {"name": "s", "vocabulary": "http://127.0.0.1:9/x"}),
        # a name with dots: joined with its module it is another module's function
        "dotted-get-file": layer("Activation", {"name": "a", "activation": function("keras", "utils.get_file")}),
        "torch-module": _torch_wrapper(),
        "saved-model-layer": layer("TFSMLayer", {"name": "t", "filepath": "/tmp/other", "call_endpoint": "serve"}),
    }  # fmt: skip
    made = [Sample(f"{name}.keras", partial(lambda config: keras_zip(_model(config)), config), _KERAS)
            for name, config in injected.items()]  # fmt: skip
    loss: Config = {"loss": function("os", "system"), "optimizer": "adam"}
    return [
        *made,
        Sample("loss-os.keras", lambda: keras_zip(_model(compile_config=loss)), _KERAS),
        Sample("top-module.keras", lambda: keras_zip(layer("Popen", {"args": ["true"]}, "subprocess")), _KERAS),
        Sample("weights-link.keras", lambda: keras_zip(_model(), _h5_link("link")), "keras.|hdf5."),
        Sample("pickle-asset.keras", lambda: keras_zip(_model(), **{"assets/state.pkl": BAD}), "pickle."),
        Sample("config-only", lambda: {"config.json": json.dumps(_model(_LAMBDA_3)).encode()}, "keras.|config."),
    ]


def _skops(schema: Config, **members: bytes) -> bytes:
    whole = {"protocol": 2, "_skops_version": "0.16.0", **schema}
    return zipped({"schema.json": json.dumps(whole).encode(), **members})


def _node(loader: str, module: str, name: str, **more: object) -> Config:
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, **more}


def _state(module: str, name: str, **state: str) -> Config:
    """An object whose state its own method sets."""
    values = {key: _node("JsonNode", "builtins", "str", content=json.dumps(value)) for key, value in state.items()}
    keys = _node("ListNode", "builtins", "list", content=[])
    return _node(
        "ObjectNode", module, name, content=_node("DictNode", "builtins", "dict", content=values, key_types=keys)
    )


def _skops_files() -> list[Sample]:
    text = _node("JsonNode", "builtins", "str", content='"true"', is_json=True)
    items = _node("TupleNode", "builtins", "tuple", content=[text])
    os_system = _node("FunctionNode", "os", "system", content="system")
    method = _node("MethodNode", "builtins", "function", content={"func": "__globals__", "obj": os_system})
    nodes = {
        "function": os_system,
        "object": _node("ObjectNode", "subprocess", "Popen", content=items),
        "type": _node("TypeNode", "os", "system"),
        "partial": _node("PartialNode", "functools", "partial", content={"func": os_system, "args": items}),
        "method": method,
        "method-mismatch": _node(
            "MethodNode", "sklearn.linear_model", "Ridge", content={"func": "system", "obj": os_system}
        ),
        "operator": _node("OperatorFuncNode", "operator", "methodcaller", attrs=items),
        "operator-attrgetter": _node("OperatorFuncNode", "operator", "attrgetter", attrs=items),
        "nested": _node("DictNode", "builtins", "dict", content={"a": os_system}, key_types=items),
        "scipy-template": _state("scipy.stats._continuous_distns", "norm_gen", _parse_arg_template="0"),
        "sklearn-client": _node("TypeNode", "sklearn.callback._transport", "Client"),
        "loader": _node("EvalNode", "builtins", "eval", content="0"),
    }
    made = [Sample(f"{name}.skops", partial(_skops, node), "skops.") for name, node in nodes.items()]
    return [
        *made,
        Sample("pickle-as.skops", lambda: BAD, "pickle.|folder."),
        Sample("pickle-inside.skops", lambda: _skops(text, **{"0.npy": BAD_4}), "pickle."),
    ]


def _boosters() -> list[Sample]:
    return [Sample(f"pickle-as.{suffix}", lambda: BAD, "pickle.") for suffix in ("cbm", "ubj", "model", "xgb", "lgb")]


def samples() -> list[Sample]:
    """All of them."""
    return [*_h5_layers(), *_keras_3(), *_skops_files(), *_boosters()]
