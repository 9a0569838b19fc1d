"""HDF5's classic layout, read by ourselves with every address checked: what Keras, PyTables and h5py write by default.

The HDF5 library crashes on damaged files, and a crash takes the whole scan along. So the layout of version 0 and 1
superblocks with version 1 object headers is read here, and only newer ones are left to the library (`BeyondClassic`).
Everything is from the HDF5 file format specification, version 3: superblock II.A, B-trees III.A, symbol tables
III.B/III.C, heaps III.D/III.E, object headers IV.A.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from model_approval.validators.security_scan.flatbuffer import FlatReader

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_NOWHERE = 0xFFFFFFFFFFFFFFFF
_MAX_NODES, _MAX_MESSAGES, _MAX_NAME_BYTES = 200_000, 2_000_000, 4096
_MAX_VALUE_BYTES = 64 * 1024**2
DATASPACE, DATATYPE, EXTERNAL_FILES, LAYOUT, FILTERS, ATTRIBUTE = 0x01, 0x03, 0x07, 0x08, 0x0B, 0x0C
_CONTINUATION, _SYMBOL_TABLE = 0x10, 0x11
_HARMLESS = frozenset({0x00, 0x04, 0x05, 0x0D, 0x0E, 0x12, 0x13, 0x16})
"""No content, fill values, comments, times, reference counts."""
FIXED, STRING, OPAQUE, SEQUENCE = 0, 3, 5, 9


class BeyondClassic(Exception):  # it says who reads the file, not that anything is wrong
    """The file uses a newer layout."""


@dataclass(frozen=True)
class Kind:
    """A datatype: its class, and bytes of one element."""

    number: int
    size: int

    @property
    def holds_bytes(self) -> bool:
        """Whether a pickle could be kept in it: texts, opaque bytes, single bytes, and sequences."""
        return self.number in (STRING, OPAQUE, SEQUENCE) or (self.number == FIXED and self.size == 1)


@dataclass
class Item:
    """A group or dataset: its path, and the bytes of its messages by type."""

    path: str
    messages: dict[int, list[bytes]] = field(default_factory=dict)
    children: tuple[int, int] | None = None
    """Addresses of B-tree and local heap, for a group."""


class ClassicFile:
    """A file of the classic layout. All methods raise ValueError for damage, BeyondClassic for what is newer."""

    def __init__(self, reader: FlatReader, base: int) -> None:
        self._reader, self._base = reader, base
        head = reader.bytes_at(base, 96)
        if head[:8] != _SIGNATURE:
            raise ValueError("no signature")
        if head[8] > 1 or head[13] != 8 or head[14] != 8:
            raise BeyondClassic("superblock")
        at = 24 + (4 if head[8] == 1 else 0)
        self.end = base + int.from_bytes(head[at + 16 : at + 24], "little")
        self._root = int.from_bytes(reader.bytes_at(base + at + 40, 8), "little")
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self._spent = 0

    def items(self) -> Iterator[Item]:
        """All groups and datasets, each once."""
        pending, seen = [("", self._root)], set[int]()
        while pending:
            path, address = pending.pop()
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MAX_NODES:
                raise ValueError(f"more than {_MAX_NODES} groups and datasets")
            item = self._item(path or "/", address)
            yield item
            if item.children:
                pending += [(f"{path}/{name}", child) for name, child in self._children(*item.children)]

    def _bytes(self, address: int, length: int) -> bytes:
        if address == _NOWHERE:
            raise ValueError("an address that is undefined is used")
        return self._reader.bytes_at(self._base + address, length)

    def _number(self, address: int, width: int = 8) -> int:
        return int.from_bytes(self._bytes(address, width), "little")

    def _item(self, path: str, address: int) -> Item:
        head = self._bytes(address, 16)
        if head[:4] == b"OHDR":
            raise BeyondClassic("object header")
        if head[0] != 1:
            raise ValueError(f"no object header at byte {address}")
        item, blocks = Item(path), [(address + 16, int.from_bytes(head[8:12], "little"))]
        for at, length in blocks:
            self._messages(item, blocks, at, at + length)
        return item

    def _messages(self, item: Item, blocks: list[tuple[int, int]], at: int, end: int) -> None:
        while at + 8 <= end:
            self._spend()
            head = self._bytes(at, 8)
            kind, size = int.from_bytes(head[:2], "little"), int.from_bytes(head[2:4], "little")
            data = self._bytes(at + 8, size)
            if at + 8 + size > end:
                raise ValueError(f"a message at byte {at} is longer than its header")
            at += 8 + size
            if kind == _CONTINUATION:
                blocks.append((int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little")))
            elif kind == _SYMBOL_TABLE:
                item.children = (int.from_bytes(data[:8], "little"), int.from_bytes(data[8:16], "little"))
            elif kind in (DATASPACE, DATATYPE, EXTERNAL_FILES, LAYOUT, FILTERS, ATTRIBUTE):
                if head[4] & 2:
                    raise BeyondClassic("shared message")
                item.messages.setdefault(kind, []).append(data)
            elif kind not in _HARMLESS:
                raise BeyondClassic(f"message {kind}")

    def _spend(self) -> None:
        self._spent += 1
        if self._spent > _MAX_MESSAGES:
            raise ValueError(f"more than {_MAX_MESSAGES} parts")

    def _children(self, tree: int, heap: int) -> Iterator[tuple[str, int]]:
        if self._bytes(heap, 4) != b"HEAP":
            raise ValueError(f"no heap of names at byte {heap}")
        names, pending, seen = self._number(heap + 24), [tree], set[int]()
        while pending:
            node = pending.pop()
            self._spend()
            if node in seen:
                raise ValueError("a tree leads back to itself")
            seen.add(node)
            head = self._bytes(node, 8)
            if head[:4] == b"TREE" and head[4] == 0:
                used = int.from_bytes(head[6:8], "little")
                pending += [self._number(node + 32 + 16 * place) for place in range(used)]
            elif head[:4] == b"SNOD":
                yield from self._symbols(node, int.from_bytes(head[6:8], "little"), names)
            else:
                raise ValueError(f"no node of a group at byte {node}")

    def _symbols(self, node: int, count: int, names: int) -> Iterator[tuple[str, int]]:
        for place in range(count):
            self._spend()
            at = node + 8 + 40 * place
            if self._number(at + 16, 4) != 2:  # 2 is a soft link, which stays within the file
                yield self.text(names + self._number(at)), self._number(at + 8)

    def text(self, address: int) -> str:
        """A text that ends with a zero."""
        length = min(_MAX_NAME_BYTES, self._reader.size - self._base - address)
        if length <= 0:
            raise ValueError("a name lies beyond the file's end")
        return self._bytes(address, length).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")

    def attribute(self, message: bytes) -> tuple[str, list[bytes]]:
        """Name and values of an attribute; no values when it holds plain numbers."""
        version, name_size = message[0], int.from_bytes(message[2:4], "little")
        kind_size, space_size = int.from_bytes(message[4:6], "little"), int.from_bytes(message[6:8], "little")
        if version not in (1, 2, 3):
            raise BeyondClassic("attribute")
        if version > 1 and message[1]:
            raise BeyondClassic("shared datatype")
        at, step = (9, 1) if version == 3 else (8, 8 if version == 1 else 1)
        parts = []
        for size in (name_size, kind_size, space_size):
            parts.append(message[at : at + size])
            at += -(-size // step) * step
        kind = kind_of(parts[1])
        name = parts[0].split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        return name, self.values(kind, message[at:], elements(parts[2])) if kind.holds_bytes else []

    def values(self, kind: Kind, data: bytes, count: int) -> list[bytes]:
        """The bytes of an array: all in one, or one by one for sequences in the heap."""
        size = kind.size * count
        if size > _MAX_VALUE_BYTES or len(data) < size:
            raise ValueError(f"{size} bytes of values, where {len(data)} stand")
        if kind.number != SEQUENCE:
            return [data[:size]]
        return [self._from_heap(data[at : at + 16]) for at in range(0, size, 16)]

    def _from_heap(self, reference: bytes) -> bytes:
        self._spend()
        address, index = int.from_bytes(reference[4:12], "little"), int.from_bytes(reference[12:16], "little")
        if address in (0, _NOWHERE):
            return b""
        if address not in self._heaps:
            self._heaps[address] = self._heap(address)
        at, size = self._heaps[address].get(index, (0, 0))
        if size > _MAX_VALUE_BYTES:
            raise ValueError(f"a text of {size} bytes")
        return self._bytes(at, size) if size else b""

    def _heap(self, address: int) -> dict[int, tuple[int, int]]:
        if self._bytes(address, 4) != b"GCOL":
            raise ValueError(f"no global heap at byte {address}")
        found, at, end = {}, address + 16, address + self._number(address + 8)
        while at + 16 <= end:
            self._spend()
            index, size = self._number(at, 2), self._number(at + 8)
            if index == 0:
                break
            found[index] = (at + 16, size)
            at += 16 + -(-size // 8) * 8
        return found

    def contiguous(self, address: int, size: int) -> bytes:
        """The bytes of a dataset that lies in one piece."""
        if size > _MAX_VALUE_BYTES:
            raise ValueError(f"{size} bytes that are no numbers")
        return b"" if address == _NOWHERE else self._bytes(address, size)

    def external_files(self, message: bytes) -> list[str]:
        """Names of the files that a dataset's bytes are read from."""
        heap, used = int.from_bytes(message[8:16], "little"), int.from_bytes(message[6:8], "little")
        names = self._number(heap + 24)
        offsets = [
            int.from_bytes(message[16 + 24 * place : 24 + 24 * place], "little") for place in range(min(used, 100))
        ]
        return [self.text(names + offset) for offset in offsets]


def kind_of(message: bytes) -> Kind:
    """A datatype message's class and size. Raises ValueError when it is too short."""
    if len(message) < 8:
        raise ValueError("a datatype breaks off")
    number, size = message[0] & 0x0F, int.from_bytes(message[4:8], "little")
    if number == SEQUENCE and size != 16:
        raise ValueError("a sequence of another size than 16")
    return Kind(number, size)


def elements(message: bytes) -> int:
    """How many elements a dataspace message describes."""
    version, rank = message[0], message[1]
    at = 8 if version == 1 else 4
    if version not in (1, 2) or rank > 32 or len(message) < at + 8 * rank:
        raise ValueError("a dataspace that is none")
    if version == 2 and message[3] == 2:
        return 0
    return math.prod(int.from_bytes(message[at + 8 * axis : at + 8 * axis + 8], "little") for axis in range(rank))


def filters(message: bytes) -> list[int]:
    """Numbers of the filters in a pipeline message."""
    if message[0] != 1:
        raise BeyondClassic("filter pipeline")
    found, at = [], 8
    for _ in range(message[1]):
        name, values = (int.from_bytes(message[at + place : at + place + 2], "little") for place in (2, 6))
        found.append(int.from_bytes(message[at : at + 2], "little"))
        at += 8 + -(-name // 8) * 8 + 4 * (values + values % 2)
    return found
