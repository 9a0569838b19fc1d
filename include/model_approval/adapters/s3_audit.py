"""The audit log on S3 Object Lock: append-only without a lock server, a database or a leader.

An entry's key is its slot, `log/<stream>/entry/<sequence>`, written with `If-None-Match: *`: of two writers exactly one
gets it, the other moves to the new head and links itself there. The object carries its SHA-256 and a retention, so the
store refuses a damaged body and every deletion. Entries are canonical JSON of DSSE envelopes; `previous` is the SHA-256
of the bytes before. Should somebody write over a slot, the oldest version is the entry: it is the locked one.

An outcome that was not heard (a timeout, a broken connection) is settled by reading the slot: our own event there means
that it was written. Verified entries are remembered per process, since they can never change.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import random
import re
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

from pydantic import ValidationError

from model_approval.adapters.s3_client import S3Client, error_code, s3_client, s3_errors
from model_approval.domain.attestation import Envelope, entry_from, entry_statement
from model_approval.domain.audit import GENESIS, AuditEntry, AuditEvent, AuditReceipt
from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.errors import IntegrityError, NotFoundError, OutsideSystemError
from model_approval.ports import Clock, Signer, StoredEntry, Verifier
from model_approval.settings import Settings

log = logging.getLogger(__name__)

_ROOT = "log/"
_SLOT = re.compile(r"^log/[^/]+/entry/([0-9]{12})$")
_TAKEN = frozenset({"412", "PreconditionFailed", "409", "ConditionalRequestConflict"})
_ATTEMPTS = 30
"""Lost slots before giving up. Four writers on one stream lose five in a row at worst (measured); each lost slot means
that somebody else's entry went in, so the stream moves on."""
_UNHEARD = 3
"""Unheard outcomes before giving up; the SDK has repeated each call by then."""
_STREAMS_REMEMBERED = 256
_READERS = 8
"""Parallel reads of a cold stream: thirty entries in about 35 ms instead of 60 (SeaweedFS on loopback)."""


@dataclass(frozen=True)
class _Known:
    """What this process knows of a stream: its head, and the receipts of its verified entries by event id."""

    head: int = -1
    head_hash: str = GENESIS
    receipts: dict[str, AuditReceipt] = field(default_factory=dict)

    def followed_by(self, receipt: AuditReceipt, event_id: str | None) -> _Known:
        """One entry further; without an event id when the entry cannot be believed."""
        receipts = self.receipts | ({event_id: receipt} if event_id else {})
        return _Known(receipt.sequence, receipt.entry_hash, receipts)


@dataclass(frozen=True)
class _Slot:
    """One key as the listing of versions shows it, oldest version last."""

    key: str
    versions: tuple[str, ...]
    delete_marker: bool

    @property
    def sequence(self) -> int:
        """The entry's place; -1 for a key that is no slot."""
        matched = _SLOT.match(self.key)
        return int(matched[1]) if matched else -1


class S3AuditLog:
    """The `AuditLog` port on a bucket with Object Lock. Check the bucket with `s3_worm.require_worm` at start-up."""

    def __init__(
        self, settings: Settings, signer: Signer, verifier: Verifier, clock: Clock, *, client: S3Client = None
    ) -> None:
        self._settings, self._signer, self._verifier, self._clock = settings, signer, verifier, clock
        self._given_client = client
        self._bucket = settings.audit_bucket
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._guard = Lock()

    @property
    def _client(self) -> S3Client:
        return self._given_client or s3_client(self._settings)

    def append(self, event: AuditEvent, *, retention_days: int) -> AuditReceipt:
        """Append an event, or find it when its id is already in its stream. Returns only when it is locked.

        Cost: one request when this process wrote the stream's last entry, else one listing and one read for each entry
        it does not know yet.

        Raises:
            OutsideSystemError: The store did not take it, or nobody knows whether it did: repeat with the same event.
        """
        known = self._recall(event.stream) or self._refreshed(event.stream, _Known())
        unheard = 0
        for attempt in range(_ATTEMPTS):
            if receipt := known.receipts.get(event.id):
                return receipt
            try:
                receipt = self._put(event, known, retention_days)
            except OutsideSystemError as err:
                unheard += 1
                if not err.retryable or unheard == _UNHEARD:
                    raise
                log.warning("audit %s: outcome of entry %d unknown, reading it back", event.stream, known.head + 1)
                receipt = None
            if receipt:
                self._remember(event.stream, known.followed_by(receipt, event.id))
                return receipt
            if attempt:
                time.sleep(random.uniform(0, min(0.4, 0.01 * 2**attempt)))  # noqa: S311 - only spreads the writers
            known = self._refreshed(event.stream, known)
        raise OutsideSystemError(
            "audit log", f"stream {event.stream}: no free slot in {_ATTEMPTS} attempts, too many writers at once"
        )

    def _put(self, event: AuditEvent, known: _Known, retention_days: int) -> AuditReceipt | None:
        """Write into the next slot; None when somebody else has it."""
        from botocore.exceptions import ClientError

        entry = AuditEntry(
            sequence=known.head + 1,
            previous=known.head_hash,
            event=event,
            retention_days=retention_days,
            writer=self._signer.key_id,
        )
        body = canonical_json(self._signer.sign(entry_statement(entry).to_bytes()))
        key = f"{_prefix(event.stream)}{entry.sequence:012d}"
        with s3_errors(f"s3://{self._bucket}/{key}"):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    ContentType="application/vnd.dsse.envelope.v1+json",
                    IfNoneMatch="*",
                    ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
                    ObjectLockMode=self._settings.audit_lock_mode,
                    ObjectLockRetainUntilDate=_retain_until(event, self._clock(), retention_days),
                )
            except ClientError as err:
                if error_code(err) in _TAKEN:
                    return None
                raise
        return AuditReceipt(stream=event.stream, sequence=entry.sequence, entry_hash=sha256_of(body))

    def entries(self, stream: str) -> Iterator[StoredEntry]:
        """A stream's entries as stored, by sequence; constant memory. The oldest version of a key is its entry."""
        for slots in _batches(self._slots(_prefix(stream))):
            for slot, (body, retain_until) in zip(slots, self._read_all(slots), strict=True):
                yield StoredEntry(
                    stream=stream,
                    sequence=slot.sequence,
                    envelope=body,
                    versions=len(slot.versions),
                    delete_marker=slot.delete_marker,
                    retain_until=retain_until,
                )

    def streams(self) -> list[str]:
        """All streams by name, those that somebody hid behind delete markers among them."""
        found = {
            str(item["Prefix"]).removeprefix(_ROOT).rstrip("/")
            for page in self._version_pages(_ROOT, Delimiter="/")
            for item in page.get("CommonPrefixes", ())
        }
        return sorted(found)

    def _recall(self, stream: str) -> _Known | None:
        with self._guard:
            return self._known.get(stream)

    def _remember(self, stream: str, known: _Known) -> None:
        with self._guard:
            self._known[stream] = known
            self._known.move_to_end(stream)
            while len(self._known) > _STREAMS_REMEMBERED:
                self._known.popitem(last=False)

    def _refreshed(self, stream: str, known: _Known) -> _Known:
        """Read on from the known head."""
        after = f"{_prefix(stream)}{known.head:012d}" if known.head >= 0 else None
        slots = [slot for slot in self._slots(_prefix(stream), after) if slot.sequence > known.head]
        for slot, (body, _) in zip(slots, self._read_all(slots), strict=True):
            receipt = AuditReceipt(stream=stream, sequence=slot.sequence, entry_hash=sha256_of(body))
            known = known.followed_by(receipt, self._believed_event(receipt, body))
        self._remember(stream, known)
        return known

    def _believed_event(self, receipt: AuditReceipt, body: bytes) -> str | None:
        """The event's id, if the entry is ours: a forged one must not keep the real event from being written."""
        try:
            entry = entry_from(self._verifier.verify(Envelope.model_validate_json(body)))
        except (IntegrityError, ValidationError) as err:
            log.warning("audit %s entry %d cannot be believed: %s", receipt.stream, receipt.sequence, err)
            return None
        in_place = (entry.event.stream, entry.sequence) == (receipt.stream, receipt.sequence)
        return entry.event.id if in_place else None

    def _read_all(self, slots: Sequence[_Slot]) -> list[tuple[bytes, datetime | None]]:
        if len(slots) < 3:
            return [self._read(slot) for slot in slots]
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._read, slots))

    def _read(self, slot: _Slot) -> tuple[bytes, datetime | None]:
        """Bytes and lock of the oldest version; nothing when it was deleted below S3."""
        if not slot.versions:
            return b"", None
        try:
            with s3_errors(f"s3://{self._bucket}/{slot.key}"):
                answer = self._client.get_object(Bucket=self._bucket, Key=slot.key, VersionId=slot.versions[-1])
                return answer["Body"].read(), answer.get("ObjectLockRetainUntilDate")
        except NotFoundError:
            return b"", None

    def _slots(self, prefix: str, after: str | None = None) -> Iterator[_Slot]:
        """All keys with their versions, by key; a key whose versions spread over two pages is put together."""
        versions: dict[str, list[str]] = {}
        marked: set[str] = set()
        for page in self._version_pages(prefix, **({"KeyMarker": after} if after else {})):
            for item in page.get("Versions", ()):
                versions.setdefault(item["Key"], []).append(item["VersionId"])
            for item in page.get("DeleteMarkers", ()):
                versions.setdefault(item["Key"], [])
                marked.add(item["Key"])
            last = str(page["NextKeyMarker"]) if page.get("IsTruncated") else None
            for key in sorted(key for key in versions if last is None or key < last):
                yield _Slot(key, tuple(versions.pop(key)), key in marked)

    def _version_pages(self, prefix: str, **options: str) -> Iterator[dict[str, Any]]:
        markers = options
        while True:
            with s3_errors(f"s3://{self._bucket}/{prefix}"):
                page = self._client.list_object_versions(Bucket=self._bucket, Prefix=prefix, **markers)
            yield page
            if not page.get("IsTruncated"):
                return
            markers = {**options, "KeyMarker": page["NextKeyMarker"]}
            if page.get("NextVersionIdMarker"):
                markers["VersionIdMarker"] = page["NextVersionIdMarker"]


def _prefix(stream: str) -> str:
    return f"{_ROOT}{stream}/entry/"


def _retain_until(event: AuditEvent, now: datetime, retention_days: int) -> datetime:
    """From now, or from the event should our clock be behind; to a whole second up, which is all that S3 keeps."""
    until = max(now, event.occurred_at) + timedelta(days=retention_days)
    return until.replace(microsecond=0) + timedelta(seconds=1)


def _batches(slots: Iterator[_Slot], size: int = 4 * _READERS) -> Iterator[list[_Slot]]:
    batch: list[_Slot] = []
    for slot in slots:
        batch.append(slot)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
