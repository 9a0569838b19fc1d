"""The end of a review: policy, facts, votes and waivers -> a decision, or none yet. Pure, and blind to order.

    a counting rejection                                  -> rejected
    a counting wish for remediation                       -> remediation_requested
    a check's final no (failed, required, not waivable)   -> rejected, without anybody
    quorum in every role, and every required rule passed
    or waived, all before the deadline                    -> approved
    the deadline                                          -> expired, never approved

The same rules are held against a signed decision before it deploys anything (`decision_problems`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta

from model_approval.domain.committee import Ability
from model_approval.domain.errors import IntegrityError
from model_approval.domain.evidence import RuleOutcome, Verdict
from model_approval.domain.promotion import Candidate, Promotion, PromotionState
from model_approval.domain.review import Choice, Decision, Outcome, Signatory, Vote, Waiver
from model_approval.policy.readiness import Readiness, readiness
from model_approval.policy.schema import FrozenPolicy
from model_approval.policy.voting import Eligibility, RoleTally, counting_votes, eligibility, entitled_to, tally

__all__ = [
    "Eligibility",
    "RoleTally",
    "decide",
    "decision_problems",
    "eligibility",
    "entitled_to",
    "review_readiness",
    "standing_waivers",
    "tally",
    "withdrawal",
]

_CLOCK_SKEW = timedelta(minutes=5)
"""How far the clocks of two of our machines may be apart before a time looks forged; Kerberos' customary limit."""
_MEANING = {
    Choice.APPROVE: "approved",
    Choice.REJECT: "rejected",
    Choice.REQUEST_REMEDIATION: "asked for remediation",
}


def decide(
    frozen: FrozenPolicy, promotion: Promotion, votes: Sequence[Vote], waivers: Sequence[Waiver], *, now: datetime
) -> Decision | None:
    """The decision that policy, facts and votes amount to now; None while it is open, or when it is not a review.

    Raises:
        IntegrityError: `frozen` is not the policy of the request, or the promotion has no candidate or evidence.
    """
    if not promotion.state.awaits_people:
        return None
    _require_policy(frozen, promotion)
    counting = counting_votes(frozen, promotion, votes)
    facts = review_readiness(frozen, promotion, waivers, now=now)
    against = _strongest_no(counting)
    if against:
        return _by_vote(frozen, promotion, against, now=now)
    if facts.final_no:
        return _ending(frozen, promotion, Outcome.REJECTED, facts.sentence, now=now)
    lines = tally(frozen, promotion, votes)
    # `blocked` has no step to `approved`: whoever unblocks a promotion moves it to `in_review` first.
    if promotion.state is PromotionState.IN_REVIEW and facts.ready and all(line.is_complete for line in lines):
        return _approval(frozen, promotion, counting, facts, now=now)
    if promotion.review_deadline is not None and now >= promotion.review_deadline:
        return _ending(frozen, promotion, Outcome.EXPIRED, _expiry_words(promotion, lines, facts), now=now)
    return None


def withdrawal(frozen: FrozenPolicy, promotion: Promotion, *, reason: str, now: datetime) -> Decision:
    """The decision that ends a review at the requester's wish. Raises IntegrityError as `decide` does."""
    _require_policy(frozen, promotion)
    return _ending(frozen, promotion, Outcome.WITHDRAWN, reason, now=now)


def standing_waivers(frozen: FrozenPolicy, promotion: Promotion, waivers: Iterable[Waiver]) -> tuple[Waiver, ...]:
    """The waivers granted by somebody entitled, on the current evidence, in time, for no longer than allowed."""
    longest = timedelta(days=frozen.policy.review.max_waiver_days) + _CLOCK_SKEW
    deadline = promotion.review_deadline
    return tuple(
        waiver
        for waiver in waivers
        if waiver.request_id == promotion.id
        and waiver.evidence_digest == promotion.evidence_digest
        and waiver.role in entitled_to(frozen, promotion, waiver.granted_by, Ability.WAIVE).roles
        and waiver.expires_at - waiver.granted_at <= longest
        and (deadline is None or waiver.granted_at < deadline)
    )


def review_readiness(
    frozen: FrozenPolicy, promotion: Promotion, waivers: Iterable[Waiver], *, now: datetime
) -> Readiness:
    """`readiness` of a promotion, by standing waivers only; a rule that was never evaluated counts as broken."""
    evaluated = {(outcome.check, outcome.rule) for outcome in promotion.check_outcomes}
    missing = tuple(
        RuleOutcome(
            rule=rule.id,
            check=check.name,
            title=rule.title,
            verdict=Verdict.ERRORED,
            reason="it was not evaluated",
            required=rule.required,
            waivable=False,
        )
        for check in frozen.policy.checks
        for rule in check.rules
        if (check.name, rule.id) not in evaluated
    )
    return readiness((*promotion.outcomes, *missing), standing_waivers(frozen, promotion, waivers), now=now)


def decision_problems(
    frozen: FrozenPolicy, promotion: Promotion, decision: Decision, *, now: datetime
) -> tuple[str, ...]:
    """Everything that keeps a decision, whose signature was verified, from deploying this promotion now.

    Trusts nothing but its arguments: names, digests, people, quorum, waivers and time are all checked again.
    """
    return (
        *_other_subject(frozen, promotion, decision),
        *_wrong_people(frozen, promotion, decision),
        *_wrong_facts(frozen, promotion, decision, now),
        *_wrong_time(promotion, decision, now),
    )


def _strongest_no(counting: tuple[Vote, ...]) -> tuple[Vote, ...]:
    """All rejections; without any, all wishes for remediation."""
    rejections = tuple(vote for vote in counting if vote.choice is Choice.REJECT)
    return rejections or tuple(vote for vote in counting if vote.choice is Choice.REQUEST_REMEDIATION)


def _by_vote(frozen: FrozenPolicy, promotion: Promotion, against: tuple[Vote, ...], *, now: datetime) -> Decision:
    signatories = tuple(_signatory(vote) for vote in against)
    if against[0].choice is Choice.REJECT:
        words = "; ".join(f"{vote.reviewer}: {vote.reason.strip()}" for vote in against)
        ending = _ending(frozen, promotion, Outcome.REJECTED, f"rejected by {words}", now=now)
        return ending.model_copy(update={"signatories": signatories})
    words = "; ".join(f"{vote.reviewer}: {', '.join(item.text for item in vote.items)}" for vote in against)
    ending = _ending(frozen, promotion, Outcome.REMEDIATION_REQUESTED, f"remediation asked for by {words}", now=now)
    items = tuple(item for vote in against for item in vote.items)
    return ending.model_copy(update={"signatories": signatories, "remediation": items})


def _approval(
    frozen: FrozenPolicy, promotion: Promotion, counting: tuple[Vote, ...], facts: Readiness, *, now: datetime
) -> Decision:
    titles = {name: role.title for name, role in frozen.committee.roles.items()}
    names = " and ".join(f"{vote.reviewer} ({titles[vote.role]})" for vote in counting)
    rules = ", ".join(f"{waiver.rule} by {waiver.granted_by}" for waiver in facts.waived)
    reason = f"approved by {names}" + (f"; waived: {rules}" if rules else "")
    # A yes lasts no longer than the waivers it leans on.
    longest = now + timedelta(hours=frozen.policy.review.approval_valid_h)
    changes = {
        "signatories": tuple(_signatory(vote) for vote in counting),
        "waivers": facts.waived,
        "valid_until": min((longest, *(waiver.expires_at for waiver in facts.waived))),
    }
    return _ending(frozen, promotion, Outcome.APPROVED, reason, now=now).model_copy(update=changes)


def _ending(frozen: FrozenPolicy, promotion: Promotion, outcome: Outcome, reason: str, *, now: datetime) -> Decision:
    """A decision that names what it is about. Valid for no moment: only an approval is given time."""
    candidate, evidence = _pinned(promotion)
    request = promotion.request
    return Decision(
        request_id=promotion.id,
        outcome=outcome,
        reason=reason[:4000],
        artifact_digest=candidate.artifact_digest,
        policy_digest=request.policy_digest,
        evidence_digest=evidence,
        model=request.model,
        version=request.version,
        environment=request.environment,
        target=frozen.target.name,
        decided_at=now,
        valid_until=now,
    )


def _signatory(vote: Vote) -> Signatory:
    return Signatory(
        subject=vote.reviewer,
        role=vote.role,
        meaning=_MEANING[vote.choice],
        vote_digest=vote.digest,
        cast_at=vote.cast_at,
        authentication=vote.authentication,
    )


def _expiry_words(promotion: Promotion, lines: tuple[RoleTally, ...], facts: Readiness) -> str:
    missing = ", ".join(f"{line.needed - line.given} of {line.title}" for line in lines if not line.is_complete)
    what = f"votes missing: {missing}" if missing else facts.sentence
    return f"no decision by {promotion.review_deadline:%Y-%m-%d %H:%M} UTC; {what}"


def _pinned(promotion: Promotion) -> tuple[Candidate, str]:
    if promotion.candidate is None or promotion.evidence_digest is None:
        raise IntegrityError(
            f"promotion {promotion.id} is {promotion.state} without a pinned artifact and evaluated evidence",
            hint="somebody edited the review database; compare it with the audit log",
        )
    return promotion.candidate, promotion.evidence_digest


def _require_policy(frozen: FrozenPolicy, promotion: Promotion) -> None:
    if frozen.digest != promotion.request.policy_digest:
        raise IntegrityError(
            f"the policy {frozen.digest} is not the one frozen into {promotion.id}: {promotion.request.policy_digest}"
        )


def _other_subject(frozen: FrozenPolicy, promotion: Promotion, decision: Decision) -> Iterator[str]:
    request, candidate = promotion.request, promotion.candidate
    pinned = candidate.manifest.artifact_digest if candidate else "nothing"
    expected = {
        "request": (decision.request_id, promotion.id),
        "model": (decision.model, request.model),
        "version": (decision.version, request.version),
        "environment": (decision.environment, request.environment),
        "target": (decision.target, frozen.target.name),
        "artifact": (decision.artifact_digest, pinned),
        "pinned artifact": (candidate.artifact_digest if candidate else "nothing", pinned),
        "evidence": (decision.evidence_digest, promotion.evidence_digest),
        "policy": (decision.policy_digest, request.policy_digest),
        "frozen policy": (decision.policy_digest, frozen.digest),
    }
    for what, (found, wanted) in expected.items():
        if found != wanted:
            yield f"the decision is about another {what}: {found}, not {wanted}"


def _wrong_people(frozen: FrozenPolicy, promotion: Promotion, decision: Decision) -> Iterator[str]:
    if decision.outcome is not Outcome.APPROVED:
        yield f"the decision is {decision.outcome.replace('_', ' ')}, not approved"
    people = [one.subject for one in decision.signatories]
    for subject in sorted({one for one in people if people.count(one) > 1}):
        yield f"{subject} signed more than once"
    for one in decision.signatories:
        if one.subject in promotion.barred_voters:
            yield f"{one.subject} requested or made this model version and cannot approve it"
        if one.subject not in frozen.committee.members_with(one.role):
            yield f"{one.subject} may not vote as {one.role}"
        if one.meaning != _MEANING[Choice.APPROVE]:
            yield f"{one.subject} {one.meaning}, which is no approval"
    for rule in frozen.policy.review.quorum:
        given = len({one.subject for one in decision.signatories if one.role == rule.role})
        if given < rule.votes:
            yield f"the quorum asks for {rule.votes} of {rule.role}; {given} signed"


def _wrong_facts(frozen: FrozenPolicy, promotion: Promotion, decision: Decision, now: datetime) -> Iterator[str]:
    facts = review_readiness(frozen, promotion, decision.waivers, now=now)
    if not facts.ready:
        yield f"the evidence does not allow it: {facts.sentence}"


def _wrong_time(promotion: Promotion, decision: Decision, now: datetime) -> Iterator[str]:
    deadline = promotion.review_deadline
    for one in decision.signatories:
        if deadline is not None and one.cast_at >= deadline:
            yield f"{one.subject} voted after the review's deadline"
        if one.cast_at > decision.decided_at + _CLOCK_SKEW:
            yield f"{one.subject} voted after the decision"
    if decision.decided_at > now + _CLOCK_SKEW:
        yield f"the decision is dated {decision.decided_at:%Y-%m-%d %H:%M} UTC, in the future"
    if now >= decision.valid_until:
        yield f"the approval was valid until {decision.valid_until:%Y-%m-%d %H:%M} UTC"
