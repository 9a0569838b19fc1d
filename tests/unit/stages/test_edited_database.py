"""Whoever may edit any row of the review database, the registry or the model's bytes approves and deploys nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from model_approval.adapters.memory.artifacts import MemoryArtifactStore
from model_approval.domain.audit import Action, Actor, AuditEvent
from model_approval.domain.committee import Role
from model_approval.domain.deployment import deployment_name
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError
from model_approval.domain.evidence import Metric, Verdict
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.review import Choice
from model_approval.stages.audit import require_approvable
from model_approval.stages.audit.held import Told
from model_approval.stages.deployment import deploy, roll_back
from model_approval.stages.intake import intake
from model_approval.stages.review import withdraw_vote
from model_approval.stages.validation import evaluate
from tests.support.world import ARTIFACT, World, a_world, an_onnx

pytestmark = [pytest.mark.unit, pytest.mark.proof]

NAME = deployment_name("fraud-scorer", "production")
SLOW = (Metric(name="latency_p99", value=80.0, unit="ms"),)


def edit(world: World, request_id: str, **changes: object) -> None:
    """What an administrator of the database can do to a row."""
    world.reviews.promotions[request_id] = world.reviews.get(request_id).model_copy(update=changes)


def painted(promotion: Promotion, field: str) -> dict[str, object]:
    """Outcomes with every no turned into a yes."""
    outcomes = getattr(promotion, field)
    return {field: tuple(outcome.model_copy(update={"verdict": Verdict.PASSED}) for outcome in outcomes)}


def approved_by_everybody(world: World, promotion: Promotion) -> None:
    world.vote("ana", promotion.id)
    world.vote("max", promotion.id)


def another_policy(world: World) -> Promotion:
    promotion = world.to_review()
    frozen = world.reviews.policy(promotion.request.policy_digest)
    quorum = frozen.policy.review.quorum[:1]
    roles = {rule.role: Role(title="Anybody", members=("ana",)) for rule in quorum}
    review = frozen.policy.review.model_copy(update={"quorum": quorum})
    lax = frozen.model_copy(
        update={
            "committee": frozen.committee.model_copy(update={"roles": roles}),
            "policy": frozen.policy.model_copy(update={"review": review}),
        }
    )
    world.reviews.freeze_policy(lax)
    edit(world, promotion.id, request=promotion.request.model_copy(update={"policy_digest": lax.digest}))
    return promotion


def another_requester(world: World) -> Promotion:
    promotion = world.to_review(request={"requester": "ana"})
    payload = promotion.request.payload.model_copy(update={"requester": "rita"})
    edit(world, promotion.id, request=promotion.request.model_copy(update={"payload": payload}))
    return promotion


def another_owner(world: World) -> Promotion:
    world.register(owner="ana")
    world.tag()
    (promotion,) = world.accept()
    promotion = intake(world.services, request_id=promotion.id)
    assert promotion.candidate is not None
    edit(world, promotion.id, candidate=promotion.candidate.model_copy(update={"owner": None}))
    return checked(world, promotion)


def a_failed_check_called_passed(world: World) -> Promotion:
    promotion = world.to_review(metrics=SLOW)
    edit(world, promotion.id, state=PromotionState.IN_REVIEW, **painted(promotion, "check_outcomes"))
    return promotion


def a_refusal_called_validating(world: World) -> Promotion:
    world.register(files={**ARTIFACT, "model.onnx": an_onnx("7"), "hidden.pkl": b"\x80\x04K\x01."})
    world.tag()
    (promotion,) = world.accept()
    promotion = intake(world.services, request_id=promotion.id)
    edit(world, promotion.id, state=PromotionState.VALIDATING, **painted(promotion, "intake_outcomes"))
    return checked(world, promotion)


def a_failed_run_deleted(world: World) -> Promotion:
    promotion = world.to_review()
    world.run_check(promotion.id, "gpu_benchmark", {"metrics": SLOW}, run=2)
    del world.reviews.runs[promotion.id, "gpu_benchmark", 2]
    world.reviews.promotions[promotion.id] = promotion
    return promotion


def a_deadline_removed(world: World) -> Promotion:
    promotion = world.to_review()
    world.later(days=30)
    edit(world, promotion.id, review_deadline=None)
    return promotion


def a_rejection_deleted(world: World) -> Promotion:
    promotion = world.to_review()
    world.vote("ana", promotion.id, Choice.REJECT, "no drift report")
    world.reviews.standing.clear()
    world.reviews.vote_ids.clear()
    world.reviews.decisions.clear()
    world.reviews.promotions[promotion.id] = promotion
    return promotion


def checked(world: World, promotion: Promotion) -> Promotion:
    world.run_check(promotion.id, "security_scan")
    world.run_check(promotion.id, "gpu_benchmark")
    return evaluate(world.services, request_id=promotion.id)


@pytest.mark.parametrize(
    ("edited", "words"),
    [
        (another_policy, "another request was received"),
        (another_requester, "another request was received"),
        (another_owner, "another artifact, champion, owner"),
        (a_failed_check_called_passed, "not those that were evaluated"),
        (a_refusal_called_validating, "another artifact, champion, owner or intake result"),
        (a_failed_run_deleted, "a check has run since"),
        (a_deadline_removed, "its review's time"),
        (a_rejection_deleted, "decided already: rejected"),
    ],
)
def test_nothing_edited_in_the_database_is_ever_approved(edited: Callable[[World], Promotion], words: str) -> None:
    world = a_world()
    promotion = edited(world)
    with pytest.raises(IntegrityError, match=words):
        approved_by_everybody(world, promotion)
    assert world.reviews.decision(promotion.id) is None


def test_a_no_that_was_cast_and_is_gone_from_the_database_is_missed() -> None:
    world = a_world()
    promotion = world.to_review()
    told = Told(
        request=promotion.request.asked_digest,
        candidate=promotion.pinned_digest,
        evidence=promotion.evidence_digest,
        evaluated_at=world.now,
        votes={"ana": a_cast_event(promotion, by="ana", choice=Choice.REJECT)},
    )
    with pytest.raises(IntegrityError, match="ana voted reject, and that vote is gone"):
        require_approvable(
            told,
            promotion,
            world.reviews.policy(promotion.request.policy_digest),
            evidence=world.reviews.evidence(promotion.id),
            votes=[],
            now=world.now,
        )


def a_cast_event(promotion: Promotion, *, by: str, choice: Choice) -> AuditEvent:
    return AuditEvent(
        id=sha256_of(b"event"),
        stream=promotion.id,
        action=Action.VOTE_CAST,
        actor=Actor.person(by),
        occurred_at=promotion.state_since,
        subjects={"vote": sha256_of(b"vote"), "evidence": promotion.evidence_digest or ""},
        details={"choice": choice},
    )


def test_a_withdrawn_vote_cannot_be_put_back_by_withdrawing_an_edited_one() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    key = (promotion.id, "ana")
    world.reviews.standing[key] = world.reviews.standing[key].model_copy(update={"reason": "edited"})
    with pytest.raises(IntegrityError, match="is not in the audit log"):
        withdraw_vote(world.services, request_id=promotion.id, reviewer="ana")


@pytest.mark.parametrize("revoke", [True, False])
def test_what_was_taken_out_of_service_never_comes_back_by_its_row(revoke: bool) -> None:
    world = a_world()
    promotion = world.to_deployed()
    roll_back(world.services, request_id=promotion.id, subject="max", reason="licence withdrawn", revoke=revoke)
    edit(world, promotion.id, state=PromotionState.APPROVED)
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert "it ended: " in ended.state_reason
    assert world.server.applied == ["7"]


def test_a_rejected_version_called_superseded_does_not_come_back_by_a_rollback() -> None:
    world = a_world()
    rejected = world.to_review("7", request={"semantic_version": "2.1.0"})
    world.vote("ana", rejected.id, Choice.REJECT, "no drift report")
    world.later(hours=1)
    serving = world.to_deployed("8", semantic_version="2.2.0")
    edit(world, rejected.id, state=PromotionState.SUPERSEDED)
    roll_back(world.services, request_id=serving.id, subject="olga", reason="errors in production")
    assert NAME not in world.server.serving
    assert world.registry.champion("fraud-scorer", "production") is None


@pytest.mark.parametrize("way", ["to_review", "to_approved"])
def test_a_state_edited_to_deployed_makes_no_champion(way: str) -> None:
    world = a_world()
    promotion = getattr(world, way)()
    edit(world, promotion.id, state=PromotionState.DEPLOYED)
    with pytest.raises(IntegrityError):
        deploy(world.services, request_id=promotion.id)
    assert world.registry.champion("fraud-scorer", "production") is None


@dataclass
class Flickering:
    """A store in which somebody swaps one file as soon as it was hashed."""

    behind: MemoryArtifactStore
    path: str
    swapped: bytes

    def __getattr__(self, name: str) -> object:
        return getattr(self.behind, name)

    def read(self, uri: str, path: str, *, limit_bytes: int) -> bytes:
        return self.swapped if path == self.path else self.behind.read(uri, path, limit_bytes=limit_bytes)


def flicker(world: World, path: str, swapped: bytes) -> None:
    world.services = replace(world.services, artifacts=Flickering(world.artifacts, path, swapped))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["serving.yaml", "smoke_input.json"])
def test_a_file_swapped_between_hashing_and_reading_deploys_nothing_to_stay(path: str) -> None:
    world = a_world()
    promotion = world.to_approved()
    flicker(world, path, b"authentication: none\n")
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert f"{path}: pinned as sha256:" in ended.state_reason
    assert NAME not in world.server.serving


def test_a_serving_configuration_swapped_while_intake_looks_is_refused() -> None:
    world = a_world()
    world.register(files={**ARTIFACT, "model.onnx": an_onnx("7"), "serving.yaml": b"authentication: none\n"})
    world.tag()
    (promotion,) = world.accept()
    flicker(world, "serving.yaml", ARTIFACT["serving.yaml"])
    refused = intake(world.services, request_id=promotion.id)
    assert refused.state is PromotionState.REFUSED
    assert "serving.yaml: pinned as sha256:" in refused.state_reason


def test_a_champion_cannot_be_hidden_from_the_comparison_by_moving_the_alias() -> None:
    world = a_world()
    serving = world.to_deployed("7", semantic_version="2.1.0")
    world.registry.uncrown("fraud-scorer", "production")
    promotion = world.to_validation("8", semantic_version="2.2.0")
    assert promotion.candidate is not None
    assert promotion.candidate.champion is not None
    assert promotion.candidate.champion.request_id == serving.id
