"""Step 4, review: votes, waivers, withdrawal, and the signed decision.

One use case behind every way in (page, API, command line, waiting task). The decision is computed by a pure
function and signed; whoever waits reads and verifies the signed form, whatever woke them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from pydantic import ValidationError

from model_approval.domain.audit import Action, Actor
from model_approval.domain.committee import Ability
from model_approval.domain.digests import digest_of
from model_approval.domain.errors import DecisionError, Denial, IntegrityError
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Choice, Outcome, RemediationItem, Vote, Waiver
from model_approval.policy.decide import decide, eligibility, entitled_to, review_readiness, withdrawal
from model_approval.policy.schema import FrozenPolicy
from model_approval.ports import Services
from model_approval.stages.audit import require_approvable, told_by_log, votes_in_log, waivers_in_log
from model_approval.stages.progress import Step, load, move, write
from model_approval.stages.signing import sign_decision

_ACTOR = Actor.service("review")


@dataclass(frozen=True)
class SeenDigests:
    """What was on the page when somebody acted. Another digest now: they would decide about something else."""

    artifact: str
    policy: str
    evidence: str


@dataclass(frozen=True)
class Ballot:
    """A reviewer's input, before it is accepted as a vote."""

    choice: Choice
    role: str | None = None
    reason: str = ""
    items: tuple[RemediationItem, ...] = ()
    authentication: str = "airflow-session"


def cast_vote(services: Services, *, request_id: str, reviewer: str, ballot: Ballot, seen: SeenDigests) -> Promotion:
    """Take a vote and, when it completes the review, sign the decision.

    Raises:
        DecisionError: forbidden (not eligible, with the reason), conflict (stale page, second vote, review ended),
            invalid (a rejection without reason, remediation without items).
    """
    promotion, frozen = load(services, request_id)
    promotion = _conclude(services, promotion, frozen)
    _require_waiting(promotion)
    _require_seen(promotion, seen)
    if ballot.choice is Choice.APPROVE and promotion.state is PromotionState.BLOCKED:
        raise DecisionError(
            f"{request_id} is blocked and cannot be approved: {promotion.state_reason}",
            denial=Denial.CONFLICT,
            hint="re-run the check, waive its rule, reject, or ask for remediation",
        )
    standing = services.reviews.votes(request_id)
    allowed = eligibility(frozen, promotion, reviewer, standing)
    role = ballot.role or next(iter(allowed.roles), None)
    if role is None or role not in allowed.roles:
        twice = any(vote.reviewer == reviewer for vote in standing)
        reason = allowed.reason or f"{reviewer} is not in the role {role}"
        raise DecisionError(reason, denial=Denial.CONFLICT if twice else Denial.FORBIDDEN)
    vote = _vote(promotion, reviewer, role, ballot, services)
    step = Step(
        Action.VOTE_CAST,
        Actor.person(reviewer),
        vote.reason,
        subjects={"vote": vote.digest, "evidence": vote.evidence_digest},
        details={"choice": vote.choice, "role": role, "items": [item.text for item in vote.items]},
    )
    write(services, promotion, step, key=vote.digest)
    services.reviews.cast(vote)
    return _conclude(services, services.reviews.get(request_id), frozen)


def withdraw_vote(services: Services, *, request_id: str, reviewer: str) -> Promotion:
    """Take a vote back while the review is still open.

    Raises:
        DecisionError: There is no vote to take back, or the review ended.
    """
    promotion, _ = load(services, request_id)
    _require_waiting(promotion)
    # An edited vote would be withdrawn under another digest, and the real one could be put back.
    vote = next((vote for vote in _recorded_votes(services, promotion) if vote.reviewer == reviewer), None)
    if vote is None:
        raise DecisionError(f"{reviewer} has no vote on {request_id} to withdraw", denial=Denial.CONFLICT)
    step = Step(Action.VOTE_WITHDRAWN, Actor.person(reviewer), subjects={"vote": vote.digest})
    write(services, promotion, step, key=vote.digest)
    services.reviews.withdraw_vote(request_id, reviewer, at=services.clock())
    return services.reviews.get(request_id)


def withdraw_request(services: Services, *, request_id: str, subject: str, reason: str) -> Promotion:
    """End the review at the wish of the requester, or of somebody who manages the committee.

    Raises:
        DecisionError: Somebody else asks, there is no reason, or the review ended.
    """
    promotion, frozen = load(services, request_id)
    _require_waiting(promotion)
    managers = frozen.committee.roles_of(subject, Ability.EXPEDITE)
    if subject != promotion.request.payload.requester and not managers:
        raise DecisionError(
            f"{subject} can not withdraw {request_id}: only its requester "
            f"({promotion.request.payload.requester}) or a manager can",
            denial=Denial.FORBIDDEN,
        )
    _require_reason(reason, "withdraw the request")
    step = Step(Action.REQUEST_WITHDRAWN, Actor.person(subject), reason)
    write(services, promotion, step, key=str(promotion.record_version))
    words = f"withdrawn by {subject}: {reason}"
    decision = withdrawal(frozen, promotion, reason=words, now=services.clock())
    return sign_decision(services, promotion, decision)


def grant_waiver(
    services: Services, *, request_id: str, rule: str, reason: str, subject: str, days: int, seen: SeenDigests
) -> Promotion:
    """Accept one rule that did not pass, by name, for a time.

    Raises:
        DecisionError: No right to waive, barred, the rule passed or cannot be waived, no reason, too long.
    """
    promotion, frozen = load(services, request_id)
    _require_waiting(promotion)
    _require_seen(promotion, seen)
    _require_reason(reason, f"waive {rule}")
    allowed = entitled_to(frozen, promotion, subject, Ability.WAIVE)
    if not allowed.roles:
        raise DecisionError(allowed.reason, denial=Denial.FORBIDDEN)
    outcome = next((outcome for outcome in promotion.outcomes if outcome.rule == rule), None)
    waivers = services.reviews.waivers(request_id)
    blocking = review_readiness(frozen, promotion, waivers, now=services.clock()).blocking
    if outcome is None or outcome not in blocking:
        raise DecisionError(f"the rule {rule} does not block {request_id}", denial=Denial.CONFLICT)
    if not outcome.waivable:
        raise DecisionError(f"the policy does not allow to waive {rule}", denial=Denial.FORBIDDEN)
    if not 1 <= days <= frozen.policy.review.max_waiver_days:
        limit = frozen.policy.review.max_waiver_days
        raise DecisionError(f"a waiver lasts 1 to {limit} days, not {days}", denial=Denial.INVALID)
    now = services.clock()
    waiver = Waiver(
        id=f"waiver-{digest_of([request_id, rule, subject, seen.evidence])[7:19]}",
        request_id=request_id,
        rule=rule,
        reason=reason,
        granted_by=subject,
        role=allowed.roles[0],
        granted_at=now,
        expires_at=now + timedelta(days=days),
        evidence_digest=seen.evidence,
    )
    step = Step(
        Action.WAIVER_GRANTED,
        Actor.person(subject),
        reason,
        subjects={"waiver": waiver.digest},
        details={"rule": rule, "expires_at": waiver.expires_at.isoformat()},
    )
    write(services, promotion, step, key=waiver.digest)
    services.reviews.grant(waiver)
    return _unblock(services, promotion, frozen)


def expedite(services: Services, *, request_id: str, subject: str, reason: str) -> Promotion:
    """Put a request in front of the queue with the policy's shorter deadline. It skips no fact and no vote.

    Raises:
        DecisionError: No right to expedite, no reason, already expedited or the review ended.
    """
    promotion, frozen = load(services, request_id)
    allowed = entitled_to(frozen, promotion, subject, Ability.EXPEDITE)
    if not allowed.roles:
        raise DecisionError(allowed.reason, denial=Denial.FORBIDDEN)
    _require_reason(reason, "expedite")
    if promotion.expedited or not promotion.state.is_open:
        state = "already expedited" if promotion.expedited else promotion.state
        raise DecisionError(f"{request_id} is {state}", denial=Denial.CONFLICT)
    sooner = services.clock() + timedelta(hours=frozen.policy.review.expedited_timeout_h)
    deadline = min(sooner, promotion.review_deadline) if promotion.review_deadline else None
    following = promotion.changed(expedited=True, review_deadline=deadline)
    step = Step(Action.REQUEST_EXPEDITED, Actor.person(subject), reason)
    write(services, promotion, step, key=str(following.record_version))
    services.reviews.save(following)
    return following


def conclude(services: Services, *, request_id: str) -> Promotion:
    """Decide if there is something to decide: quorum, rejection, a final no, or the deadline. Idempotent."""
    promotion, frozen = load(services, request_id)
    return _conclude(services, promotion, frozen)


def _conclude(services: Services, promotion: Promotion, frozen: FrozenPolicy) -> Promotion:
    if not promotion.state.awaits_people or promotion.candidate is None:
        return promotion
    votes = _recorded_votes(services, promotion)
    waivers = _recorded_waivers(services, promotion)
    decision = decide(frozen, promotion, votes, waivers, now=services.clock())
    if decision is None:
        return promotion
    if decision.outcome is Outcome.APPROVED:
        require_approvable(
            told_by_log(services.audit, services.verifier, promotion.id),
            promotion,
            frozen,
            evidence=services.reviews.evidence(promotion.id),
            votes=votes,
            now=services.clock(),
        )
    try:
        return sign_decision(services, promotion, decision)
    except DecisionError:
        # The last voter and a task may see the quorum at the same moment: what was stored first is the decision.
        if services.reviews.decision(promotion.id) is None:
            raise
        return services.reviews.get(promotion.id)


def _recorded_votes(services: Services, promotion: Promotion) -> list[Vote]:
    """The votes that the audit log knows. A row written into the database by hand is not a vote."""
    votes = services.reviews.votes(promotion.id)
    known = votes_in_log(services.audit, services.verifier, promotion.id) if votes else frozenset()
    for vote in votes:
        if vote.digest not in known:
            raise _edited(promotion, f"vote {vote.id} by {vote.reviewer}")
    return votes


def _recorded_waivers(services: Services, promotion: Promotion) -> list[Waiver]:
    """The waivers that the audit log knows, by the same rule."""
    waivers = services.reviews.waivers(promotion.id)
    known = waivers_in_log(services.audit, services.verifier, promotion.id) if waivers else frozenset()
    for waiver in waivers:
        if waiver.digest not in known:
            raise _edited(promotion, f"waiver {waiver.id} by {waiver.granted_by}")
    return waivers


def _edited(promotion: Promotion, what: str) -> IntegrityError:
    return IntegrityError(
        f"{what} on {promotion.id} is not in the audit log as it stands in the database",
        hint="somebody edited the review database; compare it with `model-approval audit verify`",
    )


def _unblock(services: Services, promotion: Promotion, frozen: FrozenPolicy) -> Promotion:
    waivers = _recorded_waivers(services, promotion)
    ready = review_readiness(frozen, promotion, waivers, now=services.clock())
    if not ready.ready or promotion.state is not PromotionState.BLOCKED:
        return services.reviews.get(promotion.id)
    step = Step(Action.REVIEW_OPENED, _ACTOR, ready.sentence)
    return move(services, promotion, PromotionState.IN_REVIEW, step)


def _vote(promotion: Promotion, reviewer: str, role: str, ballot: Ballot, services: Services) -> Vote:
    now = services.clock()
    try:
        return Vote(
            id=f"vote-{digest_of([promotion.id, reviewer, now.isoformat()])[7:19]}",
            request_id=promotion.id,
            reviewer=reviewer,
            role=role,
            choice=ballot.choice,
            reason=ballot.reason,
            items=ballot.items,
            artifact_digest=promotion.candidate.artifact_digest if promotion.candidate else "",
            policy_digest=promotion.request.policy_digest,
            evidence_digest=promotion.evidence_digest or "",
            authentication=ballot.authentication,
            cast_at=now,
        )
    except ValidationError as err:
        message = err.errors()[0]["msg"].removeprefix("Value error, ")
        raise DecisionError(message, denial=Denial.INVALID) from err


def _require_waiting(promotion: Promotion) -> None:
    if not promotion.state.awaits_people:
        raise DecisionError(
            f"{promotion.id} is {promotion.state.replace('_', ' ')}; its review is not open", denial=Denial.CONFLICT
        )


def _require_seen(promotion: Promotion, seen: SeenDigests) -> None:
    now = SeenDigests(
        artifact=promotion.candidate.artifact_digest if promotion.candidate else "",
        policy=promotion.request.policy_digest,
        evidence=promotion.evidence_digest or "",
    )
    changed = [name for name in ("artifact", "policy", "evidence") if getattr(now, name) != getattr(seen, name)]
    if changed:
        raise DecisionError(
            f"{' and '.join(changed)} changed since you opened the page",
            denial=Denial.CONFLICT,
            hint="look at the request as it is now, then decide",
        )


def _require_reason(reason: str, what: str) -> None:
    if len(reason.strip()) < 3:
        raise DecisionError(f"to {what}, give a reason", denial=Denial.INVALID)
