"""Reads the arguments of a pickle's operations out of the file: numbers, lines, and texts where a name is wanted."""

from __future__ import annotations

from typing import Final

from model_approval.validators.security_scan import pickle_opcodes as op
from model_approval.validators.security_scan.pickle_values import BadPickle, Source, decoded, unescaped

_MAX_NAME_BYTES: Final = 512
_MAX_LINE_BYTES: Final = 16 * 1024**2
_KEPT_TEXTS: Final = 4096


class PickleReader:
    """Reads at offsets."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._texts: dict[int, str | None] = {}

    def text_at(self, at: int) -> str | None:
        """The text that was pushed at an offset; None when it is no text, or too long for a name."""
        if at < 0:
            return None
        if at not in self._texts:
            if len(self._texts) >= _KEPT_TEXTS:
                self._texts.clear()
            self._texts[at] = self._read_text(at)
        return self._texts[at]

    def _read_text(self, at: int) -> str | None:
        head = self.source.read_at(at, 9 + _MAX_NAME_BYTES)
        width = op.TEXTS.get(head[0])
        if width is None:
            return None
        if width == 0:
            line = head[1:].split(b"\n", 1)[0]
            text = unescaped(line, quoted=head[0] == op.code_of("STRING"))
            return text if len(line) <= _MAX_NAME_BYTES else None
        length = int.from_bytes(head[1 : 1 + width], "little")
        return decoded(head[1 + width : 1 + width + length]) if length <= _MAX_NAME_BYTES else None

    def number_at(self, at: int, width: int) -> int:
        """A little-endian number of that many bytes. Raises BadPickle at the end of the file."""
        data = self.source.read_at(at, width)
        if len(data) < width:
            raise BadPickle(f"it breaks off at byte {at}")
        return int.from_bytes(data, "little")

    def lines_at(self, at: int, count: int) -> tuple[list[bytes], int]:
        """That many lines, without their ends, and the offset behind them. Raises BadPickle when one does not end."""
        size = 1024
        while True:
            data = self.source.read_at(at, size)
            parts = data.split(b"\n", count)
            if len(parts) > count:
                return parts[:count], at + sum(len(part) + 1 for part in parts[:count])
            if len(data) < size or size >= _MAX_LINE_BYTES:
                raise BadPickle(f"the line at byte {at} does not end")
            size *= 16
