"""Nothing serves without a verified approval of exactly these bytes, and what fails leaves the champion in place."""

from __future__ import annotations

import pytest

from model_approval.adapters.memory.signing import MemorySigner
from model_approval.domain.attestation import decision_statement
from model_approval.domain.audit import Action
from model_approval.domain.deployment import deployment_name
from model_approval.domain.errors import OutsideSystemError, RequestRefusedError
from model_approval.domain.promotion import PromotionState
from model_approval.stages.closing import close
from model_approval.stages.deployment import deploy, roll_back
from tests.support.builders import a_decision
from tests.support.world import World, a_world

pytestmark = pytest.mark.unit

NAME = deployment_name("fraud-scorer", "production")


def serving_version(world: World) -> str | None:
    spec = world.server.serving.get(NAME)
    return spec.version if spec else None


def two_versions() -> tuple[World, str]:
    """Version 7 serves, version 8 is approved; returns its request id."""
    world = a_world()
    world.to_deployed("7", semantic_version="2.1.0")
    return world, world.to_approved("8", semantic_version="2.2.0").id


def test_an_approved_version_serves_and_is_the_champion() -> None:
    world = a_world()
    promotion = world.to_deployed()
    assert promotion.state is PromotionState.DEPLOYED
    assert serving_version(world) == "7"
    champion = world.registry.champion("fraud-scorer", "production")
    assert champion is not None
    assert champion.version == "7"
    assert world.registry_state() == "deployed"
    assert world.verify().problems == ()


def test_every_effect_is_in_the_log_before_it() -> None:
    world = a_world()
    promotion = world.to_deployed()
    actions = world.actions(promotion.id)
    assert actions[-4:] == [
        Action.DECISION_SIGNED,
        Action.DEPLOYMENT_STARTED,
        Action.DEPLOYMENT_VERIFIED,
        Action.REGISTRY_UPDATED,
    ]


def test_deploying_twice_is_deploying_once() -> None:
    world = a_world()
    promotion = world.to_deployed()
    assert deploy(world.services, request_id=promotion.id).state is PromotionState.DEPLOYED
    assert world.server.applied == ["7"]


def test_a_successful_looking_task_without_an_approval_deploys_nothing() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(RequestRefusedError, match="not approved: nothing is deployed"):
        deploy(world.services, request_id=promotion.id)
    assert world.server.applied == []


def test_a_state_edited_to_approved_without_a_signature_deploys_nothing() -> None:
    world = a_world()
    promotion = world.to_review()
    world.reviews.promotions[promotion.id] = promotion.model_copy(update={"state": PromotionState.APPROVED})
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert "no signed decision" in ended.state_reason
    assert world.server.applied == []


def test_a_decision_signed_with_a_foreign_key_deploys_nothing() -> None:
    world = a_world()
    promotion = world.to_review()
    forged = MemorySigner().sign(decision_statement(a_decision(promotion)).to_bytes())
    world.reviews.decisions[promotion.id] = forged
    world.reviews.promotions[promotion.id] = promotion.model_copy(update={"state": PromotionState.APPROVED})
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert world.server.applied == []


def test_bytes_that_changed_after_the_approval_are_refused_naming_the_file() -> None:
    world = a_world()
    promotion = world.to_approved()
    world.artifacts.put("memory://fraud-scorer/7", {"model.onnx": b"swapped after approval"})
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert "model.onnx: pinned as sha256:" in ended.state_reason
    assert world.server.applied == []


def test_a_file_added_after_the_approval_is_refused() -> None:
    world = a_world()
    promotion = world.to_approved()
    world.artifacts.put("memory://fraud-scorer/7", {"extra.py": b"print()"})
    assert "extra.py: was not there" in deploy(world.services, request_id=promotion.id).state_reason


def test_an_approval_that_ran_out_no_longer_deploys() -> None:
    world = a_world()
    promotion = world.to_approved()
    world.later(hours=73)
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.EXPIRED
    assert "was valid until" in ended.state_reason
    assert world.server.applied == []


def test_evidence_edited_in_the_database_after_the_approval_stops_the_deployment() -> None:
    world = a_world()
    promotion = world.to_approved()
    key = (promotion.id, "gpu_benchmark", 1)
    row = world.reviews.runs[key]
    world.reviews.runs[key] = row.model_copy(update={"digest": "sha256:" + "0" * 64})
    ended = deploy(world.services, request_id=promotion.id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert "gpu_benchmark run 1" in ended.state_reason


@pytest.mark.parametrize(
    ("flaw", "words"),
    [
        ({"breaks": "the container exited with code 1"}, "exited with code 1"),
        ({"drops_headers": True}, "does not send the promised header X-Content-Type-Options"),
        ({"lets_anybody_in": True}, "answered 200 to a request without a token"),
    ],
)
def test_a_deployment_that_breaks_its_promise_is_rolled_back_to_the_champion(
    flaw: dict[str, object], words: str
) -> None:
    world, request_id = two_versions()
    world.server.healthy = {"7"}
    for name, value in flaw.items():
        setattr(world.server, name, value)
    ended = deploy(world.services, request_id=request_id)
    assert ended.state is PromotionState.DEPLOYMENT_FAILED
    assert words in ended.state_reason
    assert "fraud-scorer 7 serves again" in ended.state_reason
    assert serving_version(world) == "7"
    champion = world.registry.champion("fraud-scorer", "production")
    assert champion is not None
    assert champion.version == "7"


def test_a_first_deployment_that_fails_leaves_nothing_serving() -> None:
    world = a_world()
    promotion = world.to_approved()
    world.server.breaks = "out of memory"
    ended = deploy(world.services, request_id=promotion.id)
    assert "nothing serves now" in ended.state_reason
    assert serving_version(world) is None


def test_an_unreachable_target_is_no_verdict_and_the_step_resumes() -> None:
    world = a_world()
    promotion = world.to_approved()
    world.server.away = True
    with pytest.raises(OutsideSystemError):
        deploy(world.services, request_id=promotion.id)
    assert world.reviews.get(promotion.id).state is PromotionState.DEPLOYING
    world.server.away = False
    assert deploy(world.services, request_id=promotion.id).state is PromotionState.DEPLOYED


def test_a_registry_that_is_away_after_the_deployment_is_updated_by_the_next_try() -> None:
    world = a_world()
    promotion = world.to_approved()
    world.registry.down = True
    with pytest.raises(OutsideSystemError):
        deploy(world.services, request_id=promotion.id)
    assert world.reviews.get(promotion.id).state is PromotionState.DEPLOYED
    world.registry.down = False
    deploy(world.services, request_id=promotion.id)
    assert world.registry_state() == "deployed"


def test_a_new_champion_supersedes_the_old_one() -> None:
    world, request_id = two_versions()
    assert deploy(world.services, request_id=request_id).state is PromotionState.DEPLOYED
    assert world.registry_state("7") == "superseded"
    assert [promotion.id for promotion in world.reviews.deployed("fraud-scorer", "production")] == [request_id]


def test_a_registry_that_is_away_while_superseding_learns_of_it_at_the_next_try() -> None:
    world, request_id = two_versions()
    world.registry.down = True
    with pytest.raises(OutsideSystemError):
        deploy(world.services, request_id=request_id)
    world.registry.down = False
    deploy(world.services, request_id=request_id)
    assert world.registry_state("7") == "superseded"


def test_rolling_back_brings_the_version_before_back_with_its_own_approval() -> None:
    world, request_id = two_versions()
    deploy(world.services, request_id=request_id)
    ended = roll_back(world.services, request_id=request_id, subject="olga", reason="errors in production")
    assert ended.state is PromotionState.ROLLED_BACK
    assert serving_version(world) == "7"
    assert world.registry_state("7") == "deployed"
    champion = world.registry.champion("fraud-scorer", "production")
    assert champion is not None
    assert champion.version == "7"


def test_versions_come_back_in_the_reverse_of_the_order_in_which_they_went() -> None:
    world = a_world()
    ids = {}
    for version in ("7", "8", "9"):
        ids[version] = world.to_deployed(version, semantic_version=f"2.{version}.0").id
        world.later(hours=1)
    for gone, back in (("9", "8"), ("8", "7")):
        world.later(minutes=5)
        roll_back(world.services, request_id=ids[gone], subject="olga", reason="errors in production")
        assert serving_version(world) == back
        assert world.reviews.get(ids[back]).state is PromotionState.DEPLOYED


def test_a_roll_back_that_was_interrupted_ends_the_same_when_it_is_run_again() -> None:
    world, request_id = two_versions()
    deploy(world.services, request_id=request_id)
    before = world.reviews.get(request_id)
    roll_back(world.services, request_id=request_id, subject="olga", reason="errors in production")
    # As if the process had died just before its last write.
    world.reviews.promotions[request_id] = before
    roll_back(world.services, request_id=request_id, subject="olga", reason="errors in production")
    assert serving_version(world) == "7"
    assert [one.request.version for one in world.reviews.deployed("fraud-scorer", "production")] == ["7"]


def test_rolling_back_the_only_version_leaves_nothing_serving_and_no_champion() -> None:
    world = a_world()
    promotion = world.to_deployed()
    roll_back(world.services, request_id=promotion.id, subject="olga", reason="errors in production")
    assert serving_version(world) is None
    assert world.registry.champion("fraud-scorer", "production") is None


def test_a_revoked_approval_never_deploys() -> None:
    world = a_world()
    promotion = world.to_approved()
    roll_back(world.services, request_id=promotion.id, subject="max", reason="licence withdrawn", revoke=True)
    with pytest.raises(RequestRefusedError, match="is revoked"):
        deploy(world.services, request_id=promotion.id)


def test_a_rollback_needs_something_deployed_and_a_reason() -> None:
    world = a_world()
    promotion = world.to_review()
    with pytest.raises(RequestRefusedError, match="nothing to take out of service"):
        roll_back(world.services, request_id=promotion.id, subject="olga", reason="errors")
    with pytest.raises(RequestRefusedError, match="give a reason"):
        roll_back(world.services, request_id=promotion.id, subject="olga", reason="")


def test_a_rolled_back_version_is_not_restored_when_its_bytes_changed_meanwhile() -> None:
    world, request_id = two_versions()
    deploy(world.services, request_id=request_id)
    world.artifacts.put("memory://fraud-scorer/7", {"model.onnx": b"swapped while superseded"})
    ended = roll_back(world.services, request_id=request_id, subject="olga", reason="errors in production")
    assert ended.state is PromotionState.ROLLED_BACK
    assert serving_version(world) is None


def test_a_version_is_taken_out_of_service_even_when_the_bytes_of_the_one_before_are_gone() -> None:
    world, request_id = two_versions()
    deploy(world.services, request_id=request_id)
    world.artifacts.forget("memory://fraud-scorer/7")
    ended = roll_back(world.services, request_id=request_id, subject="olga", reason="errors in production")
    assert ended.state is PromotionState.ROLLED_BACK
    assert serving_version(world) is None
    assert world.registry.champion("fraud-scorer", "production") is None


@pytest.mark.parametrize("way", ["to_deployed", "to_approved", "to_review"])
def test_closing_makes_registry_store_and_log_agree(way: str) -> None:
    world = a_world()
    promotion = getattr(world, way)()
    closed = close(world.services, request_id=promotion.id)
    assert world.registry_state() == closed.state.value
    assert world.actions(promotion.id)[-1] is Action.PROMOTION_CLOSED
