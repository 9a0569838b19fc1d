"""HDF5, as Keras writes it: its configuration, and links, external storage and bytes that lead out of the file."""

from __future__ import annotations

import io

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.hdf5_classic import ADVICE, scan_classic
from model_approval.validators.security_scan.hdf5_heaps import check_heaps
from model_approval.validators.security_scan.hdf5_layout import BeyondClassic
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_USER_BLOCK = Rule("hdf5.user-block", Severity.MEDIUM, ADVICE)
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Hdf5Scanner:
    """Scans `hdf5`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk all groups, datasets and attributes. Raises OSError or ValueError for damage, Uncovered for too much."""
        base = _base_of(blob)
        _check_user_block(blob, scan, base)
        check_heaps(blob)
        try:
            scan_classic(blob, scan, base)
        except BeyondClassic:
            if scan.cautious:
                raise Uncovered("it needs HDF5's own library, and a parser has crashed over this artifact") from None
            from model_approval.validators.security_scan.hdf5_library import scan_with_library

            scan_with_library(blob, scan)


def _base_of(blob: Blob) -> int:
    """Where the content begins: at 0, or behind a user block."""
    head = blob.head()
    return next((at for at in (0, 512, 1024, 2048, 4096) if head[at : at + 8] == _SIGNATURE), 0)


def _check_user_block(blob: Blob, scan: FileScan, size: int) -> None:
    if size:
        scan.add(blob, _USER_BLOCK, f"{size} bytes of something else stand before the HDF5 content", offset=0)
        blob.stream.seek(0)
        scan.unpack(blob, "user-block", io.BytesIO(blob.stream.read(size).rstrip(b"\0")))
