"""FlatBuffers read with every offset checked against the buffer (layout: the "internals" page of FlatBuffers).

Generated readers trust offsets and read, or in C++ write, wherever those point. Here an offset out of bounds raises
ValueError.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_WINDOW_BYTES = 64 * 1024
_MAX_ITEMS = 5_000_000
_MAX_TEXT_BYTES = 64 * 1024


class FlatReader:
    """Numbers at positions of a seekable stream, through windows.

    Attributes:
        size: Bytes of the stream.
        end: The furthest byte that was accounted for.
    """

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self.size = stream, size
        self._windows: dict[int, bytes] = {}
        self.end, self._items = 0, 0

    def bytes_at(self, at: int, length: int) -> bytes:
        """Bytes. Raises ValueError when they are not all in the buffer."""
        self.account(at, length)
        number, offset = divmod(at, _WINDOW_BYTES)
        window = self._window(number)
        if offset + length <= len(window):
            return window[offset : offset + length]
        self._stream.seek(at)
        return self._stream.read(length)

    def account(self, at: int, length: int) -> None:
        """Note that these bytes belong to something. Raises ValueError when they are not all in the buffer."""
        if at < 0 or length < 0 or at + length > self.size:
            raise ValueError(f"an offset leads to {at} + {length}, beyond the {self.size} bytes")
        self.end = max(self.end, at + length)

    def spend(self, count: int) -> None:
        """Count items that are read one by one. Raises ValueError beyond the limit."""
        self._items += count
        if self._items > _MAX_ITEMS:
            raise ValueError(f"more than {_MAX_ITEMS} items")

    def number(self, at: int, width: int, *, signed: bool = False) -> int:
        """A little-endian integer."""
        return int.from_bytes(self.bytes_at(at, width), "little", signed=signed)

    def root(self) -> Table:
        """The table that the buffer begins with."""
        return Table(self, self.number(0, 4))

    def _window(self, number: int) -> bytes:
        if number not in self._windows:
            if len(self._windows) >= 64:
                self._windows.clear()
            self._stream.seek(number * _WINDOW_BYTES)
            self._windows[number] = self._stream.read(_WINDOW_BYTES)
        return self._windows[number]


@dataclass(frozen=True)
class Table:
    """One table; a field that is absent gives its default."""

    reader: FlatReader
    at: int

    def _field(self, number: int) -> int:
        """Position of a field; 0 when it is absent."""
        virtual = self.at - self.reader.number(self.at, 4, signed=True)
        length = self.reader.number(virtual, 2)
        if length < 4:
            raise ValueError("a table's list of fields is too short")
        slot = 4 + 2 * number
        offset = self.reader.number(virtual + slot, 2) if slot + 2 <= length else 0
        return self.at + offset if offset else 0

    def number(self, field: int, width: int, *, signed: bool = False, default: int = 0) -> int:
        """An integer."""
        at = self._field(field)
        return self.reader.number(at, width, signed=signed) if at else default

    def _target(self, field: int) -> int:
        at = self._field(field)
        return at + self.reader.number(at, 4) if at else 0

    def text(self, field: int) -> str:
        """A text; empty when absent. Raises ValueError when it is longer than any name."""
        at = self._target(field)
        if not at:
            return ""
        length = self.reader.number(at, 4)
        if length > _MAX_TEXT_BYTES:
            raise ValueError(f"a name of {length} bytes")
        return self.reader.bytes_at(at + 4, length).decode("utf-8", "backslashreplace")

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Position of the first item and number of items; the whole vector is in the buffer."""
        at = self._target(field)
        if not at:
            return 0, 0
        count = self.reader.number(at, 4)
        self.reader.account(at + 4, count * width)
        return at + 4, count

    def numbers(self, field: int, width: int, *, signed: bool = True) -> list[int]:
        """A vector of integers."""
        at, count = self.vector(field, width)
        self.reader.spend(count)
        return [self.reader.number(at + width * place, width, signed=signed) for place in range(count)]

    def table(self, field: int) -> Iterator[Table]:
        """A table within this one, when it is there."""
        if at := self._target(field):
            yield Table(self.reader, at)

    def tables(self, field: int) -> Iterator[Table]:
        """A vector of tables."""
        at, count = self.vector(field, 4)
        self.reader.spend(count)
        for place in range(count):
            position = at + 4 * place
            yield Table(self.reader, position + self.reader.number(position, 4))
