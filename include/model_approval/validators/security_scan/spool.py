"""Copies what unfolds from a stream to bounded scratch, and looks into it: also into what came before it broke off."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import IO, cast

from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.windows import BLOCK_BYTES

_SPOOL_BYTES = 8 * 1024**2
"""What is smaller stays in memory."""


def inside(blob: Blob, name: str, stream: IO[bytes], size: int) -> Blob:
    """The blob for something in another."""
    inner = f"{blob.inner}!{name}" if blob.inner else name
    return Blob(blob.path, inner, stream, size, blob.depth + 1)


def look_into(blob: Blob, scan: FileScan, name: str, source: IO[bytes]) -> None:
    """Scan what a stream unfolds to, within the budget.

    Whatever stops the stream is raised after its beginning was looked into: a loader that reads one object from the
    front never meets the damage behind it.
    """
    with SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(scan.scratch)) as copy:
        size = 0
        try:
            while block := source.read(BLOCK_BYTES):
                scan.budget.spend_bytes(len(block), file_bytes=scan.size_bytes)
                copy.write(block)
                size += len(block)
        finally:
            if size:
                scan.scan(inside(blob, name, cast("IO[bytes]", copy), size))
