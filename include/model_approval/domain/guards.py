"""What a review store checks inside its transaction, whatever the stages checked before.

Pure, and shared by every store, so that all of them refuse the same things in the same words. Who may act at all is
the stages' business; here it is only about records that fit each other.
"""

from __future__ import annotations

from model_approval.domain.errors import DecisionError, Denial, RequestRefusedError
from model_approval.domain.promotion import Promotion
from model_approval.domain.request import PromotionRequest
from model_approval.domain.review import Vote, Waiver


def _conflict(message: str, hint: str = "") -> DecisionError:
    return DecisionError(message, denial=Denial.CONFLICT, hint=hint)


def guard_no_other_open(request: PromotionRequest, other: Promotion | None) -> None:
    """One open request per version and environment.

    Raises:
        RequestRefusedError: There is another one.
    """
    if other is not None:
        raise RequestRefusedError(
            f"{request.model} version {request.version} to {request.environment} is already asked for by {other.id}, "
            f"which is {other.state}",
            hint="wait until it ends, or withdraw it",
        )


def guard_attempt(request: PromotionRequest, holder: str) -> None:
    """One request per attempt. Call it when somebody else holds the attempt.

    Raises:
        RequestRefusedError: Always.
    """
    raise RequestRefusedError(
        f"attempt {request.attempt} for {request.model} version {request.version} to {request.environment} is taken "
        f"by {holder}",
        hint="ask again: the next attempt gets the next number",
    )


def guard_change(stored: Promotion, following: Promotion) -> None:
    """A new record follows the stored one directly.

    Raises:
        DecisionError: (conflict) somebody else changed it meanwhile, or the request itself is another one.
    """
    if following.record_version != stored.record_version + 1:
        raise _conflict(
            f"{stored.id} changed meanwhile: it is at record {stored.record_version} ({stored.state}), "
            f"record {following.record_version} was to follow",
            hint="read it again",
        )
    if following.request != stored.request:
        raise _conflict(f"{stored.id}: what was asked for can not be changed", hint="ask again")


def guard_awaits_people(promotion: Promotion, *, decided: bool) -> None:
    """Votes, withdrawals and waivers need a review that goes on.

    Raises:
        DecisionError: (conflict) decided, or in a state that awaits nobody.
    """
    if decided:
        raise _conflict(f"{promotion.id} is already decided")
    if not promotion.state.awaits_people:
        raise _conflict(f"{promotion.id} is {promotion.state}: no review is going on")


def guard_vote(promotion: Promotion, vote: Vote, *, decided: bool, has_voted: bool) -> None:
    """A vote must be the reviewer's only one and about what is current now.

    Raises:
        DecisionError: (conflict) names what does not fit.
    """
    guard_awaits_people(promotion, decided=decided)
    if has_voted:
        raise _conflict(f"{vote.reviewer} has already voted on {promotion.id}", hint="withdraw that vote first")
    artifact = promotion.candidate.artifact_digest if promotion.candidate else None
    _require_current("artifact", promotion, seen=vote.artifact_digest, now=artifact)
    _require_current("policy", promotion, seen=vote.policy_digest, now=promotion.request.policy_digest)
    _require_current("evidence", promotion, seen=vote.evidence_digest, now=promotion.evidence_digest)


def guard_waiver(promotion: Promotion, waiver: Waiver, *, decided: bool) -> None:
    """A waiver must be about the evidence that is current now.

    Raises:
        DecisionError: (conflict) names what does not fit.
    """
    guard_awaits_people(promotion, decided=decided)
    _require_current("evidence", promotion, seen=waiver.evidence_digest, now=promotion.evidence_digest)


def guard_first(what: str, *, differs: bool) -> None:
    """Something that is written once: the same again is fine, another is not.

    Raises:
        DecisionError: (conflict) another one is stored.
    """
    if differs:
        raise _conflict(f"{what} is stored already, and is not the same")


def no_standing_vote(request_id: str, reviewer: str) -> DecisionError:
    """The refusal of a withdrawal without a vote."""
    return _conflict(f"{reviewer} has no vote on {request_id} to withdraw")


def _require_current(what: str, promotion: Promotion, *, seen: str, now: str | None) -> None:
    if seen != now:
        raise _conflict(
            f"the {what} of {promotion.id} changed meanwhile: {seen} was seen, {now or 'none'} is current",
            hint="look at the request again",
        )
