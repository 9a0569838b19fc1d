"""Single compressed streams (gzip, bzip2, xz, lzma, zlib, zstd, lz4): what they unfold to is scanned in turn."""

from __future__ import annotations

import re
from typing import IO, cast

from model_approval.validators.security_scan.inflate import BZIP2, GZIP, LZ4, LZMA, XZ, ZLIB, ZSTD, StreamReader
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered
from model_approval.validators.security_scan.spool import look_into

_SUFFIX = re.compile(r"\.(gz|gzip|bz2|xz|lzma|z|zlib|zst|zstd|lz4)$", re.IGNORECASE)
_LEGACY_LZMA = b"\x5d\x00\x00"
_BY_MAGIC = ((_LEGACY_LZMA, LZMA), *((codec.magic, codec) for codec in (GZIP, BZIP2, XZ, ZSTD, LZ4)))


class CompressedScanner:
    """Scans `gzip`, `bzip2`, `xz`, `lzma`, `zlib`, `zstd`, `lz4`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Unfold it and scan what is inside. Raises Uncovered when it is damaged or something follows."""
        head = blob.head()
        codec = next((codec for magic, codec in _BY_MAGIC if head.startswith(magic)), ZLIB)
        name = _SUFFIX.sub("", blob.name.rsplit("/", 1)[-1]) or "content"
        scan.budget.spend_member()
        reader = StreamReader(blob.stream, codec)
        look_into(blob, scan, name, cast("IO[bytes]", reader))
        if reader.left_over:
            raise Uncovered(f"bytes follow after the {codec.name} stream")
