"""Reads one packed member of a zip archive to its real end, whatever its directory entry promises."""

from __future__ import annotations

import io
import zlib
from enum import IntEnum
from typing import IO

from model_approval.validators.security_scan.inflate import BZIP2, DEFLATE, ZSTD, Codec, StreamReader, raw_lzma
from model_approval.validators.security_scan.scan import Uncovered
from model_approval.validators.security_scan.windows import BLOCK_BYTES, window
from model_approval.validators.security_scan.zip_directory import Entry


class Method(IntEnum):
    """Compression methods that are read (APPNOTE 4.4.5)."""

    STORED = 0
    DEFLATED = 8
    BZIP2 = 12
    LZMA = 14
    ZSTANDARD = 93


_CODECS: dict[int, Codec] = {Method.DEFLATED: DEFLATE, Method.BZIP2: BZIP2, Method.ZSTANDARD: ZSTD}


class MemberReader(io.RawIOBase):
    """The unpacked bytes of a packed member, block by block.

    Attributes:
        crc: Of what was unpacked so far.
        count: Bytes unpacked so far.
    """

    def __init__(self, stream: IO[bytes], entry: Entry) -> None:
        """Prepare to unpack. Raises Uncovered for a compression method that we do not know."""
        packed = window(stream, entry.data_at, entry.compressed_bytes)
        if entry.method == Method.LZMA:
            head = packed.read(4)  # version, length of the properties
            codec = raw_lzma(packed.read(int.from_bytes(head[2:4], "little")))
        elif entry.method in _CODECS:
            codec = _CODECS[entry.method]
        else:
            raise Uncovered(f"compression method {entry.method} is not read")
        self._reader = StreamReader(packed, codec)
        self._packed, self._left = packed, entry.compressed_bytes
        self.crc, self.count = 0, 0

    @property
    def left_over(self) -> bool:
        """Whether packed bytes stand behind the end of the compressed stream; known at the end."""
        return self._reader.left_over or self._packed.tell() < self._left

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, empty at the end. Raises EOFError or ValueError for damage."""
        block = self._reader.read(BLOCK_BYTES if size is None or size < 0 else min(size, BLOCK_BYTES))
        self.crc = zlib.crc32(block, self.crc)
        self.count += len(block)
        return block
