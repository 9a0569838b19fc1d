"""Votes, waivers, withdrawal, expiry: who, when, and what cannot be undone or forged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from model_approval.adapters.memory.reviews import MemoryReviewStore
from model_approval.domain.attestation import Envelope
from model_approval.domain.audit import Action
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import DecisionError, Denial, IntegrityError, OutsideSystemError
from model_approval.domain.evidence import Finding, Metric, Severity
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Choice, Outcome
from model_approval.stages.review import (
    Ballot,
    cast_vote,
    conclude,
    expedite,
    grant_waiver,
    withdraw_request,
    withdraw_vote,
)
from model_approval.stages.signing import decision_digest, signed_decision
from model_approval.stages.validation import evaluate
from tests.support.builders import a_vote, a_waiver
from tests.support.world import World, a_world

pytestmark = pytest.mark.unit

SLOW = (Metric(name="latency_p99", value=80.0, unit="ms"),)


def denial_of(refused: pytest.ExceptionInfo[DecisionError]) -> Denial:
    return refused.value.denial


def waive(world: World, promotion: Promotion, subject: str = "max", days: int = 7) -> Promotion:
    return grant_waiver(
        world.services,
        request_id=promotion.id,
        rule="performance.latency-p99",
        reason="the batch path tolerates it",
        subject=subject,
        days=days,
        seen=world.seen(promotion.id),
    )


def test_a_quorum_approves_and_the_decision_is_signed_over_the_bytes() -> None:
    world = a_world()
    promotion = world.to_review()
    assert world.vote("ana", promotion.id).state is PromotionState.IN_REVIEW
    approved = world.vote("max", promotion.id)
    assert approved.state is PromotionState.APPROVED
    decision = signed_decision(world.services, request_id=promotion.id)
    assert decision is not None
    assert approved.candidate is not None
    assert decision.artifact_digest == approved.candidate.artifact_digest
    assert {signatory.subject for signatory in decision.signatories} == {"ana", "max"}
    assert world.registry_state() == "approved"


class OvertakenStore(MemoryReviewStore):
    """Lets somebody else's conclusion in, right before its own decision is stored."""

    def __init__(self) -> None:
        super().__init__()
        self.overtake: Callable[[], object] | None = None

    def put_decision(self, request_id: str, envelope: Envelope, promotion: Promotion) -> None:
        overtake, self.overtake = self.overtake, None
        if overtake:
            overtake()
        super().put_decision(request_id, envelope, promotion)


def test_of_two_who_see_the_quorum_at_once_the_first_decides_and_the_second_agrees() -> None:
    world = a_world()
    reviews = OvertakenStore()
    world.reviews, world.services = reviews, replace(world.services, reviews=reviews)
    promotion = world.to_review()
    world.vote("ana", promotion.id)

    def task_concludes() -> None:
        world.later(seconds=1)
        conclude(world.services, request_id=promotion.id)

    reviews.overtake = task_concludes
    voted = world.vote("max", promotion.id)

    assert voted.state is PromotionState.APPROVED
    assert voted == world.reviews.get(promotion.id)


def test_a_vote_is_in_the_log_before_it_is_in_the_database() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError):
        world.reviews.cast(a_vote(promotion, by="ana", evidence_digest=sha256_of(b"stale")))
    world.vote("ana", promotion.id)
    assert world.actions(promotion.id)[-1] is Action.VOTE_CAST


@pytest.mark.parametrize(("person", "words"), [("rita", "rita requested this promotion"), ("vera", "no role")])
def test_who_may_not_vote_is_told_why(person: str, words: str) -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError, match=words) as refused:
        world.vote(person, promotion.id)
    assert denial_of(refused) is Denial.FORBIDDEN


def test_a_contributor_cannot_vote_on_their_own_model() -> None:
    world = a_world()
    promotion = world.to_review(request={"contributors": ["ana"]})
    with pytest.raises(DecisionError, match="ana contributed"):
        world.vote("ana", promotion.id)


def test_a_second_vote_is_a_conflict() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    with pytest.raises(DecisionError, match=f"ana has already voted on {promotion.id}") as refused:
        world.vote("ana", promotion.id, Choice.REJECT, "changed my mind")
    assert denial_of(refused) is Denial.CONFLICT


@pytest.mark.parametrize("what", ["artifact", "policy", "evidence"])
def test_a_vote_on_a_stale_page_is_a_conflict_naming_what_changed(what: str) -> None:
    world = a_world()
    promotion = world.to_review()
    stale = replace(world.seen(promotion.id), **{what: sha256_of(b"before")})
    with pytest.raises(DecisionError, match=f"{what} changed since you opened the page") as refused:
        cast_vote(world.services, request_id=promotion.id, reviewer="ana", ballot=Ballot(Choice.APPROVE), seen=stale)
    assert denial_of(refused) is Denial.CONFLICT


def test_a_rejection_needs_a_reason_and_ends_the_review() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError, match="needs a reason") as refused:
        world.vote("ana", promotion.id, Choice.REJECT)
    assert denial_of(refused) is Denial.INVALID
    ended = world.vote("ana", promotion.id, Choice.REJECT, "no drift report")
    assert (ended.state, ended.state_reason) == (PromotionState.REJECTED, "rejected by ana: no drift report")


def test_remediation_needs_items_and_ends_the_review() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError, match="at least one item"):
        cast_vote(
            world.services,
            request_id=promotion.id,
            reviewer="ana",
            ballot=Ballot(Choice.REQUEST_REMEDIATION),
            seen=world.seen(promotion.id),
        )
    ended = world.vote("ana", promotion.id, Choice.REQUEST_REMEDIATION)
    assert ended.state is PromotionState.REMEDIATION_REQUESTED
    decision = signed_decision(world.services, request_id=promotion.id)
    assert decision is not None
    assert [item.text for item in decision.remediation] == ["add the drift report"]


def test_nobody_votes_after_the_decision() -> None:
    world = a_world()
    promotion = world.to_approved()
    with pytest.raises(DecisionError, match="review is not open"):
        world.vote("sam", promotion.id)


def test_a_withdrawn_vote_no_longer_counts_and_can_be_cast_again() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    withdraw_vote(world.services, request_id=promotion.id, reviewer="ana")
    assert world.vote("max", promotion.id).state is PromotionState.IN_REVIEW
    world.later(minutes=1)
    assert world.vote("ana", promotion.id).state is PromotionState.APPROVED


def test_there_must_be_a_vote_to_withdraw() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError, match="no vote"):
        withdraw_vote(world.services, request_id=promotion.id, reviewer="ana")


def test_the_requester_withdraws_with_a_reason_and_a_stranger_cannot() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError, match="only its requester"):
        withdraw_request(world.services, request_id=promotion.id, subject="vera", reason="why not")
    with pytest.raises(DecisionError, match="give a reason"):
        withdraw_request(world.services, request_id=promotion.id, subject="rita", reason=" ")
    ended = withdraw_request(world.services, request_id=promotion.id, subject="rita", reason="found a leak")
    assert ended.state is PromotionState.WITHDRAWN
    assert world.registry_state() == "withdrawn"


def test_the_deadline_expires_a_review_and_never_approves_it() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    world.later(hours=121)
    ended = conclude(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.EXPIRED
    with pytest.raises(DecisionError):
        world.vote("max", promotion.id)


def test_a_vote_that_comes_after_the_deadline_expires_the_review_instead() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    world.later(hours=121)
    with pytest.raises(DecisionError, match="review is not open"):
        world.vote("max", promotion.id)
    assert world.reviews.get(promotion.id).state is PromotionState.EXPIRED


def test_a_blocked_promotion_cannot_be_approved_but_can_be_rejected() -> None:
    world = a_world()
    promotion = world.to_review(metrics=SLOW)
    assert promotion.state is PromotionState.BLOCKED
    with pytest.raises(DecisionError, match="is blocked"):
        world.vote("ana", promotion.id)
    assert world.vote("ana", promotion.id, Choice.REJECT, "too slow").state is PromotionState.REJECTED


def test_a_waiver_by_the_manager_unblocks_and_is_named_in_the_decision() -> None:
    world = a_world()
    promotion = world.to_review(metrics=SLOW)
    assert waive(world, promotion).state is PromotionState.IN_REVIEW
    world.vote("ana", promotion.id)
    assert world.vote("max", promotion.id).state is PromotionState.APPROVED
    decision = signed_decision(world.services, request_id=promotion.id)
    assert decision is not None
    assert [waiver.rule for waiver in decision.waivers] == ["performance.latency-p99"]


@pytest.mark.parametrize(("subject", "days"), [("ana", 7), ("rita", 7), ("max", 0), ("max", 31)])
def test_a_waiver_needs_the_right_and_a_bounded_time(subject: str, days: int) -> None:
    world = a_world()
    promotion = world.to_review(metrics=SLOW)
    with pytest.raises(DecisionError):
        waive(world, promotion, subject, days)
    assert world.reviews.get(promotion.id).state is PromotionState.BLOCKED


def test_a_rule_that_passed_cannot_be_waived() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError, match="does not block"):
        waive(world, promotion)


def test_a_failed_rule_that_nobody_may_waive_is_rejected_without_asking_anybody() -> None:
    world = a_world()
    promotion = world.to_validation()
    finding = Finding(rule="pickle.global", severity=Severity.CRITICAL, file="model.pkl", message="calls os.system")
    world.run_check(promotion.id, "security_scan", {"findings": (finding,)})
    world.run_check(promotion.id, "gpu_benchmark")
    assert evaluate(world.services, request_id=promotion.id).state is PromotionState.BLOCKED
    ended = conclude(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.REJECTED
    decision = signed_decision(world.services, request_id=promotion.id)
    assert decision is not None
    assert (decision.outcome, decision.signatories) == (Outcome.REJECTED, ())


def test_expediting_shortens_the_deadline_and_skips_nothing() -> None:
    world = a_world()
    promotion = world.to_review()
    sooner = expedite(world.services, request_id=promotion.id, subject="max", reason="fraud wave")
    assert sooner.expedited
    assert sooner.review_deadline is not None
    assert promotion.review_deadline is not None
    assert sooner.review_deadline < promotion.review_deadline
    assert world.vote("ana", promotion.id).state is PromotionState.IN_REVIEW


@pytest.mark.parametrize(("subject", "reason"), [("ana", "please"), ("max", " ")])
def test_expediting_needs_the_right_and_a_reason(subject: str, reason: str) -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(DecisionError):
        expedite(world.services, request_id=promotion.id, subject=subject, reason=reason)


def test_a_vote_row_written_into_the_database_counts_for_nothing() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    forged = a_vote(world.reviews.get(promotion.id), by="max")
    world.reviews.standing[promotion.id, "max"] = forged
    with pytest.raises(IntegrityError, match=f"vote {forged.id} by max"):
        conclude(world.services, request_id=promotion.id)
    assert world.reviews.get(promotion.id).state is PromotionState.IN_REVIEW


def test_a_waiver_row_written_into_the_database_unblocks_nothing() -> None:
    world = a_world()
    promotion = world.to_review(metrics=SLOW)
    forged = a_waiver(promotion, granted_at=world.now, expires_at=world.now + timedelta(days=3))
    world.reviews.granted[forged.id] = forged
    with pytest.raises(IntegrityError, match=f"waiver {forged.id} by max"):
        conclude(world.services, request_id=promotion.id)
    assert world.reviews.get(promotion.id).state is PromotionState.BLOCKED


def test_an_edited_vote_row_is_noticed() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    row = world.reviews.standing[promotion.id, "ana"]
    world.reviews.standing[promotion.id, "ana"] = row.model_copy(update={"role": "ml-manager"})
    with pytest.raises(IntegrityError, match="not in the audit log"):
        conclude(world.services, request_id=promotion.id)


def test_a_decision_of_another_request_is_not_taken_for_this_one() -> None:
    world = a_world()
    one = world.to_approved("7", semantic_version="2.1.0")
    other = world.to_review("8", request={"semantic_version": "2.2.0"})
    envelope = world.reviews.decision(one.id)
    assert envelope is not None
    world.reviews.decisions[other.id] = envelope
    with pytest.raises(IntegrityError, match="is about"):
        signed_decision(world.services, request_id=other.id)


class CrashesOnce(MemoryReviewStore):
    """Dies between the log and the first decision's row."""

    crashed = False

    def put_decision(self, request_id: str, envelope: Envelope, promotion: Promotion) -> None:
        if not self.crashed:
            self.crashed = True
            raise OutsideSystemError("review database", "the process was killed")
        super().put_decision(request_id, envelope, promotion)


def test_the_decision_that_is_stored_after_a_crash_is_named_in_the_log() -> None:
    world = a_world()
    world.reviews = CrashesOnce()
    world.services = replace(world.services, reviews=world.reviews)
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    with pytest.raises(OutsideSystemError):
        world.vote("max", promotion.id)
    world.later(minutes=3)
    assert conclude(world.services, request_id=promotion.id).state is PromotionState.APPROVED
    envelope = world.reviews.decision(promotion.id)
    assert envelope is not None
    signed = [event for event in world.events(promotion.id) if event.action is Action.DECISION_SIGNED]
    assert signed[-1].subjects["decision"] == decision_digest(envelope)
