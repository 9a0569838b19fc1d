"""GGUF files written by hand, so that a test can say any count, length and offset, also impossible ones."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

F32 = 0
STRING, ARRAY, UINT32, FLOAT32 = 8, 9, 4, 6


@dataclass(frozen=True)
class Tensor:
    """One tensor's line in the header, and its bytes."""

    name: str
    shape: tuple[int, ...] = (8,)
    kind: int = F32
    offset: int | None = None
    """None: where the tensor before ends."""
    data: bytes = b"\1" * 32


def text(value: str) -> bytes:
    """A counted text."""
    return struct.pack("<Q", len(value.encode())) + value.encode()


def value(given: object) -> bytes:
    """A value with its type: str, int, float, or a list of them."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return struct.pack("<I", STRING) + text(given)
    if isinstance(given, int):
        return struct.pack("<II", UINT32, given)
    if isinstance(given, float):
        return struct.pack("<If", FLOAT32, given)
    assert isinstance(given, list)
    items = [value(item) for item in given]
    return struct.pack("<I", ARRAY) + items[0][:4] + struct.pack("<Q", len(items)) + b"".join(i[4:] for i in items)


def a_gguf_file(
    keys: Mapping[str, object] | list[tuple[str, object]] | None = None,
    tensors: tuple[Tensor, ...] = (Tensor("a"), Tensor("b")),
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    tail: bytes = b"",
) -> bytes:
    """A GGUF file.

    Args:
        keys: Key/value pairs; bytes are taken as they are, type included.
        tensors: What stands in it; a `data` of 32 bytes each keeps the default alignment.
        version: Of the format.
        counts: Tensors and keys as the header says them, when it lies.
        tail: Bytes after the last tensor.
    """
    chosen: Mapping[str, object] = {"general.architecture": "llama", "tokenizer.ggml.tokens": ["a", "bc"], "x": 1.5}
    pairs = keys if isinstance(keys, list) else list((chosen if keys is None else keys).items())
    declared = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *declared)
    head += b"".join(text(key) + value(given) for key, given in pairs)
    at, data = 0, b""
    for tensor in tensors:
        offset = at if tensor.offset is None else tensor.offset
        head += text(tensor.name) + struct.pack(f"<I{len(tensor.shape)}Q", len(tensor.shape), *tensor.shape)
        head += struct.pack("<IQ", tensor.kind, offset)
        at, data = at + len(tensor.data), data + tensor.data
    return head + b"\0" * (-len(head) % 32) + data + tail
