"""Tensors of the Open Inference Protocol (V2): JSON lists or binary, checked against what the model declares.

Source: Open Inference Protocol, "Predict Protocol - Version 2", and its binary tensor data extension: little-endian,
row-major; a string is four bytes of length, then its bytes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from model_approval.validators.runtimes.contract import TensorSpec
from model_approval.validators.server_answer import Refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    **{f"{kind.upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BYTES": "str",
}
"""The protocol's name of a type -> numpy's; strings are `str`."""
BY_DTYPE: Mapping[str, str] = {dtype: datatype for datatype, dtype in DATATYPES.items()}

_MAX_RANK = 32
_MAX_SIZE = 2**40
_KINDS = {"f": "iuf", "i": "i", "u": "iu", "b": "b"}


@dataclass(frozen=True)
class Described:
    """What a request says of one tensor, found to be what the model declares."""

    spec: TensorSpec
    shape: tuple[int, ...]
    count: int
    """Elements: the product of the shape."""


def describe(spec: TensorSpec, datatype: object, shape: object) -> Described:
    """Check type and shape. Raises Refusal (400), naming the input and what is wrong."""
    wanted = BY_DTYPE[spec.dtype]
    if datatype != wanted:
        raise Refusal(400, f"input {spec.name!r}: datatype {str(datatype)[:40]!r}, wanted {wanted}")
    if not isinstance(shape, list) or len(shape) > _MAX_RANK:
        raise Refusal(400, f"input {spec.name!r}: shape must be a list of at most {_MAX_RANK} sizes")
    count = 1
    for size in shape:
        if type(size) is not int or not 0 < size <= _MAX_SIZE:
            raise Refusal(400, f"input {spec.name!r}: a size in shape is no whole number above zero")
        count *= size
    if count > _MAX_SIZE:
        raise Refusal(400, f"input {spec.name!r}: shape claims {count} elements")
    if not _fits(shape, spec.shape):
        declared = [size if isinstance(size, int) and size > 0 else "any" for size in spec.shape]
        raise Refusal(400, f"input {spec.name!r}: shape {shape}, wanted {declared}")
    return Described(spec, tuple(shape), count)


def _fits(shape: list[int], wanted: tuple[int | str | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(size, int) or size <= 0 or size == given for given, size in zip(shape, wanted, strict=True)
    )


def from_lists(described: Described, data: object) -> NDArray[Any]:
    """A tensor from nested or flat lists. Raises Refusal (400)."""
    name, dtype = described.spec.name, described.spec.dtype
    if not isinstance(data, list):
        raise Refusal(400, f"input {name!r}: give `data`, or `binary_data_size` and the bytes after the header")
    if dtype == "str":
        return _strings(described, _flat(name, data))
    if dtype == "float16":
        raise Refusal(400, f"input {name!r}: FP16 has no form in JSON, send it as binary data")
    try:
        array = np.array(data)
    except (ValueError, OverflowError) as err:
        raise Refusal(400, f"input {name!r}: lists of unequal length, or too deep") from err
    wanted = np.dtype(dtype)
    if array.dtype.kind not in _KINDS[wanted.kind]:
        raise Refusal(400, f"input {name!r}: values must be {dtype}")
    _require_count(described, array.size)
    if wanted.kind in "iu":
        bounds = np.iinfo(wanted)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise Refusal(400, f"input {name!r}: a value does not fit {dtype}")
    with np.errstate(over="ignore"):
        return array.astype(wanted).reshape(described.shape)


def _flat(name: str, data: list[object]) -> list[object]:
    for _ in range(_MAX_RANK):
        if not any(isinstance(item, list) for item in data):
            return data
        if not all(isinstance(item, list) for item in data):
            break
        data = [inner for item in data if isinstance(item, list) for inner in item]
    raise Refusal(400, f"input {name!r}: lists of unequal depth")


def _strings(described: Described, items: list[object]) -> NDArray[Any]:
    if not all(isinstance(item, str) for item in items):
        raise Refusal(400, f"input {described.spec.name!r}: values must be strings")
    _require_count(described, len(items))
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(described.shape)


def _require_count(described: Described, count: int) -> None:
    if count != described.count:
        raise Refusal(
            400, f"input {described.spec.name!r}: {count} values, shape {list(described.shape)} wants {described.count}"
        )


def split_strings(described: Described, blob: memoryview) -> NDArray[Any]:
    """A tensor of strings from its binary form. Raises Refusal (400)."""
    name, items, position = described.spec.name, [], 0
    while position < len(blob):
        if position + 4 > len(blob):
            raise Refusal(400, f"input {name!r}: the last string's length is cut off")
        (length,) = struct.unpack_from("<I", blob, position)
        position += 4
        if position + length > len(blob):
            raise Refusal(400, f"input {name!r}: a string reaches past the end of the tensor")
        try:
            items.append(str(blob[position : position + length], "utf-8"))
        except UnicodeDecodeError as err:
            raise Refusal(400, f"input {name!r}: a string is no UTF-8") from err
        position += length
    return _strings(described, list(items))


def require_finite(name: str, array: NDArray[Any]) -> None:
    """Refuse NaN and infinity. Raises Refusal (400)."""
    # A sum is finite only if every element is; it may overflow without one that is not, hence the second look.
    if not math.isfinite(np.add.reduce(array, axis=None)) and not np.isfinite(array).all():
        raise Refusal(400, f"input {name!r}: a value is NaN or infinite")


def as_tensor(spec: TensorSpec, value: object) -> NDArray[Any]:
    """A model's answer as an array; a list of maps becomes a matrix, its columns the first map's keys in order.

    Raises:
        ValueError: It is neither.
    """
    if isinstance(value, np.ndarray):
        return value
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = sorted(value[0])
        return np.array([[row[column] for column in columns] for row in value], np.float32)
    raise ValueError(f"output {spec.name!r} is a {type(value).__name__}, no tensor")


def join_strings(array: NDArray[Any]) -> bytes:
    """The binary form of a tensor of strings."""
    blobs = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
    return b"".join(len(blob).to_bytes(4, "little") + blob for blob in blobs)
