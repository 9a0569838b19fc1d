"""Keras models written without Keras: configurations in the three shapes that it reads, and HDF5 files around them."""

from __future__ import annotations

import base64
import io
import json
import marshal
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

from tests.support.models import a_zip

Config = dict[str, Any]
_CODE = base64.b64encode(marshal.dumps(compile("1", "<lambda>", "eval"))).decode()
"""Compiled Python that does nothing."""


def layer(name: str, package: str | None = "keras.layers", registered: str | None = None, **config: object) -> Config:
    """One described object, as Keras 3 writes it; without a package as Keras 2 does."""
    described: Config = {"class_name": name, "config": {"name": "a", **config}}
    return described if package is None else {"module": package, **described, "registered_name": registered}


def function(name: str, module: str = "builtins") -> Config:
    """A function by its name."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": "function"}


def lambda_code() -> Config:
    """A function as compiled code."""
    return {"class_name": "__lambda__", "config": {"code": _CODE, "defaults": None, "closure": None}}


def old_lambda() -> Config:
    """A Lambda layer as Keras 2 writes it."""
    return layer("Lambda", None, function=[_CODE, None, None], function_type="lambda", module="__main__")


def sequential(*layers: Config) -> Config:
    """A model of layers, after an input and before a dense layer."""
    dense = layer("Dense", units=2, activation="relu", kernel_initializer=layer("GlorotUniform", "keras.initializers"))
    return layer("Sequential", "keras", layers=[layer("InputLayer"), *layers, dense])


def a_keras_file(config: Config) -> bytes:
    """A `.keras` archive."""
    members = {"metadata.json": {"keras_version": "3.15.1", "date_saved": "2026-11-25@08:00:00"}, "config.json": config}
    return a_zip(
        {name: json.dumps(data).encode() for name, data in members.items()} | {"model.weights.h5": an_h5_file()}
    )


def with_false_heap(file: bytes) -> bytes:
    """The same file, but the first text of its global heap is said to have nearly 2^64 bytes."""
    at = file.index(b"GCOL") + 16
    return file[: at + 8] + b"\xff" * 8 + file[at + 16 :]


def an_h5_file(
    config: Config | None = None,
    change: Callable[[h5py.File], object] | None = None,
    *,
    user_block: int = 0,
    layout: str = "earliest",
) -> bytes:
    """An HDF5 file with weights.

    Args:
        config: The model's configuration, when it is more than weights.
        change: Adds what else should be in it.
        user_block: Bytes before the content, a power of two from 512 on.
        layout: The oldest release of HDF5 that must read it, as h5py's `libver`.
    """
    memory = io.BytesIO()
    with h5py.File(memory, "w", libver=layout, **({"userblock_size": user_block} if user_block else {})) as file:
        file.create_group("layers/dense/vars").create_dataset("0", data=np.ones((3, 2), np.float32))
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["layer_names"] = np.array([b"dense", b"input"])
        file.attrs["nothing"] = np.array([], dtype="S5")
        if config is not None:
            file.attrs["model_config"] = json.dumps(config)
        if change:
            change(file)
    return memory.getvalue()
