"""GGUF: every count, length and offset of the header checked against the file, and its chat templates analysed.

The layout follows the specification in the `docs/gguf.md` of ggml. Readers in C have been broken by counts that
overflow, so figures that no file could hold are findings and not mere damage. Nothing is allocated by a count.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import IO

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.jinja_templates import check_template
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_ADVICE = "convert the model to GGUF anew with a current converter"
_BOUNDS = Rule("gguf.bounds", Severity.HIGH, _ADVICE)
_DUPLICATE = Rule("gguf.duplicate", Severity.HIGH, _ADVICE)
_TEMPLATE_KEYS = ("tokenizer.chat_template", "chat_template")
_BLOCK_BYTES = 1024**2
_MAX_KEY_BYTES = 65_535
_MAX_TEXT_BYTES = 4 * 1024**2
_MAX_ITEMS = 5_000_000
"""Texts in arrays and, each for ten, keys and arrays; the largest vocabularies have a million."""
_MAX_NAMES = 1_000_000
_MAX_DIMENSIONS = 8
_MAX_ARRAY_DEPTH = 4
_STRING, _ARRAY = 8, 9
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of each scalar type."""
_ALIGNMENT_KEY = "general.alignment"
_DEFAULT_ALIGNMENT = 32
# Type number: (values in a block, bytes of a block), as in ggml's type traits.
_TENSOR_TYPES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292),
    16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82),
    23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2),
    34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


class _Impossible(Exception):
    """A figure that no file of this size could hold."""


@dataclass
class _Header:
    """The read position, and what the header said so far."""

    stream: IO[bytes]
    size: int
    order: str = "<"
    wide: bool = True
    """Version 1 had 32-bit counts."""
    items: int = 0
    alignment: int = _DEFAULT_ALIGNMENT
    keys: set[str] = field(default_factory=set)

    def number(self, letter: str) -> int:
        """An integer of a `struct` letter. Raises EOFError at the file's end."""
        layout = struct.Struct(self.order + letter)
        (value,) = layout.unpack(self.take(layout.size))
        return int(value)

    def count(self, what: str, *, unit: int = 1) -> int:
        """A count of things of `unit` bytes at least. Raises _Impossible when the file cannot hold them."""
        value = self.number("Q" if self.wide else "I")
        if value * unit > self.size:
            raise _Impossible(f"{what} is said to be {value}, in a file of {self.size} bytes")
        return value

    def take(self, length: int) -> bytes:
        """Bytes. Raises EOFError when the file ends before."""
        data = self.stream.read(length)
        if len(data) != length:
            raise EOFError("the header breaks off")
        return data

    def skip(self, length: int) -> None:
        """Step over bytes. Raises EOFError when the file ends before."""
        if self.stream.tell() + length > self.size:
            raise EOFError("the header breaks off")
        self.stream.seek(length, 1)

    def spend(self, count: int) -> None:
        """Count items that are read one by one. Raises Uncovered beyond the limit."""
        self.items += count
        if self.items > _MAX_ITEMS:
            raise Uncovered(f"more than {_MAX_ITEMS} items in the header")

    def text(self, what: str, limit: int) -> str:
        """A counted text. Raises Uncovered beyond the limit, ValueError when it is not UTF-8."""
        length = self.count(f"the length of {what}")
        if length > limit:
            raise Uncovered(f"{what} has {length} bytes")
        return self.take(length).decode("utf-8")


class GgufScanner:
    """Scans `gguf`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read the header. Raises Uncovered for what it does not know, and for bytes that no tensor owns."""
        blob.stream.seek(4)
        header = _Header(blob.stream, blob.size_bytes)
        try:
            _read_version(header)
            tensors = header.count("the number of tensors", unit=24 if header.wide else 16)
            for _ in range(header.count("the number of keys", unit=13 if header.wide else 9)):
                _read_key(blob, scan, header)
            spans = _read_tensors(blob, scan, header, tensors)
            _check_spans(blob, scan, header, spans)
        except _Impossible as why:
            scan.add(blob, _BOUNDS, f"{why}: a reader that trusts this is overrun", offset=blob.stream.tell())
            raise Uncovered("the header contradicts the file's size") from why


def _read_version(header: _Header) -> None:
    version = header.number("I")
    if version > 0xFFFF:  # written on a machine of the other byte order
        header.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in (1, 2, 3):
        raise Uncovered(f"version {version} of the format is not known")
    header.wide = version > 1


def _read_key(blob: Blob, scan: FileScan, header: _Header) -> None:
    at = header.stream.tell()
    key = header.text("a key", _MAX_KEY_BYTES)
    if key in header.keys:
        message = f"the key {key!r} is there twice; readers disagree which one counts"
        scan.add(blob, _DUPLICATE, message, subject=key, offset=at)
    header.keys.add(key)
    header.spend(10)
    kind = header.number("I")
    if key == _ALIGNMENT_KEY:
        _read_alignment(header, kind)
    elif kind == _STRING and (key.startswith(_TEMPLATE_KEYS) or "template" in key):
        check_template(blob, scan, header.text(f"the text of {key!r}", _MAX_TEXT_BYTES), where=key)
    else:
        _skip_value(header, kind, key)


def _read_alignment(header: _Header, kind: int) -> None:
    if kind != 4:
        raise Uncovered("the alignment is no 32-bit number")
    header.alignment = header.number("I")
    if not 1 <= header.alignment <= 1024**2 or header.alignment & (header.alignment - 1):
        raise _Impossible(f"the alignment is {header.alignment}, which is no power of two")


def _skip_value(header: _Header, kind: int, key: str, depth: int = 0) -> None:
    if size := _SCALARS.get(kind):
        header.skip(size)
    elif kind == _STRING:
        header.skip(header.count(f"the length of {key!r}"))
    elif kind == _ARRAY and depth < _MAX_ARRAY_DEPTH:
        item = header.number("I")
        if size := _SCALARS.get(item):
            header.skip(size * header.count(f"the number of items of {key!r}", unit=size))
            return
        count = header.count(f"the number of items of {key!r}", unit=8 if header.wide else 4)
        header.spend(count if item == _STRING else 10 * count)
        if item == _STRING:
            _skip_texts(header, count, key)
            return
        for _ in range(count):
            _skip_value(header, item, key, depth + 1)
    else:
        raise Uncovered(f"the key {key!r} has a value of the unknown type {kind}")


def _skip_texts(header: _Header, count: int, key: str) -> None:
    """Step over counted texts, block by block: a vocabulary has hundreds of thousands."""
    layout = struct.Struct(header.order + ("Q" if header.wide else "I"))
    start, width, done = header.stream.tell(), layout.size, 0
    while done < count:
        header.stream.seek(start)
        block = header.stream.read(min(_BLOCK_BYTES, 4096 + 32 * (count - done)))
        at, last = 0, len(block) - width
        while done < count and at <= last:
            (length,) = layout.unpack_from(block, at)
            at += width + length
            done += 1
        if at == 0 or start + at > header.size:
            raise _Impossible(f"the texts of {key!r} end at byte {start + at}") if at else EOFError("breaks off")
        start += at
    header.stream.seek(start)


def _read_tensors(blob: Blob, scan: FileScan, header: _Header, count: int) -> list[tuple[int, int]]:
    """The span of each tensor in the data section, in order."""
    if count > _MAX_NAMES:
        raise Uncovered(f"more than {_MAX_NAMES} tensors")
    names: set[str] = set()
    spans = []
    for _ in range(count):
        at = header.stream.tell()
        name = header.text("a tensor's name", _MAX_KEY_BYTES)
        if name in names:
            scan.add(blob, _DUPLICATE, f"the tensor {name!r} is there twice", subject=name, offset=at)
        names.add(name)
        spans.append(_read_tensor(header, name))
    return sorted(spans)


def _read_tensor(header: _Header, name: str) -> tuple[int, int]:
    dimensions = header.number("I")
    if dimensions > _MAX_DIMENSIONS:
        raise _Impossible(f"tensor {name!r} has {dimensions} dimensions")
    shape = [header.number("Q" if header.wide else "I") for _ in range(dimensions)]
    kind, offset = header.number("I"), header.number("Q")
    if kind not in _TENSOR_TYPES:
        raise Uncovered(f"tensor {name!r} has the unknown type {kind}")
    values, size = _TENSOR_TYPES[kind]
    elements = math.prod(shape)
    if elements >= 1 << 62:
        raise _Impossible(f"tensor {name!r} has {elements} values")
    if offset > header.size:
        raise _Impossible(f"tensor {name!r} begins at byte {offset}")
    if offset % header.alignment:
        raise Uncovered(f"tensor {name!r} begins at byte {offset}, which is not aligned to {header.alignment}")
    if shape and shape[0] % values:
        raise Uncovered(f"tensor {name!r} does not fill its blocks")
    return offset, offset + elements // values * size


def _check_spans(blob: Blob, scan: FileScan, header: _Header, spans: list[tuple[int, int]]) -> None:
    """Tensors stand one behind the other, with zeros between, up to the end of the file."""
    end_of_header = header.stream.tell()
    start = _aligned(end_of_header, header.alignment)
    at = end_of_header - start  # the padding before the first tensor counts as a gap, too
    for begin, end in spans:
        if begin < at:
            scan.add(
                blob, _BOUNDS, f"two tensors share the bytes from {begin}", subject="overlap", offset=start + begin
            )
        else:
            _require_zeros(header, start + at, start + begin)
        at = max(at, end)
    rest = header.size - (start + at)
    if rest < 0 and spans:
        raise Uncovered(f"the file breaks off: {-rest} bytes of tensors are missing")
    if rest > 0:
        _require_zeros(header, start + at, header.size)


def _aligned(at: int, alignment: int) -> int:
    return -(-at // alignment) * alignment


def _require_zeros(header: _Header, begin: int, end: int) -> None:
    if end - begin >= max(header.alignment, _DEFAULT_ALIGNMENT):
        raise Uncovered(f"bytes {begin} to {end} belong to no tensor")
    header.stream.seek(begin)
    if header.stream.read(end - begin).strip(b"\0"):
        raise Uncovered(f"bytes {begin} to {end} belong to no tensor and are not empty")
