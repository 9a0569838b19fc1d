"""Zip archives behind something else: who opens such a file as a zip sees another file than who goes by its head.

Python's zipfile, torch's reader for archives and many others look for a directory at the end alone, so this is asked of
every file whose head says that it is something other than a zip.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_approval.validators.security_scan.scan import UNKNOWN_FORMAT, Blob, FileScan, Scanner, Uncovered
from model_approval.validators.security_scan.zip_directory import has_directory

OWN_TAIL = frozenset({"zip", "torch", "tflite"})
"""Formats whose own scanner reads the archive at the end."""


@dataclass(frozen=True)
class TailAware:
    """A scanner that also looks for an archive at the end of what it scanned."""

    inner: Scanner

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Scan by the head, then by the tail. Raises what the scanner of the head raises."""
        try:
            self.inner.scan(blob, scan)
        finally:
            if has_directory(blob.stream, blob.size_bytes):
                # Imported here: few files have one, and it brings the reader of pickles along.
                from model_approval.validators.security_scan.zips import scan_tail

                scan_tail(blob, scan)


class UnknownScanner:
    """Scans `unknown`, which is nothing but its tail."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Raises Uncovered, always."""
        raise Uncovered(UNKNOWN_FORMAT)
