"""What libraries save in formats of their own: graphs, tensors, trees, layers, and the folders that trackers write."""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import gguf
import h5py
import numpy as np
import onnx
import safetensors.numpy
import skops.io
from onnx import helper, numpy_helper
from sklearn import ensemble, linear_model, pipeline, preprocessing

from tests.support.corpus.sample import Sample

_RANDOM = np.random.default_rng(20261125)
_X = _RANDOM.normal(size=(60, 4))
_Y = (_X[:, 0] > 0).astype(int)
_CHAT = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ '<|user|>' + message['content'] }}"
    "{% elif loop.last and add_generation_prompt %}{{ raise_exception('no') }}{% else %}{{ message['content'] | trim }}"
    "{% endif %}{% endfor %}{% set ns = namespace(found=false) %}{{ bos_token }}"
)


def through_file(write: Callable[[Path], object], name: str = "model") -> bytes:
    """What a library that only knows paths wrote."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        write(path)
        return path.read_bytes()


# ---------------------------------------------------------------------------------------------------------------- ONNX


def _graph() -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 4])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["n", 3])
    weights = numpy_helper.from_array(_RANDOM.normal(size=(4, 3)).astype(np.float32), "w")
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Relu", ["m"], ["y"])]
    opset = helper.make_opsetid("", 17)
    return helper.make_model(
        helper.make_graph(nodes, "g", [x], [y], [weights]), opset_imports=[opset], producer_name="us"
    )


def _ml_graph() -> onnx.ModelProto:
    """A scaler and a linear classifier of `ai.onnx.ml`, what converters make of scikit-learn."""
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2])
    label = helper.make_tensor_value_info("label", onnx.TensorProto.INT64, ["n"])
    scores = helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["n", 2])
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.0, 0.0], scale=[1.0, 2.0]),
        helper.make_node(
            "LinearClassifier", ["s"], ["label", "scores"], domain="ai.onnx.ml", coefficients=[1.0, 2.0, -1.0, -2.0],
            intercepts=[0.0, 0.0], classlabels_ints=[0, 1], multi_class=0, post_transform="LOGISTIC",
        ),
    ]  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph(nodes, "g", [x], [label, scores]), opset_imports=opsets)


def _with_external_data() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        onnx.save(_graph(), path, save_as_external_data=True, location="model.onnx.data", size_threshold=0)
        return {name: Path(folder, name).read_bytes() for name in ("model.onnx", "model.onnx.data")}


def _onnx() -> list[Sample]:
    return [
        Sample("graph.onnx", lambda: bytes(_graph().SerializeToString())),
        Sample("ml.onnx", lambda: bytes(_ml_graph().SerializeToString())),
        Sample("external-onnx", _with_external_data),
    ]


# -------------------------------------------------------------------------------------------------------------- tensors


def _tensors() -> dict[str, np.ndarray[Any, Any]]:
    return {
        "a": np.ones((3, 2), np.float32),
        "b": np.arange(4),
        "half": np.ones(2, np.float16),
        "none": np.empty((0, 2)),
    }


def _npz(*, compressed: bool) -> bytes:
    buffer = io.BytesIO()
    tensors: dict[str, Any] = dict(_tensors())
    (np.savez_compressed if compressed else np.savez)(buffer, **tensors)
    return buffer.getvalue()


def _npy(value: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value)
    return buffer.getvalue()


def _gguf(template: str | None = None) -> bytes:
    def write(path: Path) -> None:
        writer = gguf.GGUFWriter(str(path), "llama")
        writer.add_block_count(1)
        writer.add_context_length(128)
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["a", "b", "<|end|>"])
        writer.add_array("general.tags", ["text"])
        if template:
            writer.add_chat_template(template)
        writer.add_tensor("output.weight", np.ones((4, 8), np.float32))
        writer.add_tensor("norm.weight", np.ones(8, np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    return through_file(write)


def _sharded() -> dict[str, bytes]:
    """As transformers saves a large model: shards, their index, tokenizer and cards."""
    index = {"metadata": {"total_size": 24}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "torch_dtype": "float32",
        "transformers_version": "4.55.0", "_name_or_path": "acme/tiny",
    }  # fmt: skip
    tokenizer = {
        "version": "1.0",
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []},
        "added_tokens": [],
    }
    return {
        "model-00001-of-00002.safetensors": safetensors.numpy.save(
            {"a": np.ones((3, 2), np.float32)}, {"format": "pt"}
        ),
        "model-00002-of-00002.safetensors": safetensors.numpy.save({"b": np.ones(4, np.float32)}, {"format": "pt"}),
        "model.safetensors.index.json": json.dumps(index, indent=2).encode(),
        "config.json": json.dumps(config, indent=2).encode(),
        "generation_config.json": b'{"bos_token_id": 1, "eos_token_id": 2, "max_length": 128}',
        "tokenizer.json": json.dumps(tokenizer).encode(),
        "tokenizer_config.json": json.dumps({"tokenizer_class": "LlamaTokenizer", "chat_template": _CHAT}).encode(),
        "special_tokens_map.json": b'{"eos_token": "</s>"}',
        "README.md": b"---\nlicense: apache-2.0\npipeline_tag: text-generation\n---\n# Tiny\n\nSee https://example.org\n",
        ".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n",
    }


def _raw() -> list[Sample]:
    return [
        Sample("tensors.safetensors", lambda: bytes(safetensors.numpy.save(_tensors()))),
        Sample(
            "described.safetensors", lambda: bytes(safetensors.numpy.save(_tensors(), {"format": "np", "by": "us"}))
        ),
        Sample("sharded", _sharded),
        Sample("plain.gguf", _gguf),
        Sample("chat.gguf", partial(_gguf, _CHAT)),
        Sample("array.npy", partial(_npy, np.arange(12.0).reshape(3, 4))),
        Sample("text.npy", partial(_npy, np.array(["a", "bc"]))),
        Sample("records.npy", partial(_npy, np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]))),
        Sample("arrays.npz", partial(_npz, compressed=False)),
        Sample("arrays-packed.npz", partial(_npz, compressed=True)),
    ]


# ------------------------------------------------------------------------------------------------------- HDF5 and Keras


def _hdf5() -> bytes:
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("layers/dense/w", data=np.ones((4, 3), np.float32), chunks=True, compression="gzip")
            file["layers"].attrs["names"] = ["w", "b"]
            file["again"] = h5py.SoftLink("/layers/dense/w")

    return through_file(write)


@cache
def _keras_model(kind: str) -> Any:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    layers = keras.layers
    if kind == "image":
        image = [layers.Input((8, 8, 1)), layers.Conv2D(2, 3), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(2)]
        return keras.Sequential(image)
    if kind == "functional":
        start = layers.Input((4,))
        left, right = layers.Dense(3, activation="gelu")(start), layers.Dense(3, kernel_regularizer="l2")(start)
        return keras.Model(start, layers.Dense(1)(layers.Concatenate()([left, layers.Dropout(0.1)(right)])))
    model = keras.Sequential([layers.Input((4,)), layers.Dense(3, activation="relu"), layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse", metrics=["mae"])
    return model


def _keras_file(kind: str, suffix: str) -> bytes:
    return through_file(lambda path: _keras_model(kind).save(path), f"model{suffix}")


def _keras() -> list[Sample]:
    kinds = ("dense", "functional", "image")
    made = [
        Sample(f"{kind}{suffix}", partial(_keras_file, kind, suffix)) for kind in kinds for suffix in (".keras", ".h5")
    ]
    weights = partial(through_file, lambda path: _keras_model("dense").save_weights(path), "model.weights.h5")
    return [*made, Sample("model.weights.h5", weights), Sample("datasets.h5", _hdf5)]


# -------------------------------------------------------------------------------------------------- boosters and skops


def _boosters() -> list[Sample]:
    import lightgbm
    import xgboost

    @cache
    def extreme() -> Any:
        return xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(_X, _Y)

    @cache
    def light() -> Any:
        return lightgbm.LGBMClassifier(n_estimators=3, min_child_samples=5, verbose=-1).fit(_X, _Y).booster_

    return [
        Sample("xgboost.json", lambda: through_file(lambda path: extreme().save_model(path), "model.json")),
        Sample("xgboost.ubj", lambda: through_file(lambda path: extreme().save_model(path), "model.ubj")),
        Sample("lightgbm.txt", lambda: through_file(lambda path: light().save_model(path), "model.txt")),
        Sample("lightgbm.json", lambda: json.dumps(light().dump_model()).encode()),
    ]


def _skops() -> list[Sample]:
    models = {
        "ridge": linear_model.Ridge().fit(_X, _Y),
        "forest": ensemble.RandomForestClassifier(3).fit(_X, _Y),
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression()).fit(
            _X, _Y
        ),
    }
    return [
        Sample(f"{name}.skops", partial(lambda model: bytes(skops.io.dumps(model)), model))
        for name, model in models.items()
    ]


def samples() -> list[Sample]:
    """All of them."""
    return [*_onnx(), *_raw(), *_keras(), *_boosters(), *_skops()]
