"""The audit log's only writer, and the one question that a decision asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydantic import JsonValue

from model_approval.domain.audit import Action, Actor, AuditEvent, AuditReceipt, event_id
from model_approval.domain.errors import IntegrityError
from model_approval.ports import AuditLog, Services, Verifier
from model_approval.stages.audit.held import Told
from model_approval.stages.audit.verify import StreamCheck

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NO_DETAILS: Mapping[str, JsonValue] = MappingProxyType({})


def record(
    services: Services,
    *,
    promotion_id: str,
    action: Action,
    actor: Actor,
    key: str,
    subjects: Mapping[str, str] = _NOTHING,
    details: Mapping[str, JsonValue] = _NO_DETAILS,
    retention_days: int = 365,
) -> AuditReceipt:
    """Append one event, and return when it is locked. Call it before the event's effect is visible.

    Args:
        services: Names the log and the clock.
        promotion_id: The stream; `domain.audit.SYSTEM_STREAM` for what happens outside a promotion.
        action: What happens.
        actor: Who does it.
        key: What makes it this event and no other (a state, a digest, a run number): the same stream, action and key
            again is the same event and gives the first one's receipt.
        subjects: What it is about, name -> `sha256:<hex>`.
        details: Names, states, reasons; never secrets, document bodies or samples.
        retention_days: Days for which the entry stays locked, from the policy.

    Raises:
        OutsideSystemError: The log did not take it; the step must not go on.
    """
    event = AuditEvent(
        id=event_id(stream=promotion_id, action=action, key=key),
        stream=promotion_id,
        action=action,
        actor=actor,
        occurred_at=services.clock(),
        subjects=dict(subjects),
        details=dict(details),
    )
    return services.audit.append(event, retention_days=retention_days)


def votes_in_log(audit: AuditLog, verifier: Verifier, stream: str) -> frozenset[str]:
    """Digests of the votes that were cast and not withdrawn, as the verified log tells it.

    A vote in the database that is not among them was never cast through us, or was edited afterwards.

    Raises:
        IntegrityError: The stream does not verify; names the first problem. No decision rests on such a log.
    """
    standing: set[str] = set()
    for event in _verified_events(audit, verifier, stream):
        vote = event.subjects.get("vote")
        if vote and event.action is Action.VOTE_CAST:
            standing.add(vote)
        if vote and event.action is Action.VOTE_WITHDRAWN:
            standing.discard(vote)
    return frozenset(standing)


def waivers_in_log(audit: AuditLog, verifier: Verifier, stream: str) -> frozenset[str]:
    """Digests of the waivers that were granted, as the verified log tells it.

    Raises:
        IntegrityError: The stream does not verify; names the first problem.
    """
    granted = (
        event.subjects.get("waiver")
        for event in _verified_events(audit, verifier, stream)
        if event.action is Action.WAIVER_GRANTED
    )
    return frozenset(digest for digest in granted if digest)


def told_by_log(audit: AuditLog, verifier: Verifier, stream: str) -> Told:
    """What the verified log tells about a promotion, to be held against its row.

    Raises:
        IntegrityError: The stream does not verify; names the first problem.
    """
    return Told.by(_verified_events(audit, verifier, stream))


def _verified_events(audit: AuditLog, verifier: Verifier, stream: str) -> list[AuditEvent]:
    check = StreamCheck(stream, verifier)
    believed = [entry.event for stored in audit.entries(stream) if (entry := check.take(stored))]
    problems = check.finish()
    if problems:
        raise IntegrityError(
            f"the audit log of {stream} does not verify: {problems[0].message}",
            hint="run `model-approval audit verify` and have somebody look",
        )
    return believed
