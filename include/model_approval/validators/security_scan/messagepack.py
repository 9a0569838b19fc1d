"""MessagePack, as Flax writes checkpoints and spaCy its parts: walked to the end, long values stepped over.

The format itself runs nothing. One convention on top of it does: `msgpack_numpy` unpickles arrays of objects.
"""

from __future__ import annotations

from typing import IO

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.bounds import MAX_ITEMS
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_OBJECTS = Rule("msgpack.objects", Severity.HIGH, "store plain numbers, which need no unpickling")
_WINDOW_BYTES = 256 * 1024
_MAX_DEPTH = 512
_KNOWN_EXTENSIONS = {-1, 1, 2, 3}
"""A time stamp; Flax's arrays, complex numbers and numpy scalars."""
_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xC0: 0, 0xC2: 0, 0xC3: 0}
_TEXT = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_CONTAINERS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
_EXTENSIONS = {0xC7: 1, 0xC8: 2, 0xC9: 4}


class MessagePackScanner:
    """Scans `msgpack`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk every item. Raises Uncovered for damage and for what follows, ValueError for unknown bytes."""
        walk = _Walk(blob.stream, blob.size_bytes)
        walk.run()
        for code in sorted(walk.extensions - _KNOWN_EXTENSIONS):
            scan.gap(f"an extension type {code}, whose meaning only its authors know")
        if walk.object_array_at is not None:
            message = "an array of objects, which msgpack_numpy unpickles when it is loaded"
            scan.add(blob, _OBJECTS, message, subject="kind O", offset=walk.object_array_at)


class _Walk:
    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self._size = stream, size
        self._window, self._start, self._at = b"", 0, 0
        self.extensions: set[int] = set()
        self.object_array_at: int | None = None

    def run(self) -> None:
        open_items = [1]
        last: bytes | None = None
        for _ in range(MAX_ITEMS):
            while open_items and not open_items[-1]:
                open_items.pop()
            if not open_items:
                if self._at != self._size:
                    raise Uncovered("bytes follow after the MessagePack document")
                return
            if len(open_items) > _MAX_DEPTH:
                raise Uncovered(f"nested deeper than {_MAX_DEPTH} levels")
            open_items[-1] -= 1
            inside, text = self._item()
            if inside:
                open_items.append(inside)
            if text == b"O" and last == b"kind":
                self.object_array_at = self._at
            last = text
        raise Uncovered(f"more than {MAX_ITEMS} items")

    def _take(self, count: int) -> bytes:
        offset = self._at - self._start
        if not 0 <= offset <= len(self._window) - count:
            self._stream.seek(self._at)
            self._window, self._start, offset = self._stream.read(_WINDOW_BYTES), self._at, 0
        data = self._window[offset : offset + count]
        if len(data) < count:
            raise Uncovered("the MessagePack document breaks off")
        self._at += count
        return data

    def _skip(self, count: int) -> bytes:
        """Step over text or bytes; short ones are returned."""
        if count <= 8:
            return self._take(count)
        self._at += count
        if self._at > self._size:
            raise Uncovered("the MessagePack document breaks off")
        return b""

    def _length(self, width: int) -> int:
        return int.from_bytes(self._take(width), "big")

    def _item(self) -> tuple[int, bytes | None]:
        """Read one item: how many items it holds, and its text when that is short."""
        kind = self._take(1)[0]
        if kind < 0x80 or kind >= 0xE0:
            return 0, None
        if kind < 0x90:
            return 2 * (kind & 15), None
        if kind < 0xA0:
            return kind & 15, None
        if kind < 0xC0:
            return 0, self._skip(kind & 31)
        if kind in _TEXT:
            return 0, self._skip(self._length(_TEXT[kind]))
        if kind in _CONTAINERS:
            width, items = _CONTAINERS[kind]
            return items * self._length(width), None
        if kind in _FIXED:
            self._skip(_FIXED[kind])
            return 0, None
        self._extension(kind)
        return 0, None

    def _extension(self, kind: int) -> None:
        if kind == 0xC1:
            raise ValueError(f"byte {self._at - 1} is no MessagePack")
        length = self._length(_EXTENSIONS[kind]) if kind in _EXTENSIONS else 1 << (kind - 0xD4)
        self.extensions.add(int.from_bytes(self._take(1), "big", signed=True))
        self._skip(length)
