"""Verification of the audit log: pure rules over entries as they are stored, nothing believed unseen.

For each stream: one entry a slot without gaps, one version an entry, no delete marker, a signature by a trusted key,
each entry linked to the bytes before it, no event twice, the promised retention, and nothing cut off behind the last
entry known from outside (`StreamHead`).

A wrong signature on bytes that the next entry is chained to was wrong from the start (`bad_signature`); on bytes that
the chain does not know, the entry was changed later (`edited`). Two well-signed neighbours that do not fit are a
`broken_chain`: somebody who holds a trusted key replaced one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from itertools import groupby

from pydantic import ValidationError

from model_approval.domain.attestation import Envelope, entry_from
from model_approval.domain.audit import GENESIS, AuditEntry, AuditProblem, ProblemKind, StreamHead
from model_approval.domain.base import Record
from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.errors import IntegrityError, UntrustedKeyError
from model_approval.ports import AuditLog, StoredEntry, Verifier


class AuditReport(Record):
    """What a verification saw. No problem: the log is whole, up to what was pinned outside the store."""

    streams: int
    entries: int
    problems: tuple[AuditProblem, ...]
    heads: dict[str, StreamHead]
    """Each stream's last entry, to be kept outside the store and given to the next verification."""

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class _PinnedHeads(Record):
    schema_id: str = "model-approval/audit-heads/v1"
    heads: dict[str, StreamHead]


class StreamCheck:
    """Checks one stream entry by entry, in constant memory but for the event ids."""

    def __init__(self, stream: str, verifier: Verifier, pinned: StreamHead | None = None) -> None:
        self._stream, self._verifier, self._pinned = stream, verifier, pinned
        self._problems: list[AuditProblem] = []
        self._seen: dict[str, int] = {}
        self._last: StreamHead | None = None
        self._doubtful: AuditProblem | None = None
        self._linkable = True
        self.count = 0

    @property
    def head(self) -> StreamHead | None:
        """The last entry seen."""
        return self._last

    def take(self, stored: StoredEntry) -> AuditEntry | None:
        """Check the next entry as stored; the entry itself when it can be believed."""
        self.count += 1
        if not self._in_place(stored):
            return None
        self._check_versions(stored)
        entry = self._read(stored)
        self._check_link(stored, entry)
        self._last = StreamHead(stream=self._stream, sequence=stored.sequence, entry_hash=sha256_of(stored.envelope))
        self._compare_with_pinned(self._last)
        return entry if entry and self._check_content(stored, entry) else None

    def finish(self) -> list[AuditProblem]:
        """All that is wrong, after the last entry, by place."""
        self._settle_doubt(chained=True)
        last = self._last.sequence if self._last else -1
        if self._pinned and self._pinned.sequence > last:
            self._note(
                ProblemKind.TRUNCATED, last + 1, f"ends before entry {self._pinned.sequence}, which was known outside"
            )
        return sorted(self._problems, key=lambda problem: -1 if problem.sequence is None else problem.sequence)

    def _note(self, kind: ProblemKind, sequence: int | None, message: str) -> None:
        place = self._stream if sequence is None else f"{self._stream} entry {sequence}"
        problem = AuditProblem(kind=kind, stream=self._stream, sequence=sequence, message=f"{place}: {message}"[:4000])
        self._problems.append(problem)

    def _in_place(self, stored: StoredEntry) -> bool:
        expected = self._last.sequence + 1 if self._last else 0
        if stored.sequence < 0:
            self._note(ProblemKind.UNREADABLE, None, "an object that is no entry lies between the entries")
        elif stored.sequence < expected - 1:
            self._note(ProblemKind.REORDERED, stored.sequence, f"comes after entry {expected - 1}")
        elif stored.sequence == expected - 1:
            self._note(ProblemKind.DUPLICATED, stored.sequence, "its place is taken twice")
        if stored.sequence > expected:
            gap = str(expected) if stored.sequence == expected + 1 else f"{expected} to {stored.sequence - 1}"
            self._note(ProblemKind.MISSING, expected, f"missing: entry {gap}")
            self._settle_doubt(chained=True)
            self._linkable = False
        return stored.sequence >= expected

    def _check_versions(self, stored: StoredEntry) -> None:
        if stored.versions > 1:
            self._note(
                ProblemKind.EXTRA_VERSION,
                stored.sequence,
                f"was written over: {stored.versions} versions; the first one is the entry",
            )
        if stored.delete_marker:
            self._note(ProblemKind.DELETE_MARKER, stored.sequence, "hidden by a delete marker")

    def _read(self, stored: StoredEntry) -> AuditEntry | None:
        try:
            envelope = Envelope.model_validate_json(stored.envelope)
            entry = entry_from(self._verifier.verify(envelope))
        except ValidationError as err:
            self._note(ProblemKind.UNREADABLE, stored.sequence, f"cannot be read: {err.errors()[0]['msg']}")
        except UntrustedKeyError as err:
            self._note(ProblemKind.UNKNOWN_KEY, stored.sequence, str(err))
        except IntegrityError as err:
            self._note(ProblemKind.BAD_SIGNATURE, stored.sequence, str(err))
        else:
            if [signature.keyid for signature in envelope.signatures] == [entry.writer]:
                return entry
            self._note(ProblemKind.BAD_SIGNATURE, stored.sequence, f"not signed by its writer {entry.writer} alone")
        return None

    def _check_link(self, stored: StoredEntry, entry: AuditEntry | None) -> None:
        """Compare an entry's link with the bytes before it; a doubtful predecessor is judged by it."""
        if entry and entry.sequence != stored.sequence:
            self._note(ProblemKind.REORDERED, stored.sequence, f"holds what was signed as entry {entry.sequence}")
            self._settle_doubt(chained=True)
            self._linkable = False
            return
        previous = self._last.entry_hash if self._last else GENESIS
        fits = entry is None or entry.previous == previous
        doubted = self._doubtful is not None
        self._settle_doubt(chained=fits)
        if not fits and not doubted and self._linkable:
            self._note(ProblemKind.BROKEN_CHAIN, stored.sequence, "is not chained to the entry before it")
        self._linkable = True
        if entry is None:
            self._doubtful = self._problems[-1]

    def _settle_doubt(self, *, chained: bool) -> None:
        """Judge the entry before, if it could not be believed: bytes unknown to the chain were changed later."""
        doubtful, self._doubtful = self._doubtful, None
        if doubtful and not chained and doubtful.kind is not ProblemKind.UNKNOWN_KEY:
            self._problems.remove(doubtful)
            self._problems.append(doubtful.model_copy(update={"kind": ProblemKind.EDITED}))

    def _compare_with_pinned(self, head: StreamHead) -> None:
        if not self._pinned or self._pinned.sequence != head.sequence or self._pinned.entry_hash == head.entry_hash:
            return
        if self._doubtful:
            self._settle_doubt(chained=False)
        else:
            self._note(ProblemKind.EDITED, head.sequence, "is not the entry that was known outside the store")

    def _check_content(self, stored: StoredEntry, entry: AuditEntry) -> bool:
        event, place = entry.event, stored.sequence
        if event.stream != self._stream:
            self._note(ProblemKind.REORDERED, place, f"was signed for the stream {event.stream}")
            return False
        first = self._seen.setdefault(event.id, place)
        if first != place:
            self._note(ProblemKind.DUPLICATED, place, f"records the same event as entry {first}")
            return False
        promised = event.occurred_at + timedelta(days=entry.retention_days)
        if stored.retain_until is None or stored.retain_until < promised - _S3_RESOLUTION:
            until = stored.retain_until.isoformat() if stored.retain_until else "not at all"
            self._note(
                ProblemKind.SHORT_RETENTION, place, f"locked until {until}, promised until {promised.isoformat()}"
            )
        return entry.sequence == stored.sequence


_S3_RESOLUTION = timedelta(seconds=1)
"""S3 keeps retention dates in whole seconds (some stores in milliseconds)."""


def verify_entries(
    entries: Iterable[StoredEntry], verifier: Verifier, *, pinned: StreamHead | None = None
) -> list[AuditProblem]:
    """Check the entries of one stream, in the order in which they are stored.

    Args:
        entries: All entries of a stream; of none, only a cut-off tail can be told, and that with `pinned` alone.
        verifier: Knows the trusted keys.
        pinned: The stream's head as it was known outside the store.
    """
    check: StreamCheck | None = StreamCheck(pinned.stream, verifier, pinned) if pinned else None
    for stored in entries:
        check = check or StreamCheck(stored.stream, verifier)
        check.take(stored)
    return check.finish() if check else []


def verify_streams(
    entries: Iterable[StoredEntry], verifier: Verifier, pinned: Mapping[str, StreamHead] | None
) -> AuditReport:
    """Check several streams, the entries of each in one piece."""
    known = dict(pinned or {})
    problems: list[AuditProblem] = []
    found: dict[str, StreamHead] = {}
    count = 0
    for stream, group in groupby(entries, key=lambda stored: stored.stream):
        check = StreamCheck(stream, verifier, known.pop(stream, None))
        for stored in group:
            check.take(stored)
        problems.extend(check.finish())
        count += check.count
        if check.head:
            found[stream] = check.head
    for stream, head in sorted(known.items()):
        problems.extend(StreamCheck(stream, verifier, head).finish())
    return AuditReport(streams=len(found), entries=count, problems=tuple(problems), heads=found)


def verify_log(audit: AuditLog, verifier: Verifier, heads: Mapping[str, StreamHead] | None = None) -> AuditReport:
    """Check all streams of a log. Cost: about two requests to the store for each entry; constant memory a stream.

    Args:
        audit: The log.
        verifier: Knows the trusted keys.
        heads: Heads that were kept outside the store; without them a cut-off tail cannot be seen.
    """
    entries = (stored for stream in audit.streams() for stored in audit.entries(stream))
    return verify_streams(entries, verifier, heads)


def heads(audit: AuditLog, verifier: Verifier) -> dict[str, StreamHead]:
    """The heads of all streams of a log that verifies, to be kept outside the store.

    Raises:
        IntegrityError: The log does not verify: its heads are worth nothing.
    """
    report = verify_log(audit, verifier)
    if not report.is_sound:
        raise IntegrityError(
            f"the audit log does not verify: {report.problems[0].message}", hint="run `model-approval audit verify`"
        )
    return report.heads


def pin_heads(found: Mapping[str, StreamHead]) -> bytes:
    """Heads as a file to keep outside the store."""
    return canonical_json(_PinnedHeads(heads=dict(found)))


def read_heads(data: bytes) -> dict[str, StreamHead]:
    """Read such a file.

    Raises:
        IntegrityError: It is not one.
    """
    try:
        return _PinnedHeads.model_validate_json(data).heads
    except ValidationError as err:
        raise IntegrityError(f"this is not a file of pinned heads: {err.errors()[0]['msg']}") from err
