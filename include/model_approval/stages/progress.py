"""State changes and their record. Every step moves a promotion through here and nowhere else.

Write-ahead: the audit entry is locked before the new state is visible. A crash between the two leaves an entry
whose event id the repeated step derives again, so a re-run finds it instead of writing a second one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from model_approval.domain.audit import Action, Actor
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.policy.schema import FrozenPolicy
from model_approval.ports import RegistryStatus, Services
from model_approval.stages.audit import record

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Step:
    """What happened, by whom and why: the audit log's side of a state change."""

    action: Action
    actor: Actor
    reason: str = ""
    subjects: Mapping[str, str] = field(default_factory=dict)
    details: Mapping[str, JsonValue] = field(default_factory=dict)
    key: str = ""
    """Tells two attempts at one state change apart when they found different facts."""


def load(services: Services, request_id: str) -> tuple[Promotion, FrozenPolicy]:
    """A promotion with the policy that was frozen into it.

    Raises:
        NotFoundError: No such request.
        IntegrityError: The stored policy is not the one whose digest the request names.
    """
    promotion = services.reviews.get(request_id)
    return promotion, services.reviews.policy(promotion.request.policy_digest)


def move(services: Services, promotion: Promotion, to: PromotionState, step: Step, **changes: object) -> Promotion:
    """Record a state change, then make it.

    Raises:
        TransitionError: The state table has no such step.
        DecisionError: (conflict) somebody else changed the promotion meanwhile; read it again.
    """
    following = promotion.moved(to, at=services.clock(), reason=step.reason, **changes)
    write(
        services, promotion, step, key=":".join(filter(None, (to, str(following.record_version), step.key))), state=to
    )
    services.reviews.save(following)
    log.info("promotion %s: %s -> %s (%s)", promotion.id, promotion.state, to, step.action)
    return following


def write(
    services: Services, promotion: Promotion, step: Step, *, key: str, state: PromotionState | None = None
) -> None:
    """Append one event to the promotion's stream; the same key again is the same event."""
    policy = services.reviews.policy(promotion.request.policy_digest)
    subjects = {"policy": promotion.request.policy_digest}
    if promotion.candidate:
        subjects["artifact"] = promotion.candidate.artifact_digest
    record(
        services,
        promotion_id=promotion.id,
        action=step.action,
        actor=step.actor,
        key=key,
        subjects={**subjects, **step.subjects},
        details={"state": state or promotion.state, "reason": step.reason, **step.details},
        retention_days=policy.policy.audit.retention_days,
    )


def publish(services: Services, promotion: Promotion) -> None:
    """Write the promotion's state, as it is recorded now, onto its registry entry. Idempotent.

    Two steps may do this at once, the earlier one slower: a vote's page while the woken run deploys already. So what is
    written is read anew, and read again afterwards: whoever writes last leaves the last state.

    A request that was taken in shows as `accepted`: the word `requested` on the tag is a person's.

    Raises:
        OutsideSystemError: The registry cannot be reached; repeat the step later.
    """
    current, written = services.reviews.get(promotion.id), None
    while written != current.record_version:
        written = current.record_version
        _set_status(services, current)
        current = services.reviews.get(promotion.id)


def _set_status(services: Services, promotion: Promotion) -> None:
    request = promotion.request
    state = "accepted" if promotion.state is PromotionState.REQUESTED else promotion.state.value
    status = RegistryStatus(state=state, request_id=promotion.id, reason=promotion.state_reason)
    services.registries[request.registry].set_status(request.model, request.version, status)
