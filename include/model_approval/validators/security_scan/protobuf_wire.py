"""Protocol buffers read as wire format, with our own schema and without building the message.

A generated parser holds the whole message in memory, merges a singular field that is there twice, and keeps unknown
fields silently. Here a message is walked in a window of fixed size: long fields are stepped over, and what the
schema does not say is reported. Wire format: the "Encoding" page of the protocol buffers documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, NamedTuple

from model_approval.validators.security_scan.scan import Uncovered

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WINDOW_BYTES = 64 * 1024
_MAX_FIELDS = 5_000_000
_MESSAGE_FIELDS = 4
"""What a message costs beside its fields. Together some seconds of walking; a hundred thousand nodes cost half."""
_MAX_DEPTH = 48
_MAX_TEXT_BYTES = 1024 * 1024
_HEAD_BYTES = 4096
_MAX_KEPT = 100_000
"""Values that one message keeps, for example the lines of its metadata."""


class Field(NamedTuple):
    """One field of a message: `value` for numbers, `begin` to `end` for bytes."""

    number: int
    wire: int
    value: int
    begin: int
    end: int


class WireReader:
    """Reads fields from a seekable stream through a window, so that memory does not depend on the message."""

    def __init__(self, stream: IO[bytes], size: int) -> None:
        self._stream, self.size = stream, size
        self._window, self._start = b"", 0
        self._fields = 0

    def fields(self, begin: int, end: int) -> Iterator[Field]:
        """The fields of the message at these bytes.

        Raises:
            ValueError: It is no message.
            Uncovered: It has more fields than anybody reads.
        """
        at = begin
        while at < end:
            self.spend(1)
            key, at = self._varint(at, end)
            number, wire = key >> 3, key & 7
            value, start = 0, at
            if wire == VARINT:
                value, at = self._varint(at, end)
            elif wire == BYTES:
                length, start = self._varint(at, end)
                at = start + length
            elif wire in (FIXED64, FIXED32):
                at += 8 if wire == FIXED64 else 4
            else:
                raise ValueError(f"byte {start}: wire type {wire}, which is not in use")
            if at > end or not number:
                raise ValueError(f"byte {start}: a field ends beyond its message")
            yield Field(number, wire, value, start, at)

    def spend(self, fields: int) -> None:
        """Count fields. Raises Uncovered beyond the limit."""
        self._fields += fields
        if self._fields > _MAX_FIELDS:
            raise Uncovered(f"more than {_MAX_FIELDS} fields")

    def read(self, begin: int, end: int, *, limit: int = _MAX_TEXT_BYTES) -> bytes:
        """Bytes of a field. Raises Uncovered when there are more than `limit`."""
        if end - begin > limit:
            raise Uncovered(f"a text of {end - begin} bytes")
        offset = begin - self._start
        if offset >= 0 and end - self._start <= len(self._window):
            return self._window[offset : end - self._start]
        self._stream.seek(begin)
        return self._stream.read(end - begin)

    def numbers(self, begin: int, end: int) -> list[int]:
        """Packed numbers. Raises Uncovered when there are more than anybody reads one by one."""
        if end - begin > _WINDOW_BYTES:
            raise Uncovered(f"{end - begin} bytes of numbers where a few belong")
        numbers, at = [], begin
        while at < end:
            value, at = self._varint(at, end)
            numbers.append(value)
        return numbers

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        offset = at - self._start
        if not 0 <= offset <= len(self._window) - 10:
            self._stream.seek(at)
            self._window, self._start, offset = self._stream.read(_WINDOW_BYTES), at, 0
        window = self._window[offset : offset + min(10, end - at)]
        value = shift = 0
        for count, byte in enumerate(window, 1):
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at + count
            shift += 7
        raise ValueError(f"byte {at}: a number breaks off")


@dataclass(frozen=True)
class Spec:
    """What the schema says about one field."""

    kind: str
    """What becomes of it; else the name of a message, which is walked.

    `number`, `text`, `head` (of a text) and `length` (of bytes) are kept, `numbers` too, packed or not; `bytes` and
    `scalars` are stepped over.
    """
    repeated: bool = False


Values = dict[int, list[int | str]]
"""The numbers and texts of a message by field number."""
Schema = Mapping[str, Mapping[int, Spec]]
Handler = Callable[[Values, Field], None]
_WIRES = {"number": (VARINT, FIXED32, FIXED64), "text": (BYTES,), "bytes": (BYTES,)}


@dataclass
class Walker:
    """Walks a message depth first and tells handlers what stood in it.

    Attributes:
        reader: Where it stands.
        schema: The messages, by name.
        handlers: Called at the end of each message of a name, with its own numbers and texts; its children first.
        oddities: What the schema does not allow; two readers may take it differently.
    """

    reader: WireReader
    schema: Schema
    handlers: Mapping[str, Handler] = field(default_factory=dict)
    oddities: set[str] = field(default_factory=set)

    def walk(self, message: str, begin: int, end: int, depth: int = 0) -> None:
        """Walk one message. Raises ValueError for damage, Uncovered for what is too deep or too much."""
        if depth > _MAX_DEPTH:
            raise Uncovered(f"nested deeper than {_MAX_DEPTH} messages")
        self.reader.spend(_MESSAGE_FIELDS)
        specs, values, seen = self.schema[message], Values(), set[int]()
        kept = 0
        for found in self.reader.fields(begin, end):
            spec = specs.get(found.number)
            if spec is None:
                self._odd(f"{message} has a field {found.number} that the format does not know")
                continue
            if found.number in seen and not spec.repeated:
                self._odd(f"{message} has field {found.number} twice, which readers merge or overwrite")
            seen.add(found.number)
            kept += self._take(message, spec, found, values, depth)
            if kept > _MAX_KEPT:
                raise Uncovered(f"{message} holds more than {_MAX_KEPT} values")
        if handler := self.handlers.get(message):
            handler(values, Field(0, BYTES, 0, begin, end))

    def _take(self, message: str, spec: Spec, found: Field, values: Values, depth: int) -> int:
        """Keep, step over or walk one field; returns how many values were kept."""
        kind = spec.kind
        if kind in ("scalars", "numbers"):
            return self._take_scalars(spec, found, values)
        if found.wire not in _WIRES.get(kind, (BYTES,)):
            self._odd(f"{message} has field {found.number} with a type that the format does not give it")
            return 0
        if kind == "bytes":
            return 0
        if kind in ("number", "length"):
            values.setdefault(found.number, []).append(found.value if kind == "number" else found.end - found.begin)
        elif kind in ("text", "head"):
            end = min(found.end, found.begin + _HEAD_BYTES) if kind == "head" else found.end
            text = self.reader.read(found.begin, end).decode("utf-8", "backslashreplace")
            values.setdefault(found.number, []).append(text)
        else:
            self.walk(kind, found.begin, found.end, depth + 1)
            return 0
        return 1

    def _take_scalars(self, spec: Spec, found: Field, values: Values) -> int:
        if spec.kind == "scalars":
            return 0
        kept = values.setdefault(found.number, [])
        before = len(kept)
        if found.wire == BYTES:
            kept += self.reader.numbers(found.begin, found.end)
        else:
            kept.append(found.value)
        return len(kept) - before

    def _odd(self, what: str) -> None:
        if len(self.oddities) < 20:
            self.oddities.add(what)


def last_text(values: Values, number: int) -> str:
    """The last text of a field, which is the one that readers take; empty when there is none."""
    found = values.get(number, [""])[-1]
    return found if isinstance(found, str) else ""


def last_number(values: Values, number: int, default: int = 0) -> int:
    """The last number of a field, which is the one that readers take."""
    found = values.get(number, [default])[-1]
    return found if isinstance(found, int) else default
