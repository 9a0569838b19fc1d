"""What follows after the end of a format that knows its own end: nothing, zeros, or something that hides there."""

from __future__ import annotations

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import HEAD_BYTES, UNKNOWN, detect_format
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule
from model_approval.validators.security_scan.spool import inside
from model_approval.validators.security_scan.windows import first_nonzero, window

_HIDDEN = Rule("file.hidden-data", Severity.HIGH, "write the file anew with an ordinary tool")


def scan_trailing(blob: Blob, scan: FileScan, end: int, what: str) -> None:
    """Judge the bytes from `end` on: a gap, and a finding when they are of a kind that somebody could be made to read.

    Args:
        blob: What they stand in.
        scan: Takes the finding.
        end: Where the format's own content ends.
        what: Its name, for the message.
    """
    at = first_nonzero(blob.stream, end, blob.size_bytes)
    if at is None:
        return
    scan.gap(f"{blob.inner}: bytes follow after the {what}'s end".removeprefix(": "))
    stream = window(blob.stream, at, blob.size_bytes - at)
    kind = detect_format("", stream.read(HEAD_BYTES))
    if kind != UNKNOWN:
        message = f"behind the end of the {what} hides something else ({kind})"
        scan.add(blob, _HIDDEN, message, subject=kind, offset=at)
        scan.scan(inside(blob, str(at), stream, blob.size_bytes - at))
