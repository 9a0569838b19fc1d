"""Pictures and sounds beside a model card: their structure to the end, and nothing behind it."""

from __future__ import annotations

import re
import zlib
from typing import IO

from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered
from model_approval.validators.security_scan.trailing import scan_trailing
from model_approval.validators.security_scan.windows import BLOCK_BYTES

_MAX_CHUNK_BYTES = 256 * 1024**2
_JPEG_ALONE = frozenset([0x01, *range(0xD0, 0xD8)])
"""Markers without a length."""
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")


class PngScanner:
    """Scans `png`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read every chunk. Raises Uncovered for damage."""
        at, kind = 8, b""
        while kind != b"IEND":
            blob.stream.seek(at)
            head = blob.stream.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or length > _MAX_CHUNK_BYTES:
                raise Uncovered("the picture breaks off")
            crc, left = zlib.crc32(kind), length
            while left and (block := blob.stream.read(min(left, BLOCK_BYTES))):
                crc, left = zlib.crc32(block, crc), left - len(block)
            if left or int.from_bytes(blob.stream.read(4), "big") != crc:
                raise Uncovered("a chunk of the picture is damaged")
            at += 12 + length
        scan_trailing(blob, scan, at, "picture")


class JpegScanner:
    """Scans `jpeg`; cameras write several pictures one after the other."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Step from marker to marker. Raises Uncovered when it breaks off."""
        at = 0
        while True:
            at = _jpeg_end(blob.stream, at)
            blob.stream.seek(at)
            if blob.stream.read(3) != b"\xff\xd8\xff":
                break
        scan_trailing(blob, scan, at, "picture")


def _jpeg_end(stream: IO[bytes], at: int) -> int:
    at += 2
    while True:
        stream.seek(at)
        head = stream.read(4)
        if len(head) < 2 or head[0] != 0xFF:
            raise Uncovered("the picture breaks off")
        marker = head[1]
        if marker == 0xD9:
            return at + 2
        if marker == 0xFF or marker in _JPEG_ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(head[2:4], "big")
        if length < 2:
            raise Uncovered("the picture is damaged")
        at += 2 + length
        if marker == 0xDA:  # what follows is the picture itself, up to the next real marker
            at = _next_marker(stream, at)


def _next_marker(stream: IO[bytes], at: int) -> int:
    stream.seek(at)
    rest = b""
    while block := stream.read(BLOCK_BYTES):
        data = rest + block
        if found := _JPEG_MARKER.search(data):
            return at + found.start()
        rest = data[-1:]
        at += len(data) - 1
    raise Uncovered("the picture breaks off")


class GifScanner:
    """Scans `gif`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Step from block to block. Raises Uncovered when it breaks off."""
        stream = blob.stream
        stream.seek(0)
        head = stream.read(13)
        at = 13 + _colours(head[10] if len(head) == 13 else 0)
        while True:
            stream.seek(at)
            kind = stream.read(1)
            if kind == b";":
                break
            if kind == b"!":
                at = _blocks_end(stream, at + 2)
            elif kind == b",":
                fields = stream.read(9)
                if len(fields) < 9:
                    raise Uncovered("the picture breaks off")
                at = _blocks_end(stream, at + 11 + _colours(fields[8]))
            else:
                raise Uncovered("the picture breaks off or is damaged")
        scan_trailing(blob, scan, at + 1, "picture")


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _blocks_end(stream: IO[bytes], at: int) -> int:
    stream.seek(at)
    while size := stream.read(1):
        if size == b"\0":
            return stream.tell()
        stream.seek(size[0], 1)
    raise Uncovered("the picture breaks off")


class RiffScanner:
    """Scans `webp` and `wav`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Step from chunk to chunk. Raises Uncovered when one is longer than the file."""
        blob.stream.seek(4)
        end = 8 + int.from_bytes(blob.stream.read(4), "little")
        if end > blob.size_bytes:
            raise Uncovered("the file breaks off")
        at = 12
        while at + 8 <= end:
            blob.stream.seek(at + 4)
            at += 8 + int.from_bytes(blob.stream.read(4), "little")
            at += at & 1
        if at not in (end, end + 1):
            raise Uncovered("a chunk reaches beyond its file")
        scan_trailing(blob, scan, end + (end & 1), "file")
