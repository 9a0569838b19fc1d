"""An audit log in a dictionary: as faithful as a locked bucket, and open to tests that play the attacker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from model_approval.domain.attestation import entry_statement
from model_approval.domain.audit import GENESIS, AuditEntry, AuditEvent, AuditReceipt
from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.ports import Clock, Signer, StoredEntry


class MemoryAuditLog:
    """The `AuditLog` port in memory."""

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer, self._clock = signer, clock
        self._receipts: dict[str, AuditReceipt] = {}
        self.stored: dict[str, list[StoredEntry]] = {}
        """What lies in the store; tests that play the attacker change it."""

    def append(self, event: AuditEvent, *, retention_days: int) -> AuditReceipt:
        """Append an event, or find it when its id is there already."""
        if known := self._receipts.get(event.id):
            return known
        stream = self.stored.setdefault(event.stream, [])
        entry = AuditEntry(
            sequence=len(stream),
            previous=sha256_of(stream[-1].envelope) if stream else GENESIS,
            event=event,
            retention_days=retention_days,
            writer=self._signer.key_id,
        )
        envelope = canonical_json(self._signer.sign(entry_statement(entry).to_bytes()))
        until = max(self._clock(), event.occurred_at) + timedelta(days=retention_days)
        stream.append(StoredEntry(event.stream, entry.sequence, envelope, 1, delete_marker=False, retain_until=until))
        receipt = AuditReceipt(stream=event.stream, sequence=entry.sequence, entry_hash=sha256_of(envelope))
        self._receipts[event.id] = receipt
        return receipt

    def entries(self, stream: str) -> Iterator[StoredEntry]:
        """A stream's entries by sequence."""
        yield from self.stored.get(stream, ())

    def streams(self) -> list[str]:
        """All streams, by name."""
        return sorted(self.stored)
