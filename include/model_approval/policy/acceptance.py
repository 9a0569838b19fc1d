"""Findings that a policy accepts, by fingerprint and until a date. Pure.

An acceptance is judged at the moment the evidence came home, not at the moment somebody looks: whoever evaluates the
same evidence again, in a year and offline, must come to the same outcome. Once it is over, the check has to run again
to pass, and the finding then counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from model_approval.domain.evidence import Finding, StoredEvidence
from model_approval.policy.schema import AcceptedFinding

_NAMED = 5


@dataclass(frozen=True)
class Sorted:
    """Findings of one rule, apart by whether they count."""

    counted: tuple[Finding, ...]
    accepted: tuple[AcceptedFinding, ...]
    """One entry for each finding that does not count."""
    expired: tuple[AcceptedFinding, ...]
    """One entry for each finding that counts again."""

    def words(self) -> str:
        """For the outcome's reason, to be put behind the count; empty when no acceptance plays a part."""
        parts = []
        if self.accepted:
            parts.append(f"{len(self.accepted)} accepted by {_owners(self.accepted)}")
        if self.expired:
            number = f"{len(self.expired)} of them" if len(self.expired) > 1 else "one of them"
            parts.append(f"the acceptance of {number} has expired: {_owners(self.expired)}")
        return "".join(f"; {part}" for part in parts)


def moment_of(stored: StoredEvidence) -> datetime:
    """When a piece of evidence is judged: the later of the validator's clock and ours."""
    if stored.evidence is None:
        return stored.recorded_at
    return max(stored.evidence.finished_at, stored.recorded_at)


def sort_findings(findings: Sequence[Finding], accepted: Sequence[AcceptedFinding], *, at: datetime) -> Sorted:
    """Tell the findings that count from those that somebody answers for."""
    by_fingerprint = {one.fingerprint: one for one in accepted}
    counted, in_force, expired = [], [], []
    for finding in findings:
        acceptance = by_fingerprint.get(finding.fingerprint)
        if acceptance is not None and acceptance.holds(at):
            in_force.append(acceptance)
            continue
        counted.append(finding)
        if acceptance is not None:
            expired.append(acceptance)
    return Sorted(tuple(counted), tuple(in_force), tuple(expired))


def _owners(accepted: Sequence[AcceptedFinding]) -> str:
    """Who answers, each with the earliest date: `ana until 2026-12-31 (replaced in v8)`."""
    first: dict[str, AcceptedFinding] = {}
    for one in sorted(accepted, key=lambda one: (one.expires, one.owner)):
        first.setdefault(one.owner, one)
    named = [f"{one.owner} until {one.expires.isoformat()} ({one.reason})" for one in list(first.values())[:_NAMED]]
    rest = f" and {len(first) - _NAMED} more" if len(first) > _NAMED else ""
    return ", ".join(named) + rest
