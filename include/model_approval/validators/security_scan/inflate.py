"""Unfolds compressed streams block by block: a few bytes of input never become more than a few megabytes at once."""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, Protocol, cast

from model_approval.validators.security_scan.scan import Uncovered
from model_approval.validators.security_scan.windows import BLOCK_BYTES

MEMORY_BYTES = 128 * 1024**2
"""How much a decompressor may ask for: `xz -9` takes 65 MiB, `zstd --ultra -22` 128 MiB."""
_FEED_BYTES = 64 * 1024
_SMALL_FEED_BYTES = 2 * 1024
"""For decompressors that cannot stop in the middle; zstd makes at most 32 KiB of a byte."""


class Inflater(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool:
        """Whether the stream's own end was read."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given and stands behind the end."""
        ...

    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes:
        """Unfold some."""
        ...


@dataclass(frozen=True)
class Codec:
    """One kind of compressed stream."""

    name: str
    make: Callable[[], Inflater]
    magic: bytes = b""
    """How a further stream begins that counts as a continuation of the first; empty when none may follow."""
    feed_bytes: int = _FEED_BYTES


class StreamReader(io.RawIOBase):
    """The unfolded content of a compressed stream, or of several one after the other.

    Attributes:
        left_over: Whether bytes stand behind the last stream that are not zero; known at the end.
    """

    def __init__(self, packed: IO[bytes], codec: Codec) -> None:
        """Unfold from the stream's present position."""
        self._packed, self._codec = packed, codec
        self._inflater = codec.make()
        self._pending = b""
        self.left_over = False

    def readable(self) -> bool:
        """Always."""
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, empty at the end. Raises EOFError when it breaks off, ValueError for damage."""
        limit = BLOCK_BYTES if size is None or size < 0 else max(1, size)
        try:
            while not self._inflater.eof or self._next_stream():
                if block := self._inflate(limit):
                    return block
        except (zlib.error, lzma.LZMAError, RuntimeError) as err:
            raise ValueError(f"damaged {self._codec.name} stream: {err}") from err
        return b""

    def _inflate(self, limit: int) -> bytes:
        at_end = False
        if not self._pending and getattr(self._inflater, "needs_input", True):
            self._pending = self._packed.read(self._codec.feed_bytes)
            at_end = not self._pending
        block = self._inflater.decompress(self._pending, limit)
        self._pending = getattr(self._inflater, "unconsumed_tail", b"")
        # zlib may hold back output when the last of its input was taken, hence the look at what it gives for nothing.
        if at_end and not block and not self._inflater.eof:
            raise EOFError(f"the {self._codec.name} stream breaks off before its end-of-stream marker")
        return block

    def _next_stream(self) -> bool:
        """Go on with the stream that follows, if one does; what else follows is noted."""
        rest = (self._inflater.unused_data or b"") + self._pending  # lz4 gives None
        while len(rest) < len(self._codec.magic) + 1 and (more := self._packed.read(_FEED_BYTES)):
            rest = (rest + more).lstrip(b"\0")
        rest = rest.lstrip(b"\0")
        if not rest:
            return False
        if not self._codec.magic or not rest.startswith(self._codec.magic):
            self.left_over = True
            return False
        self._inflater, self._pending = self._codec.make(), rest
        return True


class _Whole:
    """A decompressor that takes no limit, fed in small pieces."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401  # zstandard's object, without types
        self._inner = inner

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes:
        import zstandard

        try:
            return bytes(self._inner.decompress(data))
        except zstandard.ZstdError as err:
            raise ValueError(f"damaged zstd stream: {err}") from err


def _zstd() -> Inflater:
    import zstandard

    return _Whole(zstandard.ZstdDecompressor(max_window_size=MEMORY_BYTES).decompressobj())


def _lz4() -> Inflater:
    import lz4.frame

    return cast("Inflater", lz4.frame.LZ4FrameDecompressor())


DEFLATE = Codec("deflate", lambda: zlib.decompressobj(-zlib.MAX_WBITS))
ZLIB = Codec("zlib", zlib.decompressobj)
GZIP = Codec("gzip", lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), b"\x1f\x8b")
BZIP2 = Codec("bzip2", bz2.BZ2Decompressor, b"BZh")
XZ = Codec("xz", lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_BYTES), b"\xfd7zXZ")
LZMA = Codec("lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY_BYTES))
ZSTD = Codec("zstd", _zstd, b"\x28\xb5\x2f\xfd", _SMALL_FEED_BYTES)
LZ4 = Codec("lz4", _lz4, b"\x04\x22\x4d\x18")


def raw_lzma(properties: bytes) -> Codec:
    """LZMA without a header, as zip and 7z have it. Raises Uncovered for properties that are not known."""
    if len(properties) != 5:
        raise Uncovered("LZMA properties that are not known")
    numbers, dictionary = properties[0], int.from_bytes(properties[1:], "little")
    if numbers >= 9 * 5 * 5 or dictionary > MEMORY_BYTES:
        raise Uncovered("LZMA properties that are out of bounds")
    spec = {
        "id": lzma.FILTER_LZMA1, "dict_size": dictionary,
        "lc": numbers % 9, "lp": numbers // 9 % 5, "pb": numbers // 45,
    }  # fmt: skip
    return Codec("lzma", lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[spec]))
