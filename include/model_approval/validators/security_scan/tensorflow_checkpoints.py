"""TensorFlow checkpoints: the index is a sorted table, and every byte of the data files must belong to one entry.

The table format is LevelDB's (`table_format.md` of LevelDB): blocks of entries with shared prefixes, a footer of 48
bytes with a magic number. The values are `BundleHeaderProto` and `BundleEntryProto` of `tensor_bundle.proto`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_approval.validators.security_scan.protobuf_wire import Schema, Spec, Values, Walker, WireReader, last_number
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered

_MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
_FOOTER_BYTES, _TRAILER_BYTES = 48, 5
_MAX_INDEX_BYTES = 64 * 1024**2
_MAX_ENTRIES = 1_000_000
_SCHEMA: Schema = {
    "Header": {1: Spec("number"), 2: Spec("number"), 3: Spec("bytes")},
    "Entry": {
        1: Spec("number"), 2: Spec("bytes"), 3: Spec("number"), 4: Spec("number"), 5: Spec("number"), 6: Spec("number"),
        7: Spec("length", repeated=True),
    },
}  # fmt: skip


@dataclass
class _Bundle:
    shards: int = 1
    spans: dict[int, list[tuple[int, int]]] = field(default_factory=dict)
    entries: int = 0


class CheckpointScanner:
    """Scans `tf_checkpoint`: the index file."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read all entries and compare them with the data files. Raises ValueError for damage."""
        if blob.size_bytes > _MAX_INDEX_BYTES:
            raise Uncovered(f"an index of {blob.size_bytes} bytes")
        blob.stream.seek(0)
        data = blob.stream.read()
        bundle = _Bundle()
        for key, begin, end in _entries(data):
            _take(blob, bundle, key, begin, end)
        prefix = re.sub(r"\.index$", "", blob.path)
        if blob.inner or prefix == blob.path:
            raise Uncovered("an index without its data files beside it")
        for shard in range(bundle.shards):
            _check_shard(scan, f"{prefix}.data-{shard:05d}-of-{bundle.shards:05d}", sorted(bundle.spans.get(shard, [])))


def _take(blob: Blob, bundle: _Bundle, key: bytes, begin: int, end: int) -> None:
    found: list[Values] = []
    message = "Entry" if key else "Header"
    walker = Walker(
        WireReader(blob.stream, blob.size_bytes), _SCHEMA, {message: lambda values, _: found.append(values)}
    )
    walker.walk(message, begin, end)
    if walker.oddities:
        raise ValueError(sorted(walker.oddities)[0])
    (values,) = found
    bundle.entries += 1
    if bundle.entries > _MAX_ENTRIES:
        raise Uncovered(f"more than {_MAX_ENTRIES} tensors")
    if not key:
        bundle.shards = last_number(values, 1)
        if not 0 < bundle.shards <= 100_000:
            raise ValueError(f"{bundle.shards} data files")
        return
    offset, size = last_number(values, 4), last_number(values, 5)
    if 7 not in values:  # a tensor in slices has its bytes under other keys
        bundle.spans.setdefault(last_number(values, 3), []).append((offset, offset + size))


def _check_shard(scan: FileScan, path: str, spans: list[tuple[int, int]]) -> None:
    size = scan.paths.get(path)
    if size is None:
        raise Uncovered(f"the data file {path!r} is not part of the artifact")
    at = 0
    for begin, end in spans:
        if begin != at and begin != end:
            raise Uncovered(f"{path}: bytes {at} to {begin} belong to no tensor, or to two")
        at = max(at, end)
    if at != size:
        raise Uncovered(f"{path}: {size} bytes, the index accounts for {at}")
    scan.references.add(path)


def _entries(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Key, and begin and end of the value, of all entries of all data blocks."""
    if len(data) < _FOOTER_BYTES or data[-8:] != _MAGIC:
        raise ValueError("the table has no footer")
    footer = len(data) - _FOOTER_BYTES
    _, meta_size, at = _handle(data, footer)
    index, index_size, _ = _handle(data, at)
    used = meta_size + index_size + 2 * _TRAILER_BYTES + _FOOTER_BYTES
    for _, begin, _ in _block(data, index, index_size):
        offset, size, _ = _handle(data, begin)
        used += size + _TRAILER_BYTES
        yield from _block(data, offset, size)
    if used != len(data):
        raise Uncovered(f"{len(data) - used} bytes of the index belong to no block")


def _handle(data: bytes, at: int) -> tuple[int, int, int]:
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    if offset + size + _TRAILER_BYTES > len(data):
        raise ValueError("a block lies beyond the file's end")
    return offset, size, at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, int, int]]:
    if data[offset + size] != 0:
        raise Uncovered("the index is compressed")
    if size < 4:
        raise ValueError("a block is too short")
    end = offset + size - 4
    end -= 4 * int.from_bytes(data[end : end + 4], "little")
    at, key = offset, b""
    while at < end:
        shared, at = _varint(data, at)
        own, at = _varint(data, at)
        length, at = _varint(data, at)
        key = key[:shared] + data[at : at + own]
        at += own
        if at + length > end:
            raise ValueError("an entry lies beyond its block")
        yield key, at, at + length
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        byte = data[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
    raise ValueError("a number is too long")
