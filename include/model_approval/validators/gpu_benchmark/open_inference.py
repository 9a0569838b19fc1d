"""The Open Inference Protocol (V2) as a client speaks it: arrays into request bytes, answer bytes into arrays.

Source: Open Inference Protocol, "Predict Protocol - Version 2", with the binary tensor data extension: a JSON header,
its length in `Inference-Header-Content-Length`, then each tensor's bytes, row-major and little-endian.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import EvidenceError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES: Mapping[str, str] = {
    "BOOL": "bool",
    **{f"{kind.upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    "BYTES": "object",
}
"""The protocol's name of a type -> numpy's. BYTES is an array of `bytes` or `str` objects."""
_BY_DTYPE = {dtype: datatype for datatype, dtype in DATATYPES.items()}

Arrays = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class TensorInfo:
    """An input or output as the server describes it."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    """Sizes; -1 where any goes."""
    dimensions: tuple[str, ...] = ()
    """Names of the sizes, empty where one has none, if the server tells them (ours does, beyond the protocol)."""


@dataclass(frozen=True)
class Metadata:
    """What the server says of its model."""

    name: str
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    parameters: Mapping[str, str]
    """Whatever else the server tells, for example its device and runtime."""


def parse_metadata(body: bytes, *, who: str) -> Metadata:
    """Read the answer of `GET /v2/models/NAME`.

    Raises:
        EvidenceError: Not of that shape.
    """
    document = json_object(body, who=who)
    known = {"name", "platform", "inputs", "outputs", "versions", "parameters"}
    parameters = document.get("parameters")
    told = {**(parameters if isinstance(parameters, dict) else {}), **_without(document, known)}
    return Metadata(
        name=str(document.get("name", ""))[:200],
        platform=str(document.get("platform", ""))[:200],
        inputs=tuple(_tensor_info(item, who) for item in _list(document, "inputs", who)),
        outputs=tuple(_tensor_info(item, who) for item in _list(document, "outputs", who)),
        parameters={str(key)[:80]: _short(value) for key, value in told.items()},
    )


def _short(value: object) -> str:
    return (value if isinstance(value, str) else json.dumps(value))[:2000]


def _without(document: Mapping[str, object], keys: set[str]) -> dict[str, object]:
    return {key: value for key, value in document.items() if key not in keys}


def _list(document: Mapping[str, object], key: str, who: str) -> list[object]:
    found = document.get(key, [])
    if not isinstance(found, list):
        raise EvidenceError(f"{who}: `{key}` of the metadata is no list")
    return found


def _tensor_info(item: object, who: str) -> TensorInfo:
    try:
        assert isinstance(item, dict)
        shape, parameters = tuple(int(size) for size in item["shape"]), item.get("parameters")
        names = parameters.get("dimensions", ()) if isinstance(parameters, dict) else ()
        return TensorInfo(str(item["name"]), str(item["datatype"]), shape, tuple(str(name) for name in names))
    except (AssertionError, KeyError, TypeError, ValueError) as err:
        raise EvidenceError(f"{who}: the metadata describes a tensor without name, datatype or shape") from err


def json_object(body: bytes, *, who: str) -> dict[str, Any]:
    """Read a JSON object. Raises EvidenceError when it is something else."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as err:
        raise EvidenceError(f"{who}: the model's server answered something that is no JSON") from err
    if not isinstance(document, dict):
        raise EvidenceError(f"{who}: the model's server answered JSON that is no object")
    return document


def encode_infer(inputs: Arrays) -> tuple[bytes, int]:
    """The body of an inference request, tensors binary.

    Returns:
        The body, and the length of its JSON header in bytes.
    """
    described, blobs = [], []
    for name, array in inputs.items():
        datatype = _BY_DTYPE[array.dtype.name] if array.dtype.kind not in "OSU" else "BYTES"
        blob = _bytes_tensor(array) if datatype == "BYTES" else array.astype(array.dtype.newbyteorder("<")).tobytes()
        parameters = {"binary_data_size": len(blob)}
        described.append({"name": name, "shape": list(array.shape), "datatype": datatype, "parameters": parameters})
        blobs.append(blob)
    header = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
    return header + b"".join(blobs), len(header)


def _bytes_tensor(array: NDArray[Any]) -> bytes:
    items = [item if isinstance(item, bytes) else str(item).encode() for item in array.ravel().tolist()]
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


def decode_infer(body: bytes, header_length: int | None, *, who: str) -> dict[str, NDArray[Any]]:
    """Arrays by output name; binary tensors where the header says so, JSON lists else.

    Raises:
        EvidenceError: The answer breaks the protocol.
    """
    header = body if header_length is None else body[:header_length]
    rest = memoryview(b"" if header_length is None else body[header_length:])
    outputs: dict[str, NDArray[Any]] = {}
    for item in _list(json_object(header, who=who), "outputs", who):
        info = _tensor_info(item, who)
        assert isinstance(item, dict)
        try:
            size = (item.get("parameters") or {}).get("binary_data_size")
            outputs[info.name] = _array(info, item.get("data"), None if size is None else bytes(rest[:size]))
            rest = rest[size or 0 :]
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError) as err:
            raise EvidenceError(f"{who}: output {info.name!r} does not fit its own description: {err}") from err
    return outputs


def _array(info: TensorInfo, data: object, blob: bytes | None) -> NDArray[Any]:
    import numpy as np

    dtype = np.dtype(DATATYPES[info.datatype])
    if blob is None:
        flat = np.array(data, dtype=dtype)
    elif info.datatype == "BYTES":
        flat = np.array(_split_bytes(blob), dtype=object)
    else:
        flat = np.frombuffer(blob, dtype=dtype.newbyteorder("<")).astype(dtype)
    return flat.reshape(info.shape)


def _split_bytes(blob: bytes) -> list[bytes]:
    items, position = [], 0
    while position < len(blob):
        length = int.from_bytes(blob[position : position + 4], "little")
        if position + 4 + length > len(blob):
            raise ValueError("a string reaches past the end")
        items.append(blob[position + 4 : position + 4 + length])
        position += 4 + length
    return items
