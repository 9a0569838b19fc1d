"""7z archives: unpacked to bounded scratch by py7zr, one archive once, and every member scanned by its own format."""

from __future__ import annotations

import io
from collections.abc import Callable
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from model_approval.validators.security_scan.member_names import MemberNames
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered
from model_approval.validators.security_scan.spool import inside

_SPOOL_BYTES = 1024**2
_MAX_HEADER_BYTES = 64 * 1024**2
_MAX_MEMBERS = 20_000
"""All are unpacked before the first is looked into, and each takes some memory."""


class SevenZipScanner:
    """Scans `7z`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Scan every member. Raises Uncovered for encryption, damage and what does not fit the budget."""
        blob.stream.seek(0)
        head = blob.stream.read(32)
        start, length = int.from_bytes(head[12:20], "little"), int.from_bytes(head[20:28], "little")
        if len(head) < 32 or length > _MAX_HEADER_BYTES or 32 + start + length > blob.size_bytes:
            raise Uncovered("not a 7z archive to its end: its header lies outside of it or is too long")
        follows = 32 + start + length != blob.size_bytes
        folder = _Folder(scan)
        try:
            _unpack(blob, scan, folder)
        finally:
            folder.look_into(blob)
        if follows:
            raise Uncovered("bytes follow after the 7z archive")


def _unpack(blob: Blob, scan: FileScan, folder: _Folder) -> None:
    import py7zr
    from py7zr.exceptions import ArchiveError, PasswordRequired

    blob.stream.seek(0)
    try:
        with py7zr.SevenZipFile(cast("Any", blob.stream), mode="r") as archive:
            if archive.password_protected:
                raise Uncovered("encrypted")
            names = MemberNames(blob, scan)
            members = archive.list()
            if len(members) > _MAX_MEMBERS:
                raise Uncovered(f"more than {_MAX_MEMBERS} members")
            for member in members:
                scan.budget.spend_member()
                names.check(str(member.filename))
                if member.is_symlink:
                    scan.gap(f"{member.filename}: a link")
            archive.extractall(factory=cast("Any", folder))
    except PasswordRequired as err:
        raise Uncovered("encrypted") from err
    except (ArchiveError, AssertionError, KeyError, MemoryError, *_lzma_errors()) as err:
        raise Uncovered(f"damaged or of a kind that is not read: {type(err).__name__} {err}") from err


def _lzma_errors() -> tuple[type[Exception], ...]:
    import lzma
    import zlib

    return lzma.LZMAError, zlib.error


class _Folder:
    """Where py7zr writes to: a scratch copy for each member, within the budget."""

    def __init__(self, scan: FileScan) -> None:
        self._scan = scan
        self._members: list[tuple[str, _Copy]] = []

    def create(self, filename: str) -> _Copy:
        """A place for a member's bytes; py7zr asks for it by name."""
        copy = _Copy(self._spend, str(self._scan.scratch))
        self._members.append((filename, copy))
        return copy

    def get(self, filename: str) -> _Copy:
        """A member that was made before."""
        return next(copy for name, copy in self._members if name == filename)

    def look_into(self, blob: Blob) -> None:
        """Scan all that was unpacked, and drop it."""
        for name, copy in self._members:
            with copy.stream as stream:
                if copy.count:
                    self._scan.scan(inside(blob, name, cast("IO[bytes]", stream), copy.count))

    def _spend(self, count: int) -> None:
        self._scan.budget.spend_bytes(count, file_bytes=self._scan.size_bytes)


class _Copy:
    """One member's bytes; has the methods that py7zr calls."""

    def __init__(self, spend: Callable[[int], None], scratch: str) -> None:
        self._spend = spend
        self.stream = SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=scratch)  # noqa: SIM115  # closed by look_into
        self.count = 0

    def write(self, data: bytes) -> int:
        self._spend(len(data))
        self.count += len(data)
        return self.stream.write(data)

    def read(self, size: int | None = None) -> bytes:
        return self.stream.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self.stream.seek(offset, whence)

    def flush(self) -> None:
        self.stream.flush()

    def size(self) -> int:
        return self.count

    def close(self) -> None:
        """Left open: it is read afterwards."""
