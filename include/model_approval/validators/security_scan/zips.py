"""Zip archives (also torch, npz, skops, .mar, .keras): strictly, in place, every member by its own format.

Members that lie stored are read where they are, without a copy. Raw tensors of torch archives and numeric arrays are
passed over by seeking: the artifact's SHA-256 pins them, and nothing that loads them executes them.
"""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import IO, Protocol, cast

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import HEAD_BYTES, UNKNOWN, detect_format
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.member_names import MemberNames
from model_approval.validators.security_scan.npy_header import numeric_file_bytes
from model_approval.validators.security_scan.scan import PARSER_ERRORS, Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.skops_models import SkopsLayout
from model_approval.validators.security_scan.spool import inside
from model_approval.validators.security_scan.torch_layout import TorchLayout
from model_approval.validators.security_scan.windows import BLOCK_BYTES, crc32_of, window
from model_approval.validators.security_scan.zip_directory import Directory, Entry, read_directory
from model_approval.validators.security_scan.zip_members import MemberReader, Method

_ADVICE = "write the archive anew with an ordinary tool"
_POLYGLOT = Rule("archive.polyglot", Severity.HIGH, _ADVICE)
_CLASH = Rule("archive.clash", Severity.HIGH, _ADVICE)
_CHECKSUM = Rule("archive.checksum", Severity.HIGH, _ADVICE)
_HIDDEN = Rule("archive.hidden-data", Severity.HIGH, _ADVICE)
_LINK_MODE, _TYPE_MASK = 0o120000, 0o170000
_MAX_TARGET_BYTES = 4096
_MAX_GAPS = 100
_SPOOL_BYTES = 8 * 1024**2


class Layout(Protocol):
    """What the members of one kind of archive are."""

    def comes_first(self, name: str) -> bool:
        """Whether others are judged by what stands in this member."""
        ...

    def is_raw(self, name: str, head: bytes) -> bool:
        """Whether loaders read it as numbers or a word and never as anything else, whatever its bytes."""
        ...

    def scan_content(self, blob: Blob, scan: FileScan, name: str) -> None:
        """Look into a member that is not raw."""
        ...


class ZipScanner:
    """Scans `zip` and `torch`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Scan every member. Raises Uncovered for an archive without a readable directory."""
        scan_zip(blob, scan)


def scan_zip(blob: Blob, scan: FileScan, *, scan_prefix: bool = True) -> None:
    """Scan a zip archive; bytes before it too, unless somebody else has read them."""
    directory = read_directory(blob.stream, blob.size_bytes)
    _report_structure(blob, scan, directory)
    if directory.prefix_bytes and scan_prefix:
        before = window(blob.stream, 0, directory.prefix_bytes)
        scan.scan(inside(blob, "before", before, directory.prefix_bytes))
    found = [entry.name for entry in directory.entries]
    layout: Layout = SkopsLayout.of(found) or TorchLayout.of(found)
    names = MemberNames(blob, scan)
    clear = frozenset(clash.name for clash in directory.clashes if "encryption" in clash.what)
    for entry in sorted(directory.entries, key=lambda entry: not layout.comes_first(entry.name)):
        scan.budget.spend_member()
        names.check(entry.name.rstrip("/") or "/")
        if not entry.data_at or entry.is_folder:
            continue
        member = _Member(blob, scan, entry)
        if entry.is_encrypted and entry.name not in clear:
            member.gap("encrypted")
        else:
            _scan_member(member, layout, names)


def scan_tail(blob: Blob, scan: FileScan) -> None:
    """Scan the archive that ends a file whose head is something else and was scanned as that.

    Raises:
        Uncovered: Its directory cannot be read.
    """
    scan_zip(blob, scan, scan_prefix=False)


class _Member:
    """One member that is about to be looked into."""

    def __init__(self, blob: Blob, scan: FileScan, entry: Entry) -> None:
        self.blob, self.scan, self.entry = blob, scan, entry

    def add(self, rule: Rule, message: str) -> None:
        name = plain_line(self.entry.name, limit=300)
        self.scan.add(self.blob, rule, f"{name}: {message}", subject=self.entry.name, offset=self.entry.at)

    def gap(self, reason: object) -> None:
        told = f"{self.inner}: {reason or type(reason).__name__}"
        self.scan.gap(
            plain_line(told, limit=400) if len(self.scan.gaps) < _MAX_GAPS else "and more members of its archives"
        )

    @property
    def inner(self) -> str:
        return f"{self.blob.inner}!{self.entry.name}" if self.blob.inner else self.entry.name


def _report_structure(blob: Blob, scan: FileScan, directory: Directory) -> None:
    for clash in directory.clashes:
        name = plain_line(clash.name, limit=200)
        message = f"{clash.what}{f' ({name})' if name else ''}: one reader sees what another does not"
        scan.add(blob, _CLASH, message, subject=f"{clash.name} {clash.what}", offset=clash.offset)
    if directory.prefix_bytes:
        message = "other bytes stand before the zip archive, so that two readers see two different files"
        scan.add(blob, _POLYGLOT, message, subject="prefix", offset=0)
    for begin, end in directory.strays:
        _scan_stray(blob, scan, begin, end)


def _scan_stray(blob: Blob, scan: FileScan, begin: int, end: int) -> None:
    """Bytes of no member: a gap; grave when they are of a kind that somebody could be made to read."""
    scan.gap(f"bytes {begin} to {end} of the zip archive belong to no member")
    stream = window(blob.stream, begin, end - begin)
    kind = detect_format("", stream.read(HEAD_BYTES))
    if kind != UNKNOWN:
        message = f"between or behind the members hides something else ({kind})"
        scan.add(blob, _HIDDEN, message, subject=kind, offset=begin)
        scan.scan(inside(blob, str(begin), stream, end - begin))


def _scan_member(member: _Member, layout: Layout, names: MemberNames) -> None:
    entry = member.entry
    try:
        if entry.mode & _TYPE_MASK == _LINK_MODE:
            names.check_link(entry.name, _read_small(member).decode(errors="replace"))
        elif entry.method == Method.STORED:
            _scan_stored(member, layout)
        else:
            _scan_packed(member, layout)
    except (Uncovered, *PARSER_ERRORS) as why:
        member.gap(why)


def _scan_stored(member: _Member, layout: Layout) -> None:
    entry = member.entry
    stream = window(member.blob.stream, entry.data_at, entry.compressed_bytes)
    if entry.compressed_bytes != entry.size_bytes:
        member.add(_CLASH, "two sizes are given for a member that is not packed")
    head = stream.read(HEAD_BYTES)
    if layout.is_raw(entry.name, head):
        return
    # An array of numbers: nothing in it is executed, so its checksum is left to whoever loads it.
    if numeric_file_bytes(head) == entry.size_bytes:
        return
    # Members may overlap, so that a small file makes a reader go over the same bytes a thousand times.
    member.scan.budget.spend_bytes(entry.compressed_bytes, file_bytes=member.scan.size_bytes)
    if crc32_of(stream) != entry.crc:
        _report_checksum(member)
    _look_into(member, layout, stream, entry.compressed_bytes)


def _scan_packed(member: _Member, layout: Layout) -> None:
    entry, scan = member.entry, member.scan
    reader = MemberReader(member.blob.stream, entry)
    head = b""
    while len(head) < HEAD_BYTES and (block := reader.read(HEAD_BYTES - len(head))):
        head += block
    if layout.is_raw(entry.name, head) or numeric_file_bytes(head) == entry.size_bytes:
        scan.budget.spend_bytes(len(head), file_bytes=scan.size_bytes)
        _drain(scan, reader)
    else:
        with SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(scan.scratch)) as copy:
            copy.write(head)
            scan.budget.spend_bytes(len(head), file_bytes=scan.size_bytes)
            try:
                _drain(scan, reader, copy)
            finally:  # what came before the damage may be all that a loader needs
                _look_into(member, layout, cast("IO[bytes]", copy), reader.count)
    if reader.crc != entry.crc:
        _report_checksum(member)
    if reader.count != entry.size_bytes:
        member.add(_CLASH, f"unpacks to {reader.count} bytes where {entry.size_bytes} are promised")
    if reader.left_over:
        member.gap("packed bytes follow after the end of the member")


def _drain(scan: FileScan, reader: MemberReader, copy: SpooledTemporaryFile[bytes] | None = None) -> None:
    while block := reader.read(BLOCK_BYTES):
        scan.budget.spend_bytes(len(block), file_bytes=scan.size_bytes)
        if copy is not None:
            copy.write(block)


def _read_small(member: _Member) -> bytes:
    entry = member.entry
    if entry.size_bytes > _MAX_TARGET_BYTES:
        raise Uncovered("the target of a link is too long")
    if entry.method == Method.STORED:
        return window(member.blob.stream, entry.data_at, entry.compressed_bytes).read(_MAX_TARGET_BYTES)
    return MemberReader(member.blob.stream, entry).read(_MAX_TARGET_BYTES)


def _report_checksum(member: _Member) -> None:
    """A broken checksum stops some readers only: torch's and others load the bytes all the same."""
    member.add(_CHECKSUM, "Bad CRC: readers that check it refuse the file, readers that do not load it")
    member.gap("Bad CRC")


def _look_into(member: _Member, layout: Layout, stream: IO[bytes], size: int) -> None:
    content = inside(member.blob, member.entry.name, stream, size)
    if content.depth > member.scan.budget.max_depth:
        raise Uncovered(f"nested deeper than {member.scan.budget.max_depth} levels")
    layout.scan_content(content, member.scan, member.entry.name)
