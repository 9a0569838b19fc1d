"""Reads a pickle's operations without running them, and names everything it would import.

Built on the standard library's `pickletools`, streamed: long tensor bytes are skipped, not held. Where this reading
and an unpickler's could differ (names that come from odd places, operations across frame borders), it says so instead
of guessing: whoever wrote the pickle chose the odd way.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, cast

_SKIP_ABOVE_BYTES = 1024 * 1024
_STRINGS = frozenset(
    {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "UNICODE", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_TRANSPARENT = frozenset({"FRAME", "PROTO"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_EXTENSIONS = frozenset({"EXT1", "EXT2", "EXT4"})


class Oddity(StrEnum):
    """What no honest pickler writes."""

    UNTOLD_IMPORT = "untold_import"
    """An import whose name is put together at load time."""
    EXTENSION = "extension"
    """An import by number, out of a registry of the loading process."""
    FRAME = "frame"
    """Frames that overlap, or an operation across the end of one: readers disagree what it means."""


@dataclass(frozen=True)
class Import:
    """A name that the pickle would import, and where."""

    module: str
    name: str
    offset: int


@dataclass
class Walk:
    """What one pickle (from its first operation to STOP) does."""

    imports: list[Import] = field(default_factory=list)
    oddities: list[tuple[Oddity, int]] = field(default_factory=list)
    operations: int = 0
    number: int | None = None
    """The last whole number in it; with three operations in all, the pickle is that number."""


class _Skipped(bytes):
    """Stands for bytes that were skipped; says their length and is otherwise empty."""

    length = 0

    def __len__(self) -> int:
        return self.length


class SkippingReader:
    """A stream for `pickletools` that does not hold long arguments in memory."""

    def __init__(self, stream: IO[bytes], size_bytes: int) -> None:
        self._stream, self._size = stream, size_bytes

    def read(self, count: int = -1) -> bytes:
        """Read; above a megabyte the bytes are passed over."""
        if count <= _SKIP_ABOVE_BYTES:
            return self._stream.read(count)
        at = self._stream.tell()
        skipped = _Skipped()
        skipped.length = max(0, min(count, self._size - at))
        self._stream.seek(at + skipped.length)
        return skipped

    def readline(self) -> bytes:
        """Read to the next line end, at most a megabyte: a longer name is none."""
        return self._stream.readline(_SKIP_ABOVE_BYTES)

    def tell(self) -> int:
        """The position in the stream."""
        return self._stream.tell()

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in the stream."""
        return self._stream.seek(offset, whence)


def walk_pickle(stream: IO[bytes], size_bytes: int, count_operation: Callable[[], None], walk: Walk) -> None:
    """Walk one pickle, from where the stream stands to after its STOP, filling `walk` as far as it gets.

    Args:
        stream: Seekable; left behind STOP.
        size_bytes: Of the whole stream.
        count_operation: Called for each operation; may raise to stop.
        walk: Filled while walking, so that a pickle that breaks off still shows what it would have run before.

    Raises:
        ValueError: Truncated, unknown operation, or malformed argument.
    """
    recent: list[str | None] = []  # the latest pushed strings, None for what is not a plain string
    memo: dict[int, str | None] = {}
    for name, argument, offset in _operations(SkippingReader(stream, size_bytes), walk, size_bytes):
        count_operation()
        walk.operations += 1
        if name in _STRINGS:
            recent.append(str(argument))
        elif name in _GETS:
            recent.append(memo.get(int(str(argument))))
        elif name == "MEMOIZE":
            memo[len(memo)] = recent[-1] if recent else None
        elif name in _PUTS:
            memo[int(str(argument))] = recent[-1] if recent else None
        elif name not in _TRANSPARENT:
            _note_import(walk, name, argument, offset, recent)
            recent = [None]
        del recent[:-2]


def _note_import(walk: Walk, name: str, argument: object, offset: int, recent: list[str | None]) -> None:
    if name in ("GLOBAL", "INST"):
        module, _, attribute = str(argument).partition(" ")
        walk.imports.append(Import(module, attribute, offset))
    elif name == "STACK_GLOBAL":
        if len(recent) == 2 and recent[0] is not None and recent[1] is not None:
            walk.imports.append(Import(recent[0], recent[1], offset))
        else:
            walk.oddities.append((Oddity.UNTOLD_IMPORT, offset))
    elif name in _EXTENSIONS:
        walk.oddities.append((Oddity.EXTENSION, offset))
    elif isinstance(argument, int):
        walk.number = argument


def _operations(reader: SkippingReader, walk: Walk, size_bytes: int) -> Iterator[tuple[str, object, int]]:
    """Operations with their offsets; notes frames that overlap or that an operation straddles."""
    frame_end, previous = 0, 0
    for opcode, argument, position in pickletools.genops(cast("IO[bytes]", reader)):
        offset = position or 0
        if previous < frame_end < offset:
            walk.oddities.append((Oddity.FRAME, previous))
        previous = offset
        if opcode.name == "FRAME":
            if offset < frame_end:
                walk.oddities.append((Oddity.FRAME, offset))
            frame_end = reader.tell() + int(str(argument))
            if frame_end > size_bytes:
                walk.oddities.append((Oddity.FRAME, offset))
        yield opcode.name, argument, offset
