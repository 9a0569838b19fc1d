"""How a review ends: the table of endings, and the properties that hold whatever people do."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Choice, Decision, Outcome, Vote, Waiver
from model_approval.policy.decide import decide, decision_problems, review_readiness, standing_waivers, withdrawal
from tests.support.builders import (
    EVIDENCE_DIGEST,
    NOW,
    a_candidate,
    a_frozen_policy,
    a_payload,
    a_policy,
    a_promotion,
    a_request,
    a_vote,
    a_waiver,
    an_outcome,
    passed_outcomes,
)

pytestmark = [pytest.mark.unit, pytest.mark.governance]

DEADLINE = NOW + timedelta(hours=120)
SLOW = an_outcome(verdict="failed", reason="latency p99 61.2 ms is above the limit of 50 ms")
TOO_SLOW_FOR_ALL = SLOW.model_copy(update={"waivable": False})


def quorum(promotion: Promotion) -> list[Vote]:
    """Approvals by ana and max."""
    return [a_vote(promotion, by="ana"), a_vote(promotion, by="max")]


def decided(
    promotion: Promotion | None = None,
    votes: list[Vote] | None = None,
    waivers: tuple[Waiver, ...] = (),
    **when: object,
) -> Decision | None:
    promotion = promotion or a_promotion()
    now = when.get("now", NOW)
    found = quorum(promotion) if votes is None else votes
    return decide(a_frozen_policy(), promotion, found, waivers, now=now)  # type: ignore[arg-type]  # a time


def ending(*args: object, **named: object) -> Decision:
    found = decided(*args, **named)  # type: ignore[arg-type]  # as given
    assert found is not None
    return found


def test_a_quorum_in_every_role_approves():
    promotion = a_promotion()
    decision = ending(promotion)
    assert decision.outcome is Outcome.APPROVED
    assert decision.reason == "approved by ana (Security) and max (ML manager)"
    assert [(one.subject, one.role, one.meaning) for one in decision.signatories] == [
        ("ana", "security", "approved"),
        ("max", "ml-manager", "approved"),
    ]
    assert [one.vote_digest for one in decision.signatories] == [vote.digest for vote in quorum(promotion)]


def test_a_decision_names_exactly_what_it_is_about():
    promotion = a_promotion()
    decision = ending(promotion)
    assert promotion.candidate is not None
    assert decision.model_dump(include={"request_id", "model", "version", "environment", "target"}) == {
        "request_id": promotion.id,
        "model": "fraud-scorer",
        "version": "7",
        "environment": "production",
        "target": "local",
    }
    assert decision.artifact_digest == promotion.candidate.artifact_digest
    assert decision.policy_digest == a_frozen_policy().digest
    assert decision.evidence_digest == EVIDENCE_DIGEST


def test_an_approval_holds_as_long_as_the_policy_says():
    assert ending().decided_at == NOW
    assert ending().valid_until == NOW + timedelta(hours=72)


@pytest.mark.parametrize("missing", ["ana", "max"])
def test_one_role_short_is_no_decision_yet(missing):
    promotion = a_promotion()
    votes = [vote for vote in quorum(promotion) if vote.reviewer != missing]
    assert decided(promotion, votes) is None


def test_two_of_one_role_are_not_one_of_each():
    promotion = a_promotion()
    assert decided(promotion, [a_vote(promotion, by="ana"), a_vote(promotion, by="sam")]) is None


def test_more_approvals_than_needed_all_sign():
    promotion = a_promotion()
    decision = ending(promotion, [*quorum(promotion), a_vote(promotion, by="sam")])
    assert sorted(one.subject for one in decision.signatories) == ["ana", "max", "sam"]


def test_one_rejection_ends_it_even_after_a_quorum():
    promotion = a_promotion()
    no = a_vote(promotion, by="sam", choice="reject", reason=" training data leaked ", cast_at=NOW)
    decision = ending(promotion, [*quorum(promotion), no])
    assert decision.outcome is Outcome.REJECTED
    assert decision.reason == "rejected by sam: training data leaked"
    assert [(one.subject, one.meaning) for one in decision.signatories] == [("sam", "rejected")]


def test_a_wish_for_remediation_ends_it_with_its_items():
    promotion = a_promotion()
    wish = a_vote(promotion, choice="request_remediation", items=({"text": "name the licence", "owner": "rita"},))
    decision = ending(promotion, [wish, a_vote(promotion, by="max")])
    assert decision.outcome is Outcome.REMEDIATION_REQUESTED
    assert decision.reason == "remediation asked for by ana: name the licence"
    assert [(item.text, item.owner) for item in decision.remediation] == [("name the licence", "rita")]
    assert [one.subject for one in decision.signatories] == ["ana"]


def test_a_rejection_is_stronger_than_a_wish_for_remediation():
    promotion = a_promotion()
    wish = a_vote(promotion, by="ana", choice="request_remediation", items=({"text": "name the licence"},))
    no = a_vote(promotion, by="max", choice="reject", reason="never", cast_at=NOW)
    assert ending(promotion, [wish, no]).outcome is Outcome.REJECTED
    assert ending(promotion, [wish, no]).remediation == ()


@pytest.mark.parametrize("by", ["rita", "vera", "bo"])
def test_a_rejection_by_somebody_who_may_not_vote_ends_nothing(by):
    promotion = a_promotion()
    assert decided(promotion, [a_vote(promotion, by=by, choice="reject", reason="because")]) is None


@pytest.mark.parametrize("state", ["blocked", "in_review"])
def test_a_final_no_of_a_check_rejects_without_anybody(state):
    promotion = a_promotion(state=state, check_outcomes=(*passed_outcomes()[:2], TOO_SLOW_FOR_ALL))
    decision = ending(promotion, [])
    assert decision.outcome is Outcome.REJECTED
    assert decision.reason == "Cannot be approved: p99 latency: latency p99 61.2 ms is above the limit of 50 ms"
    assert decision.signatories == ()


@pytest.mark.parametrize("verdict", ["errored", "inconclusive"])
def test_a_check_that_broke_waits_for_a_re_run_instead_of_rejecting(verdict):
    outcome = TOO_SLOW_FOR_ALL.model_copy(update={"verdict": verdict})
    promotion = a_promotion(state="blocked", check_outcomes=(*passed_outcomes()[:2], outcome))
    assert decided(promotion, []) is None


def test_no_quorum_approves_what_is_not_ready():
    assert decided(a_promotion(check_outcomes=(*passed_outcomes()[:2], SLOW))) is None


def test_no_quorum_approves_when_a_rule_of_the_policy_was_never_evaluated():
    promotion = a_promotion(check_outcomes=passed_outcomes()[:2])
    assert decided(promotion) is None
    facts = review_readiness(a_frozen_policy(), promotion, (), now=NOW)
    assert facts.sentence.startswith("Blocked: p99 latency: it was not evaluated")


def test_an_outcome_under_another_check_s_name_does_not_stand_in():
    moved = passed_outcomes()[2].model_copy(update={"check": "security_scan"})
    assert decided(a_promotion(check_outcomes=(*passed_outcomes()[:2], moved))) is None


def test_intake_s_outcomes_count_too():
    failed = an_outcome(rule="artifact.size", check="intake", verdict="failed", waivable=False)
    assert ending(a_promotion(intake_outcomes=(failed,))).outcome is Outcome.REJECTED


def test_a_blocked_promotion_is_not_approved_before_it_is_moved_to_review():
    promotion = a_promotion(state="blocked")
    assert decided(promotion) is None
    assert ending(promotion.moved(PromotionState.IN_REVIEW, at=NOW)).outcome is Outcome.APPROVED


def test_a_waiver_lets_a_quorum_approve_and_is_part_of_the_decision():
    promotion = a_promotion(check_outcomes=(*passed_outcomes()[:2], SLOW))
    waiver = a_waiver(promotion)
    decision = ending(promotion, None, (waiver,))
    assert decision.outcome is Outcome.APPROVED
    assert decision.waivers == (waiver,)
    assert decision.reason.endswith("; waived: performance.latency-p99 by max")


def test_an_approval_lasts_no_longer_than_the_waiver_it_leans_on():
    promotion = a_promotion(check_outcomes=(*passed_outcomes()[:2], SLOW))
    waiver = a_waiver(promotion, expires_at=NOW + timedelta(hours=5))
    assert ending(promotion, None, (waiver,)).valid_until == NOW + timedelta(hours=5)


@pytest.mark.parametrize(
    "changes",
    [
        {"expires_at": NOW},
        {"granted_at": NOW + timedelta(seconds=1)},
        {"granted_by": "ana", "role": "security"},
        {"granted_by": "ana"},
        {"granted_by": "rita"},
        {"role": "security"},
        {"evidence_digest": sha256_of(b"older evidence")},
        {"request_id": "pr-another"},
        {"rule": "performance.memory"},
        {"expires_at": NOW + timedelta(days=31)},
    ],
    ids=str,
)
def test_a_waiver_that_is_expired_foreign_too_long_or_by_nobody_entitled_does_not_count(changes):
    promotion = a_promotion(check_outcomes=(*passed_outcomes()[:2], SLOW))
    assert decided(promotion, None, (a_waiver(promotion, **changes),)) is None


def test_a_manager_who_contributed_cannot_waive():
    request = a_request(payload=a_payload(contributors=("max",)))
    promotion = a_promotion(request=request, check_outcomes=(*passed_outcomes()[:2], SLOW))
    assert standing_waivers(a_frozen_policy(), promotion, [a_waiver(promotion)]) == ()


@pytest.mark.parametrize("now", [DEADLINE, DEADLINE + timedelta(days=365)])
@pytest.mark.parametrize("state", ["blocked", "in_review"])
def test_at_the_deadline_an_open_review_expires(now, state):
    promotion = a_promotion(state=state)
    decision = ending(promotion, [a_vote(promotion)], now=now)
    assert decision.outcome is Outcome.EXPIRED
    assert decision.reason == "no decision by 2026-06-06 12:00 UTC; votes missing: 1 of ML manager"
    assert decision.signatories == ()


def test_an_expiry_with_all_votes_says_what_blocked():
    promotion = a_promotion(check_outcomes=(*passed_outcomes()[:2], SLOW))
    assert "Blocked: p99 latency" in ending(promotion, now=DEADLINE).reason


def test_just_before_the_deadline_nothing_expires():
    assert decided(a_promotion(), [], now=DEADLINE - timedelta(microseconds=1)) is None


def test_a_quorum_that_came_too_late_expires():
    promotion = a_promotion()
    late = [a_vote(promotion, by="ana"), a_vote(promotion, by="max", cast_at=DEADLINE)]
    assert ending(promotion, late, now=DEADLINE).outcome is Outcome.EXPIRED


def test_a_quorum_in_time_approves_even_when_it_is_counted_later():
    assert ending(a_promotion(), now=DEADLINE + timedelta(minutes=1)).outcome is Outcome.APPROVED


def test_a_waiver_granted_after_the_deadline_does_not_save_it():
    promotion = a_promotion(check_outcomes=(*passed_outcomes()[:2], SLOW))
    waiver = a_waiver(promotion, granted_at=DEADLINE, expires_at=DEADLINE + timedelta(days=2))
    assert ending(promotion, None, (waiver,), now=DEADLINE).outcome is Outcome.EXPIRED


@pytest.mark.parametrize("state", [state for state in PromotionState if not state.awaits_people])
def test_where_no_review_is_open_nothing_is_decided(state):
    promotion = a_promotion(state=state, review_deadline=NOW)
    assert decided(promotion, [], now=DEADLINE) is None


@pytest.mark.parametrize("outcome", ["reject", "request_remediation"])
def test_a_no_is_valid_for_no_deployment(outcome):
    promotion = a_promotion()
    vote = a_vote(promotion, choice=outcome, reason="because", items=({"text": "mend it"},))
    assert ending(promotion, [vote]).valid_until == NOW


def test_a_withdrawal_is_a_decision_without_signatories():
    decision = withdrawal(a_frozen_policy(), a_promotion(), reason="withdrawn by rita: wrong data", now=NOW)
    assert (decision.outcome, decision.reason) == (Outcome.WITHDRAWN, "withdrawn by rita: wrong data")
    assert (decision.signatories, decision.valid_until) == ((), NOW)


@pytest.mark.proof
def test_another_policy_than_the_frozen_one_is_an_integrity_error():
    other = a_frozen_policy(policy=a_policy(title="Softened"))
    promotion = a_promotion()
    with pytest.raises(IntegrityError, match="is not the one frozen into"):
        decide(other, promotion, quorum(promotion), (), now=NOW)


@pytest.mark.proof
@pytest.mark.parametrize("missing", [{"candidate": None}, {"evidence_digest": None}], ids=str)
def test_a_review_without_pinned_bytes_or_evidence_is_an_integrity_error(missing):
    promotion = a_promotion().changed(**missing)
    with pytest.raises(IntegrityError, match="without a pinned artifact and evaluated evidence"):
        decide(a_frozen_policy(), promotion, [], (), now=DEADLINE)


PEOPLE = ["ana", "sam", "max", "bo", "rita", "carl", "olga", "vera"]
BARRED = {"rita", "carl", "olga"}
_REQUEST = a_request(payload=a_payload(contributors=("carl",)))
REVIEWED = a_promotion(request=_REQUEST, candidate=a_candidate(_REQUEST, owner="olga"))


def make_vote(person: str, role: str, choice: Choice, stale: bool, late: bool) -> Vote:
    return a_vote(
        REVIEWED,
        by=person,
        id=f"vote-{person}-{role}-{choice.value.replace('_', '-')}",
        role=role,
        choice=choice,
        reason="because",
        items=({"text": "mend it"},) if choice is Choice.REQUEST_REMEDIATION else (),
        evidence_digest=sha256_of(b"older") if stale else EVIDENCE_DIGEST,
        cast_at=DEADLINE if late else NOW,
    )


VOTES = st.lists(
    st.builds(
        make_vote,
        st.sampled_from(PEOPLE),
        st.sampled_from(["security", "ml-manager", "risk"]),
        st.sampled_from(Choice),
        st.booleans(),
        st.booleans(),
    ),
    max_size=7,
)
TIMES = st.sampled_from([NOW, DEADLINE - timedelta(seconds=1), DEADLINE, DEADLINE + timedelta(days=30)])
VERDICTS = st.sampled_from(["passed", "failed", "errored", "inconclusive", "skipped"])


def decide_it(votes: list[Vote], now: object, verdict: str = "passed") -> Decision | None:
    outcome = SLOW.model_copy(update={"verdict": an_outcome(verdict=verdict).verdict})
    promotion = REVIEWED.changed(check_outcomes=(*passed_outcomes()[:2], outcome))
    return decide(a_frozen_policy(), promotion, votes, (), now=now)  # type: ignore[arg-type]  # a time


@given(VOTES, TIMES, VERDICTS, st.randoms(use_true_random=False))
def test_the_order_of_votes_never_matters(votes, now, verdict, random):
    before = decide_it(votes, now, verdict)
    random.shuffle(votes)
    assert decide_it(votes, now, verdict) == before


@given(VOTES, TIMES, VERDICTS)
def test_nobody_barred_stale_late_or_without_role_ever_signs(votes, now, verdict):
    decision = decide_it(votes, now, verdict)
    allowed = {vote.digest for vote in votes if vote.evidence_digest == EVIDENCE_DIGEST and vote.cast_at < DEADLINE}
    for one in decision.signatories if decision else ():
        assert one.subject not in BARRED
        assert (one.subject, one.role) in {("ana", "security"), ("sam", "security"), ("max", "ml-manager")}
        assert one.vote_digest in allowed


@given(VOTES, TIMES, VERDICTS)
def test_an_approval_always_has_its_quorum_of_different_people_and_its_facts(votes, now, verdict):
    decision = decide_it(votes, now, verdict)
    if decision is None or decision.outcome is not Outcome.APPROVED:
        return
    assert verdict == "passed"
    assert len({one.subject for one in decision.signatories}) == len(decision.signatories)
    assert {one.role for one in decision.signatories} == {"security", "ml-manager"}
    assert all(one.meaning == "approved" for one in decision.signatories)


@given(VOTES, TIMES)
def test_fewer_people_than_the_quorum_never_approve(votes, now):
    one_person = [vote for vote in votes if vote.reviewer == "ana"]
    decision = decide_it(one_person, now)
    assert decision is None or decision.outcome is not Outcome.APPROVED


@given(VOTES, TIMES)
def test_one_counting_no_is_enough_against_any_number_of_yes(votes, now):
    no = make_vote("sam", "security", Choice.REJECT, stale=False, late=False)
    decision = decide_it([*votes, no], now)
    assert decision is not None
    assert decision.outcome is Outcome.REJECTED


@given(st.datetimes(min_value=DEADLINE.replace(tzinfo=None)))
def test_time_alone_never_approves(moment):
    decision = decide_it([], moment.replace(tzinfo=NOW.tzinfo))
    assert decision is not None
    assert decision.outcome is Outcome.EXPIRED


@given(VOTES, VERDICTS)
def test_past_the_deadline_there_is_always_an_ending(votes, verdict):
    assert decide_it(votes, DEADLINE, verdict) is not None


@settings(max_examples=200)
@given(VOTES, TIMES)
def test_what_decide_approves_may_be_deployed_and_nothing_else_may(votes, now):
    decision = decide_it(votes, now)
    if decision is None:
        return
    problems = decision_problems(a_frozen_policy(), REVIEWED, decision, now=now)
    assert (problems == ()) == (decision.outcome is Outcome.APPROVED)
