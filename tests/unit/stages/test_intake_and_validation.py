"""Pinning, static rules, and evidence that is believed only when it is about these bytes."""

from __future__ import annotations

import pytest

from model_approval.domain.audit import Action
from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.errors import EvidenceError, IntegrityError, OutsideSystemError, RequestRefusedError
from model_approval.domain.evidence import Verdict
from model_approval.domain.promotion import PromotionState
from model_approval.domain.review import Choice
from model_approval.stages.evidence import verify_evidence
from model_approval.stages.intake import intake
from model_approval.stages.progress import load
from model_approval.stages.validation import begin_check, evaluate, finish_check
from tests.support.builders import a_committee, a_frozen_policy
from tests.support.world import IMAGE, a_world

pytestmark = pytest.mark.unit


def test_intake_pins_the_bytes_by_digest_and_goes_on() -> None:
    world = a_world()
    promotion = world.to_validation()
    assert promotion.state is PromotionState.VALIDATING
    assert promotion.candidate is not None
    assert promotion.candidate.artifact_digest == world.artifacts.manifest("memory://fraud-scorer/7").artifact_digest
    assert [document.kind for document in promotion.candidate.documents] == ["model_card"]
    assert world.registry_state() == "validating"


def test_intake_twice_is_intake_once() -> None:
    world = a_world()
    promotion = world.to_validation()
    assert intake(world.services, request_id=promotion.id) == promotion
    assert world.actions(promotion.id).count(Action.ARTIFACT_PINNED) == 1


def test_a_refusal_names_every_rule_and_shows_it_on_the_registry_entry() -> None:
    world = a_world()
    promotion = world.to_validation(semantic_version="seven")
    assert promotion.state is PromotionState.REFUSED
    assert "versioning.semantic-version" in promotion.state_reason
    assert world.registry_state() == "refused"
    assert "semantic" in world.registry.get("fraud-scorer", "7").tags["promotion.reason"]


def test_a_version_not_greater_than_the_champion_is_refused() -> None:
    world = a_world()
    world.to_deployed("7", semantic_version="2.1.0")
    second = world.to_validation("8", semantic_version="2.0.9")
    assert second.state is PromotionState.REFUSED
    assert "versioning.greater-than-champion" in second.state_reason


def test_the_champion_is_pinned_with_the_digest_it_was_approved_with() -> None:
    world = a_world()
    first = world.to_deployed("7", semantic_version="2.1.0")
    second = world.to_validation("8", semantic_version="2.2.0")
    assert second.candidate is not None
    assert second.candidate.champion is not None
    assert first.candidate is not None
    assert second.candidate.champion.artifact_digest == first.candidate.artifact_digest


def test_bytes_that_changed_between_two_requests_of_one_version_are_refused() -> None:
    world = a_world()
    first = world.to_review()
    world.vote("ana", first.id, Choice.REQUEST_REMEDIATION)
    world.artifacts.put("memory://fraud-scorer/7", {"model.onnx": b"other bytes"})
    world.tag()
    (again,) = world.accept()
    second = intake(world.services, request_id=again.id)
    assert second.state is PromotionState.REFUSED
    assert "versioning.immutable" in second.state_reason


def test_a_request_that_nobody_could_approve_is_refused_with_the_reason() -> None:
    committee = a_committee(
        roles={
            "security": {"title": "Security", "members": ["rita"]},
            "ml-manager": {"title": "ML manager", "members": ["max"]},
        }
    )
    world = a_world(a_frozen_policy(committee=committee))
    promotion = world.to_validation()
    assert promotion.state is PromotionState.REFUSED
    assert "security needs 1, may vote: nobody" in promotion.state_reason


def test_the_run_owner_of_the_model_cannot_be_counted_on_as_an_approver() -> None:
    committee = a_committee(
        roles={
            "security": {"title": "Security", "members": ["sam"]},
            "ml-manager": {"title": "ML manager", "members": ["max"]},
        }
    )
    world = a_world(a_frozen_policy(committee=committee))
    world.register(owner="sam")
    world.tag()
    (accepted,) = world.accept()
    assert intake(world.services, request_id=accepted.id).state is PromotionState.REFUSED


def test_an_unreadable_serving_configuration_is_refused_by_name() -> None:
    world = a_world()
    world.register(files={"model.onnx": b"m", "serving.yaml": b"headers: [", "docs/model_card.md": b"# c"})
    world.tag()
    (accepted,) = world.accept()
    promotion = intake(world.services, request_id=accepted.id)
    assert promotion.state is PromotionState.REFUSED
    assert "serving.yaml" in promotion.state_reason


def test_an_unreachable_registry_leaves_the_request_to_be_taken_up_again() -> None:
    world = a_world()
    world.register()
    world.tag()
    (accepted,) = world.accept()
    world.registry.down = True
    with pytest.raises(OutsideSystemError):
        intake(world.services, request_id=accepted.id)
    world.registry.down = False
    assert intake(world.services, request_id=accepted.id).state is PromotionState.VALIDATING


def test_good_evidence_opens_the_review_with_a_deadline() -> None:
    world = a_world()
    promotion = world.to_review()
    assert promotion.state is PromotionState.IN_REVIEW
    assert promotion.review_deadline is not None
    assert {outcome.verdict for outcome in promotion.check_outcomes} == {Verdict.PASSED}
    assert world.registry_state() == "in_review"


def test_evaluating_twice_changes_nothing() -> None:
    world = a_world()
    promotion = world.to_review()
    assert evaluate(world.services, request_id=promotion.id) == promotion


def test_a_check_without_evidence_blocks_as_errored_and_says_so() -> None:
    world = a_world()
    promotion = world.to_validation()
    world.run_check(promotion.id, "security_scan")
    blocked = evaluate(world.services, request_id=promotion.id)
    assert blocked.state is PromotionState.BLOCKED
    verdicts = {outcome.check: outcome.verdict for outcome in blocked.check_outcomes}
    assert verdicts == {"security_scan": Verdict.PASSED, "gpu_benchmark": Verdict.ERRORED}


def test_a_validator_that_leaves_nothing_turns_its_task_red_with_the_reason() -> None:
    world = a_world()
    promotion = world.to_validation()
    begin_check(world.services, request_id=promotion.id, check="security_scan", run=1, image_digest=IMAGE)
    with pytest.raises(EvidenceError, match="ended without leaving evidence"):
        finish_check(world.services, request_id=promotion.id, check="security_scan", run=1)
    assert world.reviews.evidence(promotion.id)[0].error == "the validator ended without leaving evidence"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", "pr-another"),
        ("check", "gpu_benchmark"),
        ("artifact_digest", sha256_of(b"other bytes")),
        ("image_digest", sha256_of(b"other image")),
    ],
)
def test_evidence_about_something_else_is_errored_naming_the_field(field: str, value: str) -> None:
    world = a_world()
    promotion = world.to_validation()
    with pytest.raises(EvidenceError, match=f"{field} is"):
        world.run_check(promotion.id, "security_scan", {field: value})


@pytest.mark.parametrize("raw", [b"", b"{}", b"[1]", b"\xff\xfe", b'{"schema_id": "model-approval/evidence/v1"}'])
def test_evidence_that_is_not_evidence_is_errored(raw: bytes) -> None:
    world = a_world()
    promotion = world.to_validation()
    job = begin_check(world.services, request_id=promotion.id, check="security_scan", run=1, image_digest=IMAGE)
    world.evidence.upload(job.upload_url, raw)
    with pytest.raises(EvidenceError, match=r"evidence\.json"):
        finish_check(world.services, request_id=promotion.id, check="security_scan", run=1)


def test_an_error_in_words_wins_over_evidence_that_was_written_before_it() -> None:
    world = a_world()
    promotion = world.to_validation()
    job = begin_check(world.services, request_id=promotion.id, check="security_scan", run=1, image_digest=IMAGE)
    world.evidence.upload(job.upload_url, canonical_json(world.good_evidence(promotion.id, "security_scan")))
    with pytest.raises(EvidenceError, match="OOMKilled"):
        finish_check(world.services, request_id=promotion.id, check="security_scan", run=1, error="OOMKilled")


def test_a_check_that_runs_again_replaces_its_verdict_and_kills_the_votes() -> None:
    world = a_world()
    promotion = world.to_review()
    world.vote("ana", promotion.id)
    world.run_check(promotion.id, "gpu_benchmark", run=2)
    assert world.reviews.get(promotion.id).state is PromotionState.VALIDATING
    again = evaluate(world.services, request_id=promotion.id)
    assert again.state is PromotionState.IN_REVIEW
    assert again.evidence_digest != promotion.evidence_digest
    assert world.vote("max", promotion.id).state is PromotionState.IN_REVIEW, "ana's vote was on the old evidence"


def test_a_check_cannot_run_after_the_review_ended() -> None:
    world = a_world()
    promotion = world.to_approved()
    with pytest.raises(RequestRefusedError, match="is approved"):
        begin_check(world.services, request_id=promotion.id, check="security_scan", run=2, image_digest=IMAGE)


def test_an_edited_evidence_row_is_found_by_comparing_with_the_object() -> None:
    world = a_world()
    promotion = world.to_review()
    key = (promotion.id, "gpu_benchmark", 1)
    row = world.reviews.runs[key]
    assert row.evidence is not None
    faster = row.evidence.metrics[0].model_copy(update={"value": 1.0})
    forged = row.evidence.model_copy(update={"metrics": (faster,)})
    world.reviews.runs[key] = row.model_copy(update={"evidence": forged})
    promotion, frozen = load(world.services, promotion.id)
    with pytest.raises(IntegrityError, match="the database row is not the stored object"):
        verify_evidence(world.services, promotion, frozen)
