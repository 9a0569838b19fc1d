"""Containers: zip (also torch and npz), tar, and single compressed streams. Everything inside is scanned in turn."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import IO, cast

from model_approval.domain.evidence import Severity
from model_approval.domain.manifest import check_path
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_POLYGLOT = Rule("archive.polyglot", Severity.HIGH, "write the archive anew")
_PATH = Rule("archive.path", Severity.HIGH, "write the archive anew, with plain relative names")
_DUPLICATE = Rule("archive.duplicate", Severity.HIGH, "write the archive anew")
_LINK = Rule("archive.link", Severity.HIGH, "pack the content of what is linked")
_BLOCK_BYTES = 1024 * 1024
_DESCRIPTOR_BYTES = 24
"""A data descriptor may follow a member, at most this long (zip64 with signature)."""
# Members of a torch zip that torch copies into storages or reads as a word; never unpickled, whatever their bytes.
_TORCH_RAW = re.compile(
    r"[^/]+/((\.?data/(\d+|serialization_id))|version|byteorder|\.format_version|\.storage_alignment)"
)


class ZipScanner:
    """Scans `zip` and `torch`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Scan every member. Raises Uncovered for encryption, damage, or bytes outside of the members."""
        with zipfile.ZipFile(blob.stream) as archive:
            members = archive.infolist()
            if members and min(member.header_offset for member in members) > 0:
                _report_polyglot(blob, scan)
            elif _has_hidden_bytes(archive, blob):
                scan.gap("bytes of the zip archive that belong to no member")
            is_torch = any(member.filename.endswith("/data.pkl") for member in members)
            seen: set[str] = set()
            for member in members:
                _check_name(blob, scan, member.filename.rstrip("/"), seen)
                if not member.is_dir():
                    self._scan_member(archive, member, blob, scan, is_torch=is_torch)

    def _scan_member(
        self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, blob: Blob, scan: FileScan, *, is_torch: bool
    ) -> None:
        name = member.filename
        if member.flag_bits & 0x1:
            scan.gap(f"{plain_line(name)}: encrypted")
            return
        try:
            with archive.open(member) as source:
                if is_torch and _TORCH_RAW.fullmatch(name):
                    scan.drain(source)
                else:
                    scan.unpack(blob, name, source)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, zlib.error) as err:
            scan.gap(plain_line(f"{name}: {err}"))


def _report_polyglot(blob: Blob, scan: FileScan) -> None:
    message = "other bytes stand before the zip archive, so that two readers see two different files"
    scan.add(blob, _POLYGLOT, message, offset=0)
    scan.gap("the bytes before the zip archive")


def _has_hidden_bytes(archive: zipfile.ZipFile, blob: Blob) -> bool:
    """Whether bytes stand between the members or after the end, where a reader of local headers would find them."""
    at = 0
    for member in sorted(archive.infolist(), key=lambda member: member.header_offset):
        blob.stream.seek(member.header_offset)
        local = blob.stream.read(30)
        lengths = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
        if not at <= member.header_offset <= at + _DESCRIPTOR_BYTES:
            return True
        at = member.header_offset + 30 + lengths + member.compress_size
    blob.stream.seek(max(0, blob.size_bytes - 22))
    return not at <= archive.start_dir <= at + _DESCRIPTOR_BYTES or not blob.stream.read(4).startswith(b"PK\x05\x06")


def _check_name(blob: Blob, scan: FileScan, name: str, seen: set[str]) -> None:
    try:
        check_path(name)
    except ValueError as err:
        scan.add(blob, _PATH, f"a member would be unpacked outside of its folder: {err}")
    if name.casefold() in seen:
        scan.add(blob, _DUPLICATE, f"two members are called {name!r}; readers disagree which one counts")
    seen.add(name.casefold())


class TarScanner:
    """Scans `tar`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Scan every regular member; links and devices are findings."""
        blob.stream.seek(0)
        seen: set[str] = set()
        with tarfile.open(fileobj=blob.stream, mode="r:", errorlevel=2) as archive:
            for member in archive:
                _check_name(blob, scan, member.name.removeprefix("./") or "folder", seen)
                if member.isfile():
                    source = archive.extractfile(member)
                    assert source is not None
                    scan.unpack(blob, member.name, source)
                elif not member.isdir():
                    scan.add(blob, _LINK, f"member {member.name!r} is a link or device, which unpacking would create")
            end = archive.offset
        blob.stream.seek(end)
        while block := blob.stream.read(_BLOCK_BYTES):
            if block.strip(b"\0"):
                raise Uncovered("bytes follow after the end of the tar archive")


class CompressedScanner:
    """Scans single compressed streams: `gzip`, `bzip2`, `xz`, `lzma`, `zlib`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Unfold the stream and scan what is inside. Raises Uncovered when it is damaged or something follows."""
        head = blob.head()
        name = re.sub(r"\.(gz|gzip|bz2|xz|lzma|z|zlib)$", "", blob.name.rsplit("/", 1)[-1], flags=re.IGNORECASE)
        opener = next((opener for magic, opener in _OPENERS if head.startswith(magic)), _open_zlib)
        try:
            with opener(blob.stream) as source:
                scan.unpack(blob, name or "content", source)
        except (zlib.error, lzma.LZMAError) as err:
            raise Uncovered(f"damaged: {err}") from err


class _ZlibReader:
    """A zlib stream as a file; joblib writes these."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._inflate = stream, zlib.decompressobj()

    def __enter__(self) -> _ZlibReader:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read(self, count: int) -> bytes:
        while not self._inflate.eof:
            source = self._inflate.unconsumed_tail or self._stream.read(_BLOCK_BYTES)
            if not source:
                raise EOFError("the zlib stream breaks off")
            if block := self._inflate.decompress(source, count):
                return block
        if self._inflate.unused_data or self._stream.read(1):
            raise Uncovered("bytes follow after the zlib stream")
        return b""


def _open_zlib(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", _ZlibReader(stream))


def _open_gzip(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip.GzipFile(fileobj=stream, mode="rb"))


def _open_bzip2(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", bz2.BZ2File(stream))


def _open_lzma(stream: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", lzma.LZMAFile(stream))


_OPENERS: tuple[tuple[bytes, Callable[[IO[bytes]], IO[bytes]]], ...] = (
    (b"\x1f\x8b", _open_gzip),
    (b"BZh", _open_bzip2),
    (b"\xfd7zXZ", _open_lzma),
    (b"\x5d\x00\x00", _open_lzma),
)
