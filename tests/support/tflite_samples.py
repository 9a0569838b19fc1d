"""TensorFlow Lite models written table by table, so that every index and name can be wrong."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Fields = Mapping[int, object]
_CUSTOM_CODE = 32


@dataclass(frozen=True)
class Wide:
    """A 64-bit number."""

    value: int


def a_flatbuffer(root: Fields, identifier: bytes = b"TFL3") -> bytes:
    """A buffer with this table at its root; fields are numbers (of 32 bits), bytes, texts, vectors and tables."""
    out = bytearray(struct.pack("<I", 8) + identifier)
    struct.pack_into("<I", out, 0, _table(out, root))
    return bytes(out)


def _table(out: bytearray, fields: Fields) -> int:
    """Append a table and all below it; returns its position. Offsets lead forward, so children come after."""
    width, offsets = 4, {}
    for number, value in fields.items():
        offsets[number] = width
        width += 8 if isinstance(value, Wide) else 4
    slots = [offsets.get(number, 0) for number in range(max(fields, default=-1) + 1)]
    virtual = struct.pack(f"<HH{len(slots)}H", 4 + 2 * len(slots), width, *slots)
    out += bytes(-len(out) % 4)
    begin = len(out)
    out += virtual + bytes(-len(virtual) % 4)
    at = len(out)
    out += struct.pack("<i", at - begin) + bytes(width - 4)
    for number, value in fields.items():
        place = at + offsets[number]
        if isinstance(value, Wide):
            struct.pack_into("<Q", out, place, value.value)
        elif isinstance(value, int):
            struct.pack_into("<i", out, place, value)
        else:
            target = _vector(out, value)
            struct.pack_into("<I", out, place, target - place)
    return at


def _vector(out: bytearray, value: object) -> int:
    out += bytes(-len(out) % 4)
    at = len(out)
    if isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        out += struct.pack("<I", len(data)) + data + bytes(1 if isinstance(value, str) else 0)
        return at
    assert isinstance(value, Sequence)
    out += struct.pack("<I", len(value)) + bytes(4 * len(value))
    for number, item in enumerate(value):
        place = at + 4 + 4 * number
        if isinstance(item, int):
            struct.pack_into("<i", out, place, item)
        else:
            struct.pack_into("<I", out, place, _table(out, item) - place)
    return at


def operator_code(name: str = "", builtin: int = 0) -> Fields:
    """An OperatorCode: built in by number, or custom by name."""
    return {1: name, 3: _CUSTOM_CODE} if name else {3: builtin}


def tensor(buffer: int = 1, shape: Sequence[int] = (1, 4)) -> Fields:
    """A Tensor."""
    return {0: list(shape), 2: buffer, 3: "t"}


def operator(code: int = 0, inputs: Sequence[int] = (0,), outputs: Sequence[int] = (1,)) -> Fields:
    """An Operator."""
    return {0: code, 1: list(inputs), 2: list(outputs)}


def a_tflite_model(
    *codes: Fields, tensors: Sequence[Fields] = (), operators: Sequence[Fields] = (), more: Fields | None = None
) -> bytes:
    """A model of one graph with two tensors and one operator, unless told otherwise."""
    graph = {
        0: list(tensors or (tensor(), tensor(0))),
        1: [0],
        2: [1],
        3: list(operators or (operator(),)),
        4: "main",
    }
    model = {0: 3, 1: list(codes or (operator_code(builtin=9),)), 2: [graph], 3: "sample", 4: [{}, {0: bytes(16)}]}
    return a_flatbuffer({**model, **(more or {})})
