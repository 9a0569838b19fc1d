"""The directory of a zip archive, read as strictly as APPNOTE 6.3 allows, with every disagreement named.

A zip says everything twice: in a header before each member and in the directory at the end. Readers differ in which
they believe, and that is how a scanner is shown one file and a loader another. So both are read, and compared; and
every byte must belong to a member, to the directory, or be padding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO

from model_approval.validators.security_scan.scan import Uncovered
from model_approval.validators.security_scan.windows import first_nonzero

END = b"PK\x05\x06"
CENTRAL = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"
_END64, _LOCATOR, _DESCRIPTOR = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"
_END_BYTES, _CENTRAL_BYTES, _LOCAL_BYTES, _LOCATOR_BYTES, _END64_BYTES = 22, 46, 30, 20, 56
_TAIL_BYTES = 65_535 + _END_BYTES
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64_EXTRA = 1
_UTF8_FLAG, _DESCRIPTOR_FLAG, _ENCRYPTED_FLAGS = 0x800, 0x8, 0x1 | 0x40 | 0x2000
MAX_DIRECTORY_BYTES = 64 * 1024**2
MAX_MEMBERS = 200_000
"""A checkpoint of the largest models has a few thousand."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One member, as the directory at the end describes it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    compressed_bytes: int
    size_bytes: int
    at: int
    """Offset of its local header in the blob."""
    mode: int
    """Unix file mode, 0 when the archive was not made on Unix."""
    data_at: int = 0
    """Offset of its bytes; 0 until the local header was read."""

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder."""
        return self.name.endswith("/") and not self.size_bytes

    @property
    def is_encrypted(self) -> bool:
        """Whether its bytes or its header are encrypted."""
        return bool(self.flags & _ENCRYPTED_FLAGS)


@dataclass(frozen=True, slots=True)
class Clash:
    """Two statements about a member that exclude each other."""

    name: str
    what: str
    offset: int


@dataclass
class Directory:
    """All that an archive says about itself."""

    entries: list[Entry] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)
    strays: list[tuple[int, int]] = field(default_factory=list)
    """Begin and end of bytes that are neither member, directory nor zeros."""
    prefix_bytes: int = 0
    """Bytes before the first member."""
    start: int = 0
    end: int = 0


def has_directory(stream: IO[bytes], size: int) -> bool:
    """Whether a zip reader would find an archive at the very end of these bytes."""
    stream.seek(max(0, size - _TAIL_BYTES))
    tail = stream.read(_TAIL_BYTES)
    at = tail.rfind(END)
    while at >= 0:
        fields = tail[at : at + _END_BYTES]
        if len(fields) == _END_BYTES and at + _END_BYTES + _u16(fields, 20) == len(tail):
            where = max(0, size - _TAIL_BYTES) + at - _u32(fields, 12)
            if where >= 0 and (_u16(fields, 10) == _FULL16 or _starts_with(stream, where, CENTRAL)):
                return True
        at = tail.rfind(END, 0, at)
    return False


def read_directory(stream: IO[bytes], size: int) -> Directory:
    """Read the directory and every local header, and account for each byte.

    Cost: one small read for each member. Raises Uncovered when there is no directory, or none that can be read.
    """
    directory = Directory()
    count, length, offset, end = _find_end(stream, size, directory)
    start = end - length
    if start < 0:
        raise Uncovered("not a zip file: its directory lies outside of it")
    if length > MAX_DIRECTORY_BYTES or count > MAX_MEMBERS:
        raise Uncovered(f"a zip directory of more than {MAX_DIRECTORY_BYTES} bytes or {MAX_MEMBERS} members")
    base = start - offset
    if base and length and (base < 0 or _starts_with(stream, offset, CENTRAL)):
        # Some readers look where the end says, some right before the end.
        directory.clashes.append(Clash("", "the directory is not where the end of the archive says", end))
        if base > 0:
            directory.strays.append((offset + length, end))
            start, base = offset, 0
    directory.start = start
    stream.seek(start)
    entries = _read_entries(stream.read(length), count, base, directory)
    directory.entries = [_with_local_header(stream, entry, directory) for entry in entries]
    _account(stream, directory)
    return directory


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "little")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def _starts_with(stream: IO[bytes], at: int, magic: bytes) -> bool:
    stream.seek(at)
    return stream.read(len(magic)) == magic


def _find_end(stream: IO[bytes], size: int, directory: Directory) -> tuple[int, int, int, int]:
    """Members, directory length, directory offset as it is written, and where the directory ends."""
    tail_at = max(0, size - _TAIL_BYTES)
    stream.seek(tail_at)
    tail = stream.read(_TAIL_BYTES)
    at = tail.rfind(END)
    while at >= 0 and at + _END_BYTES + _u16(tail, at + 20) != len(tail):
        at = tail.rfind(END, 0, at)
    if at < 0:
        at = tail.rfind(END)
    if at < 0 or len(tail) - at < _END_BYTES:
        raise Uncovered("not a zip file: it has no directory at its end")
    disk, disk_start, here, count, length, offset, comment = struct.unpack("<4H2LH", tail[at + 4 : at + _END_BYTES])
    stop = at + _END_BYTES + comment
    directory.end = min(size, tail_at + stop)
    if stop < len(tail):
        directory.strays.append((tail_at + stop, size))
    if tail.find(END, at + 1) >= 0:
        directory.clashes.append(Clash("", "a second end of the archive stands behind the first", tail_at + at))
    end = tail_at + at
    wide = _find_end64(stream, end, directory)
    if wide:
        count64, length64, offset64, end64 = wide
        for small, large, full in ((count, count64, _FULL16), (length, length64, _FULL32), (offset, offset64, _FULL32)):
            if small not in (full, large):
                directory.clashes.append(Clash("", "the two ends of the archive (zip and zip64) disagree", end64))
        return count64, length64, offset64, end64
    if count == _FULL16 or _FULL32 in (length, offset) or disk or disk_start or here != count:
        raise Uncovered("not a zip file: an archive in several parts, or its zip64 end is missing")
    return count, length, offset, end


def _is_prefixed(record: bytes, at: int) -> bool:
    """Whether all offsets lie before the bytes they mean, as when something was put before the archive."""
    length, offset = struct.unpack("<2Q", record[40:56])
    return bool(offset + length < at)


def _find_end64(stream: IO[bytes], end: int, directory: Directory) -> tuple[int, int, int, int] | None:
    if end < _LOCATOR_BYTES + _END64_BYTES or not _starts_with(stream, end - _LOCATOR_BYTES, _LOCATOR):
        return None
    # Readers look right before the locator (Python) or where it points (others); it must be one place.
    at = end - _LOCATOR_BYTES - _END64_BYTES
    stream.seek(at)
    record = stream.read(_END64_BYTES)
    if not record.startswith(_END64):
        raise Uncovered("not a zip file: its zip64 end is not where it should be")
    stream.seek(end - _LOCATOR_BYTES + 8)
    if int.from_bytes(stream.read(8), "little") != at and not _is_prefixed(record, at):
        directory.clashes.append(Clash("", "the zip64 end is not where the archive says", at))
    count, length, offset = struct.unpack("<3Q", record[32:56])
    return count, length, offset, at


def _read_entries(data: bytes, count: int, base: int, directory: Directory) -> list[Entry]:
    """All members that some reader would see: some go by the count, some by the directory's length."""
    entries: list[Entry] = []
    at = 0
    while at < len(data):
        fields = data[at : at + _CENTRAL_BYTES]
        if len(fields) < _CENTRAL_BYTES or not fields.startswith(CENTRAL):
            if not entries or len(entries) < count:
                raise Uncovered(f"not a zip file: its directory is damaged at member {len(entries)}")
            break
        name_end = at + _CENTRAL_BYTES + _u16(fields, 28)
        extra_end = name_end + _u16(fields, 30)
        raw = data[at + _CENTRAL_BYTES : name_end]
        entries.append(_entry(fields, raw, data[name_end:extra_end], base))
        at = extra_end + _u16(fields, 32)
    # Old writers let the count overflow at 65,536.
    if at != len(data) or (len(entries) - count) % 65_536:
        what = f"the directory has {len(entries)} members or other bytes where its end says {count} members"
        directory.clashes.append(Clash("", what, directory.start))
    return entries


def _entry(fields: bytes, raw: bytes, extra: bytes, base: int) -> Entry:
    flags, method = _u16(fields, 8), _u16(fields, 10)
    sizes = [_u32(fields, 24), _u32(fields, 20), _u32(fields, 42)]
    wide = _extra(extra, _ZIP64_EXTRA)
    for index, value in enumerate(sizes):
        if value == _FULL32 and len(wide) >= 8:
            sizes[index], wide = int.from_bytes(wide[:8], "little"), wide[8:]
    mode = _u32(fields, 38) >> 16 if fields[5] == 3 else 0
    name = raw.decode("utf-8" if flags & _UTF8_FLAG else "cp437", errors="replace")
    return Entry(name, raw, flags, method, _u32(fields, 16), sizes[1], sizes[0], base + sizes[2], mode)


def _extra(data: bytes, wanted: int) -> bytes:
    at = 0
    while at + 4 <= len(data):
        kind, length = _u16(data, at), _u16(data, at + 2)
        if kind == wanted:
            return data[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _with_local_header(stream: IO[bytes], entry: Entry, directory: Directory) -> Entry:
    """The entry with the offset of its bytes; what header and directory disagree about is recorded."""
    stream.seek(max(0, entry.at))
    fields = stream.read(_LOCAL_BYTES) if entry.at >= 0 else b""
    if len(fields) < _LOCAL_BYTES or not fields.startswith(LOCAL):
        directory.clashes.append(Clash(entry.name, "no header stands where the directory says", entry.at))
        return entry
    raw = stream.read(_u16(fields, 26))
    extra = stream.read(_u16(fields, 28))
    flags, crc, packed, size = _u16(fields, 6), _u32(fields, 14), _u32(fields, 18), _u32(fields, 22)
    wide = _extra(extra, _ZIP64_EXTRA)
    if size == _FULL32 and len(wide) >= 8:
        size, wide = int.from_bytes(wide[:8], "little"), wide[8:]
    if packed == _FULL32 and len(wide) >= 8:
        packed = int.from_bytes(wide[:8], "little")
    stated = [
        ("name", raw == entry.raw_name),
        ("compression method", _u16(fields, 8) == entry.method),
        ("encryption", not (flags ^ entry.flags) & _ENCRYPTED_FLAGS),
        ("checksum", crc == entry.crc or (not crc and flags & _DESCRIPTOR_FLAG)),
        ("packed size", packed == entry.compressed_bytes or (packed in (0, _FULL32) and flags & _DESCRIPTOR_FLAG)),
        ("size", size == entry.size_bytes or (size in (0, _FULL32) and flags & _DESCRIPTOR_FLAG)),
    ]
    for what, agrees in stated:
        if not agrees:
            directory.clashes.append(Clash(entry.name, f"header and directory disagree about its {what}", entry.at))
    data_at = entry.at + _LOCAL_BYTES + len(raw) + len(extra)
    return Entry(
        entry.name, entry.raw_name, entry.flags | flags & _DESCRIPTOR_FLAG, entry.method, entry.crc,
        entry.compressed_bytes, entry.size_bytes, entry.at, entry.mode, data_at,
    )  # fmt: skip


def _account(stream: IO[bytes], directory: Directory) -> None:
    """Every byte up to the directory belongs to exactly one member, or is zero."""
    found = sorted((entry for entry in directory.entries if entry.data_at), key=lambda entry: entry.at)
    directory.prefix_bytes = found[0].at if found else directory.start
    at, before = directory.prefix_bytes, ""
    for entry in found:
        if entry.at < at:
            directory.clashes.append(Clash(entry.name, f"it overlaps with {before!r}", entry.at))
        else:
            _check_stray(stream, at, entry.at, directory)
        end = entry.data_at + entry.compressed_bytes
        at, before = max(at, end + _descriptor_bytes(stream, entry, end)), entry.name
    if at > directory.start:
        directory.clashes.append(Clash(before, "it reaches into the archive's directory", directory.start))
    elif found:
        _check_stray(stream, at, directory.start, directory)


def _check_stray(stream: IO[bytes], begin: int, end: int, directory: Directory) -> None:
    if begin < end and first_nonzero(stream, begin, end) is not None:
        directory.strays.append((begin, end))


def _descriptor_bytes(stream: IO[bytes], entry: Entry, at: int) -> int:
    """How long the sizes behind the member are; 0 when there are none, or none that fit."""
    if not entry.flags & _DESCRIPTOR_FLAG:
        return 0
    stream.seek(at)
    data = stream.read(24)
    for signature in (_DESCRIPTOR, b""):
        for layout in ("<LQQ", "<LLL"):
            fields = struct.Struct(layout)
            try:
                wanted = signature + fields.pack(entry.crc, entry.compressed_bytes, entry.size_bytes)
            except struct.error:
                continue
            if data.startswith(wanted):
                return len(wanted)
    return 0
