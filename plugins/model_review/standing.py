"""Where a request stands with its committee, and what the person looking may do about it, with the reason if not.

These are hints for the page; the use cases in `model_approval.stages.review` decide again when somebody acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_approval.domain.committee import Ability
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Vote
from model_approval.policy.schema import FrozenPolicy
from model_approval.policy.voting import RoleTally, eligibility, entitled_to
from model_review import words

_S = PromotionState
_BEFORE_DECISION = frozenset({_S.REQUESTED, _S.VALIDATING, _S.BLOCKED, _S.IN_REVIEW})


@dataclass(frozen=True)
class Rights:
    """What one person may do with one request now."""

    roles: tuple[str, ...]
    """Roles in which they may vote."""
    why_not_vote: str
    vote: Vote | None
    """Their own vote, if it stands."""
    can_approve: bool
    can_waive: bool
    can_withdraw_vote: bool
    can_withdraw_request: bool
    can_expedite: bool

    @property
    def can_vote(self) -> bool:
        """At least to reject or to ask for remediation."""
        return bool(self.roles)


def missing(line: RoleTally) -> int:
    """Approvals still needed from one role."""
    return max(0, line.needed - line.given)


def still_needed(line: RoleTally) -> str:
    """What one role still has to give, in words."""
    if line.is_complete:
        return "complete"
    if len(line.still_eligible) < missing(line):
        return "nobody left who could give it"
    return f"needs {words.listed(list(line.still_eligible), 'or')}"


def votes_word(lines: Sequence[RoleTally]) -> str:
    """`1 of 2, needs Security`."""
    given = sum(min(line.given, line.needed) for line in lines)
    waited_for = [line.title for line in lines if not line.is_complete]
    return f"{given} of {sum(line.needed for line in lines)}" + (
        f", needs {words.listed(waited_for)}" if waited_for else ""
    )


def rights(frozen: FrozenPolicy, promotion: Promotion, subject: str, votes: Sequence[Vote]) -> Rights:
    """What somebody may do, by the frozen policy and committee."""
    allowed = eligibility(frozen, promotion, subject, list(votes))
    waiting = promotion.state.awaits_people
    mine = next((vote for vote in votes if vote.reviewer == subject), None)
    manages = bool(frozen.committee.roles_of(subject, Ability.EXPEDITE))
    waives = bool(entitled_to(frozen, promotion, subject, Ability.WAIVE).roles)
    roles = tuple(allowed.roles) if waiting else ()
    return Rights(
        roles=roles,
        why_not_vote="" if roles or not waiting else _because(promotion, subject, mine, allowed.reason),
        vote=mine,
        can_approve=bool(roles) and promotion.state is PromotionState.IN_REVIEW,
        can_waive=waiting and waives,
        can_withdraw_vote=waiting and mine is not None,
        can_withdraw_request=waiting and (subject == promotion.request.payload.requester or manages),
        can_expedite=manages and promotion.state in _BEFORE_DECISION and not promotion.expedited,
    )


def _because(promotion: Promotion, subject: str, mine: Vote | None, reason: str) -> str:
    if mine is not None:
        return "You have voted. You may withdraw your vote until the quorum is complete."
    if subject == promotion.request.payload.requester:
        return "You cannot vote: you requested this promotion."
    if subject in promotion.barred_voters:
        return "You cannot vote: you made or registered this model version."
    return f"You cannot vote: {reason}."
