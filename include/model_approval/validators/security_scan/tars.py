"""Tar archives, also NeMo's and torch's oldest format: every regular member by its own format, in place."""

from __future__ import annotations

import tarfile

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.member_names import MemberNames
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.spool import inside
from model_approval.validators.security_scan.windows import first_nonzero, window

_DEVICE = Rule("archive.link", Severity.HIGH, "pack plain files and folders alone")
_BLOCK_BYTES = 512
_EXTENDED = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_MAX_EXTENDED_BYTES = 1024**2


class TarScanner:
    """Scans `tar`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Scan every regular member; links and devices are findings. Raises Uncovered for what follows the end."""
        _check_headers(blob)
        blob.stream.seek(0)
        names = MemberNames(blob, scan)
        end = 0
        with tarfile.open(fileobj=blob.stream, mode="r:", errorlevel=2) as archive:
            for member in archive:
                scan.budget.spend_member()
                _scan_member(blob, scan, member, names)
                end = archive.offset
        stray = first_nonzero(blob.stream, end, blob.size_bytes)
        if stray is not None:
            stray -= stray % _BLOCK_BYTES
            scan.scan(
                inside(blob, str(stray), window(blob.stream, stray, blob.size_bytes - stray), blob.size_bytes - stray)
            )
            raise Uncovered(f"bytes follow after the end of the tar archive, from {stray}")


def _check_headers(blob: Blob) -> None:
    """Refuse extended headers that tarfile would hold in memory whole. Raises Uncovered."""
    at = 0
    while at + _BLOCK_BYTES <= blob.size_bytes:
        blob.stream.seek(at)
        try:
            info = tarfile.TarInfo.frombuf(blob.stream.read(_BLOCK_BYTES), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return  # the end, or damage that the reader meets again
        if info.type in _EXTENDED and info.size > _MAX_EXTENDED_BYTES:
            raise Uncovered(f"an extended header of {info.size} bytes")
        at += _BLOCK_BYTES + -(-max(0, info.size) // _BLOCK_BYTES) * _BLOCK_BYTES


def _scan_member(blob: Blob, scan: FileScan, member: tarfile.TarInfo, names: MemberNames) -> None:
    name = member.name.removeprefix("./")
    if name and not (member.isdir() and name == "."):
        names.check(name)
    if member.issparse():
        scan.gap(f"{name}: a sparse member is not looked into")
    elif member.isfile():
        part = window(blob.stream, member.offset_data, member.size)
        if member.offset_data + member.size > blob.size_bytes:
            scan.gap(f"{name}: the archive breaks off inside of it")
        scan.scan(inside(blob, member.name, part, max(0, min(member.size, blob.size_bytes - member.offset_data))))
    elif member.issym() or member.islnk():
        # A hard link's target counts from the archive's root, a symbolic one's from where the link stands.
        names.check_link(name if member.issym() else "link", member.linkname)
    elif not member.isdir():
        message = f"member {member.name!r} is a device or pipe, which unpacking would create"
        scan.add(blob, _DEVICE, message, subject=member.name)
