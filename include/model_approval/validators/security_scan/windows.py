"""A part of a seekable stream as a file of its own, so that what lies stored in an archive is read in place."""

from __future__ import annotations

import io
import zlib
from typing import IO, cast

BLOCK_BYTES = 1024 * 1024


class Window(io.RawIOBase):
    """Bytes `start` to `start + length` of another stream; seekable, read-only.

    Every read seeks first, so several windows and the stream's owner may take turns.
    """

    def __init__(self, stream: IO[bytes], start: int, length: int) -> None:
        """Look at a part of a stream, which stays open when the window closes."""
        self._stream, self._start, self._length, self._at = stream, start, length, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position, from the window's beginning."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move. Raises ValueError before the window's beginning."""
        base = (0, self._at, self._length)[whence]
        if base + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes; fewer only at the window's or the stream's end."""
        left = max(0, self._length - self._at)
        count = left if size is None or size < 0 else min(size, left)
        if not count:
            return b""
        self._stream.seek(self._start + self._at)
        data = self._stream.read(count)
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:  # type: ignore[override]  # typeshed's Buffer has no len
        """Fill a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def window(stream: IO[bytes], start: int, length: int) -> IO[bytes]:
    """A `Window`, typed as the file it behaves like."""
    return cast("IO[bytes]", Window(stream, start, length))


def crc32_of(source: IO[bytes]) -> int:
    """The CRC-32 of a stream from its beginning; leaves it there again."""
    source.seek(0)
    crc = 0
    while block := source.read(BLOCK_BYTES):
        crc = zlib.crc32(block, crc)
    source.seek(0)
    return crc


def first_nonzero(stream: IO[bytes], start: int, end: int) -> int | None:
    """Where the first byte that is not zero stands between two offsets, if one does."""
    part = Window(stream, start, end - start)
    while block := part.read(BLOCK_BYTES):
        if rest := block.lstrip(b"\0"):
            return start + part.tell() - len(rest)
    return None
