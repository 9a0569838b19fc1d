"""Tables: Parquet, Feather, Arrow files and streams. Numbers and text, but for one extension type that is a pickle.

`arrow.py_extension_type` (CVE-2023-47248) carries a pickle in the schema's metadata; old readers load it unasked.
"""

from __future__ import annotations

import base64
import re
from typing import IO

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_PICKLED_TYPE = Rule("arrow.pickled-type", Severity.HIGH, "write the table with Arrow's own types")
_MARK = b"arrow.py_extension_type"
_SCHEMA = re.compile(rb"ARROW:schema.{1,16}?([A-Za-z0-9+/]{64,}={0,2})", re.DOTALL)
_MAX_METADATA_BYTES = 64 * 1024**2
_MAX_MESSAGES = 5_000_000


class ParquetScanner:
    """Scans `parquet` and `feather`: column chunks, then a footer that describes them."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Search the footer. Raises Uncovered when it does not fit the file."""
        blob.stream.seek(0)
        magic = blob.stream.read(4)
        blob.stream.seek(max(0, blob.size_bytes - 8))
        end = blob.stream.read(8)
        length = int.from_bytes(end[:4], "little")
        if blob.size_bytes < 12 or end[4:] != magic or not 0 < length <= blob.size_bytes - 12:
            raise Uncovered("the table is cut: it has no footer at its end")
        if length > _MAX_METADATA_BYTES:
            raise Uncovered(f"a footer of more than {_MAX_METADATA_BYTES} bytes")
        blob.stream.seek(blob.size_bytes - 8 - length)
        _search(blob, scan, blob.stream.read(length), blob.size_bytes - 8 - length)


class ArrowScanner:
    """Scans `arrow` (files) and `arrow-stream`: messages, each with a length and a body that is stepped over."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Step from message to message. Raises Uncovered when one does not fit the file."""
        at, end = 0, blob.size_bytes
        blob.stream.seek(0)
        if blob.stream.read(6) == b"ARROW1":
            at, end = 8, self._footer(blob, scan)
        for _ in range(_MAX_MESSAGES):
            step = _next_message(blob.stream, at, end)
            if step is None:
                return
            metadata, body = step
            _search(blob, scan, metadata, at)
            at += 8 + len(metadata) + body
            if at > end:
                raise Uncovered("a message reaches beyond the file")
        raise Uncovered(f"more than {_MAX_MESSAGES} messages")

    def _footer(self, blob: Blob, scan: FileScan) -> int:
        blob.stream.seek(max(0, blob.size_bytes - 10))
        tail = blob.stream.read(10)
        length = int.from_bytes(tail[:4], "little")
        begin = blob.size_bytes - 10 - length
        if tail[4:] != b"ARROW1" or begin < 8 or length > _MAX_METADATA_BYTES:
            raise Uncovered("the table is cut: it has no footer at its end")
        blob.stream.seek(begin)
        _search(blob, scan, blob.stream.read(length), begin)
        return begin


def _next_message(stream: IO[bytes], at: int, end: int) -> tuple[bytes, int] | None:
    """Metadata and body length of the message at an offset; None where the messages end."""
    stream.seek(at)
    head = stream.read(8)
    if at == end or head == b"\xff\xff\xff\xff\0\0\0\0":
        return None
    length = int.from_bytes(head[4:8], "little")
    if head[:4] != b"\xff\xff\xff\xff" or not 16 <= length <= min(_MAX_METADATA_BYTES, end - at):
        raise Uncovered(f"no message of Arrow stands at byte {at}")
    metadata = stream.read(length)
    return metadata, _body_bytes(metadata)


def _body_bytes(metadata: bytes) -> int:
    """Field 3 of the flatbuffer's root table: how many bytes follow."""
    root = int.from_bytes(metadata[:4], "little")
    table = root - int.from_bytes(metadata[root : root + 4], "little", signed=True)
    if not 0 <= table <= len(metadata) - 4 or root + 4 > len(metadata):
        raise Uncovered("a message of Arrow is damaged")
    if int.from_bytes(metadata[table : table + 2], "little") < 12:
        return 0
    offset = int.from_bytes(metadata[table + 10 : table + 12], "little")
    value = int.from_bytes(metadata[root + offset : root + offset + 8], "little", signed=True) if offset else 0
    if value < 0:
        raise Uncovered("a message of Arrow has a negative length")
    return value


def _search(blob: Blob, scan: FileScan, metadata: bytes, offset: int) -> None:
    packed = [base64.b64decode(match[1] + b"==") for match in _SCHEMA.finditer(metadata)]
    if any(_MARK in part for part in (metadata, *packed)):
        message = f"the schema has a type {_MARK.decode()}, a pickle that old readers load unasked"
        scan.add(blob, _PICKLED_TYPE, message, subject=_MARK.decode(), offset=offset)
