"""PNG pictures in model cards: chunks with checksums, to the end and nothing after it."""

from __future__ import annotations

import zlib

from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered

_MAX_CHUNK_BYTES = 64 * 1024**2


class PngScanner:
    """Scans `png`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read every chunk. Raises Uncovered for damage, or bytes after the end."""
        blob.stream.seek(8)
        while True:
            head = blob.stream.read(8)
            length, kind = int.from_bytes(head[:4], "big"), head[4:]
            if len(head) < 8 or length > _MAX_CHUNK_BYTES:
                raise Uncovered("the picture breaks off")
            data = blob.stream.read(length)
            if int.from_bytes(blob.stream.read(4), "big") != zlib.crc32(kind + data):
                raise Uncovered("a chunk of the picture is damaged")
            if kind == b"IEND":
                break
        if blob.stream.tell() != blob.size_bytes:
            raise Uncovered("bytes follow after the picture's end")
