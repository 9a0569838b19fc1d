"""UBJSON, as XGBoost writes models since 1.6: a tree of numbers and names, walked to its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO

from model_approval.validators.security_scan.bounds import MAX_ITEMS
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered

_WINDOW_BYTES = 256 * 1024
_MAX_DEPTH = 512
_WIDTHS = {b"Z": 0, b"T": 0, b"F": 0, b"i": 1, b"U": 1, b"C": 1, b"I": 2, b"l": 4, b"d": 4, b"L": 8, b"D": 8}
_WHOLE_NUMBERS = frozenset((b"i", b"U", b"I", b"l", b"L"))


class UbjsonScanner:
    """Scans `ubjson`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk every item. Raises Uncovered for damage and for what follows."""
        _Walk(blob.stream, blob.size_bytes).run()


@dataclass
class _Open:
    """A container that is being walked."""

    is_object: bool
    left: int | None
    """Items to come; None: up to its closing bracket."""
    kind: bytes | None
    """The type that all its items have, when it is said once."""


class _Walk:
    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size
        self._window, self._start, self._at = b"", 0, 0
        self._open: list[_Open] = []

    def run(self) -> None:
        self._value(self._take(1))
        for _ in range(MAX_ITEMS):
            if not self._open:
                if self._at != self._size:
                    raise Uncovered("bytes follow after the UBJSON document")
                return
            self._step(self._open[-1])
        raise Uncovered(f"more than {MAX_ITEMS} items")

    def _step(self, top: _Open) -> None:
        if top.left == 0:
            self._open.pop()
            return
        marker = b"" if top.left is not None and (top.is_object or top.kind) else self._take(1)
        if top.left is None and marker == (b"}" if top.is_object else b"]"):
            self._open.pop()
            return
        if top.left is not None:
            top.left -= 1
        if top.is_object:
            self._skip(self._number(marker or self._take(1)))
            marker = b""
        self._value(marker or top.kind or self._take(1))

    def _value(self, marker: bytes) -> None:
        while marker == b"N":  # nothing, between two values
            marker = self._take(1)
        if marker in _WIDTHS:
            self._skip(_WIDTHS[marker])
        elif marker in (b"S", b"H"):
            self._skip(self._number(self._take(1)))
        elif marker in (b"[", b"{"):
            self._enter(is_object=marker == b"{")
        else:
            raise Uncovered(f"byte {self._at - 1} is no UBJSON")

    def _enter(self, *, is_object: bool) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise Uncovered(f"nested deeper than {_MAX_DEPTH} levels")
        kind, count = None, None
        if self._peek() == b"$":
            self._take(1)
            kind = self._take(1)
            if self._peek() != b"#":
                raise Uncovered("a UBJSON container with a type and no count")
        if self._peek() == b"#":
            self._take(1)
            count = self._number(self._take(1))
        if count and kind in _WIDTHS and not is_object:
            self._skip(count * _WIDTHS[kind])
            return
        self._open.append(_Open(is_object, count, kind))

    def _number(self, marker: bytes) -> int:
        if marker not in _WHOLE_NUMBERS:
            raise Uncovered(f"byte {self._at - 1}: a UBJSON length that is no number")
        value = int.from_bytes(self._take(_WIDTHS[marker]), "big", signed=marker != b"U")
        if not 0 <= value <= self._size:
            raise Uncovered("a UBJSON length that is longer than the file")
        return value

    def _peek(self) -> bytes:
        self._fill(1)
        offset = self._at - self._start
        return self._window[offset : offset + 1]

    def _fill(self, count: int) -> None:
        offset = self._at - self._start
        if not 0 <= offset <= len(self._window) - count:
            self._stream.seek(self._at)
            self._window, self._start = self._stream.read(_WINDOW_BYTES), self._at

    def _take(self, count: int) -> bytes:
        self._fill(count)
        offset = self._at - self._start
        data = self._window[offset : offset + count]
        if len(data) < count:
            raise Uncovered("the UBJSON document breaks off")
        self._at += count
        return data

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > self._size:
            raise Uncovered("the UBJSON document breaks off")
