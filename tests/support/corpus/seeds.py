"""Small valid files, one a format, for mutation; written by the validators' interpreter."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import zlib
from functools import partial

import lz4.frame
import numpy as np
import zstandard

from tests.support.corpus.malicious_containers import sevenzip, tarred, torch_legacy, torch_zip, zipped
from tests.support.corpus.malicious_graphs import gguf, onnx_model, safetensors, saved_model, tflite
from tests.support.corpus.malicious_layers import keras_zip, layer, weights_h5
from tests.support.corpus.sample import Builder, Sample

_VALUE = {"weights": [1.5] * 20, "names": {"a": ("b", None)}, "data": b"\0" * 50}
_TEXTS = {
    "model.json": b'{"hidden": [1, 2, {"a": "b"}], "chat_template": "{{ messages[0].content }}"}',
    "MLmodel": b"flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    env: {conda: conda.yaml}\n",
    "requirements.txt": b"numpy==2.4.6\nscipy>=1.0 ; python_version < '3.12'\n",
    "card.md": b"---\nlicense: mit\n---\n# Model\n",
}


def _npy(value: object) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(value), allow_pickle=True)
    return buffer.getvalue()


def _layers() -> dict[str, object]:
    dense = layer("Dense", {"name": "d", "units": 2, "activation": "relu"})
    return layer("Sequential", {"name": "m", "layers": [layer("InputLayer", {"name": "i"}), dense]}, "keras")


def _skops() -> bytes:
    schema = (
        b'{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": "\\"a\\"", "protocol": 2}'
    )
    return zipped({"schema.json": schema})


def samples() -> list[Sample]:
    """All of them. Those of `known=True` begin and end somewhere, so that a shorter file must never pass."""
    inner = pickle.dumps(_VALUE, 4)
    packers = {
        "pkl.gz": gzip.compress, "pkl.bz2": bz2.compress, "pkl.xz": lzma.compress, "joblib": zlib.compress,
        "pkl.lz4": lz4.frame.compress, "pkl.zst": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    whole: dict[str, Builder] = {
        **{f"protocol-{protocol}.pkl": partial(pickle.dumps, _VALUE, protocol) for protocol in range(6)},
        "state.pt": lambda: torch_zip(pickle.dumps({"a": 1}, 2), **{"data/0": bytes(16)}),
        "legacy.pt": lambda: torch_legacy(pickle.dumps({"a": 1}, 2)),
        "array.npy": partial(_npy, np.arange(30.0)),
        "objects.npy": partial(_npy, np.array([None, 1], dtype=object)),
        "arrays.npz": lambda: zipped({"a.npy": _npy([1.0])}),
        "files.zip": lambda: zipped({"a.json": b"{}", "b.pkl": inner}, 8),
        "files.7z": lambda: sevenzip({"a.pkl": inner}),
        "plain.safetensors": safetensors,
        "chat.gguf": lambda: gguf(**{"tokenizer.chat_template": "{{ messages }}"}),
        "dense.keras": lambda: keras_zip(_layers()),
        "weights.h5": weights_h5,
        "text.skops": _skops,
        **{f"packed.{suffix}": partial(pack, inner) for suffix, pack in packers.items()},
    }
    open_ended: dict[str, Builder] = {  # cut at a record's end they are whole again, as the format has it
        "files.tar": lambda: tarred({"a.json": b"{}", "b.pkl": inner}),
        "graph.onnx": onnx_model,
        "saved_model.pb": lambda: saved_model("Identity"),
        "custom.tflite": lambda: tflite("Custom"),
        **{name: partial(bytes, data) for name, data in _TEXTS.items()},
    }
    made = [Sample(name, build) for name, build in whole.items()]
    return made + [Sample(name, build, known=False) for name, build in open_ended.items()]
