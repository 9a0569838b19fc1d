"""The log as one file that verifies offline, with nothing but the public keys.

JSON Lines: a header that names the format and its streams, then one line an entry, with the envelope's exact bytes in
base64 and what the store said about the object (versions, delete marker, lock). The store's words are not signed; the
envelopes are.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from pydantic import ValidationError

from model_approval.domain.audit import StreamHead
from model_approval.domain.base import Record, UtcTime
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import IntegrityError
from model_approval.ports import AuditLog, StoredEntry, Verifier
from model_approval.stages.audit.verify import AuditReport, verify_streams


class _Header(Record):
    schema_id: Literal["model-approval/audit-bundle/v1"] = "model-approval/audit-bundle/v1"
    streams: tuple[str, ...]


class _Line(Record):
    stream: str
    sequence: int
    envelope: str
    versions: int
    delete_marker: bool
    retain_until: UtcTime | None

    @classmethod
    def of(cls, stored: StoredEntry) -> _Line:
        return cls(
            stream=stored.stream,
            sequence=stored.sequence,
            envelope=base64.b64encode(stored.envelope).decode(),
            versions=stored.versions,
            delete_marker=stored.delete_marker,
            retain_until=stored.retain_until,
        )

    def stored(self) -> StoredEntry:
        return StoredEntry(
            stream=self.stream,
            sequence=self.sequence,
            envelope=base64.b64decode(self.envelope, validate=True),
            versions=self.versions,
            delete_marker=self.delete_marker,
            retain_until=self.retain_until,
        )


def export_stream(audit: AuditLog, stream: str) -> bytes:
    """One stream as a bundle."""
    return export_log(audit, [stream])


def export_log(audit: AuditLog, streams: Sequence[str] | None = None) -> bytes:
    """Several streams as a bundle, all of them unless named."""
    named = tuple(audit.streams() if streams is None else streams)
    lines = [canonical_json(_Header(streams=named))]
    lines += [canonical_json(_Line.of(stored)) for stream in named for stored in audit.entries(stream)]
    return b"\n".join(lines) + b"\n"


def verify_bundle(data: bytes, verifier: Verifier, heads: Mapping[str, StreamHead] | None = None) -> AuditReport:
    """Check an exported bundle, offline.

    Args:
        data: The file's bytes.
        verifier: Knows the trusted keys.
        heads: Heads kept outside the store; those of streams that the bundle does not hold are left aside.

    Raises:
        IntegrityError: Not a bundle, or a line of it cannot be read; names the line.
    """
    lines = data.splitlines()
    try:
        header = _Header.model_validate_json(lines[0] if lines else b"")
    except ValidationError as err:
        raise IntegrityError(
            "line 1: this is not an audit bundle", hint="make one with `model-approval audit export`"
        ) from err
    known = {stream: head for stream, head in (heads or {}).items() if stream in header.streams}
    return verify_streams(_entries(lines[1:], header.streams), verifier, known)


def _entries(lines: Sequence[bytes], streams: Sequence[str]) -> Iterator[StoredEntry]:
    place = 0
    for number, text in enumerate(lines, start=2):
        try:
            stored = _Line.model_validate_json(text).stored()
        except (ValidationError, binascii.Error) as err:
            raise IntegrityError(f"line {number}: not an entry of an audit bundle") from err
        if stored.stream not in streams[place:]:
            raise IntegrityError(f"line {number}: stream {stored.stream!r} is not where the header names it")
        place = list(streams).index(stored.stream, place)
        yield stored
