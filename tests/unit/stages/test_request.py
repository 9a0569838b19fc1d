"""From tag to request: once, in words, and without losing anything."""

from __future__ import annotations

import json

import pytest

from model_approval.domain.audit import Action
from model_approval.domain.errors import NotFoundError, OutsideSystemError, RequestRefusedError
from model_approval.domain.promotion import PromotionState
from model_approval.domain.request import Channel
from model_approval.stages.intake import intake
from model_approval.stages.request import accept_tagged, pending, submit
from tests.support.world import PAYLOAD, a_world

pytestmark = pytest.mark.unit


def test_a_tag_becomes_one_request_and_the_tag_says_so() -> None:
    world = a_world()
    world.register()
    world.tag()
    (promotion,) = world.accept()
    assert promotion.state is PromotionState.REQUESTED
    tags = world.registry.get("fraud-scorer", "7").tags
    assert (tags["promotion"], tags["promotion.request_id"]) == ("accepted", promotion.id)
    assert world.actions(promotion.id) == [Action.REQUEST_RECEIVED]


def test_an_answered_tag_is_not_found_again() -> None:
    world = a_world()
    world.register()
    world.tag()
    world.accept()
    assert world.registry.find_requested() == []


def test_accepting_twice_gives_the_same_request() -> None:
    world = a_world()
    world.register()
    world.tag()
    first = world.accept()
    world.tag()
    assert [promotion.id for promotion in world.accept()] == [promotion.id for promotion in first]
    assert len(world.reviews.promotions) == 1


def test_a_hundred_tags_become_a_hundred_requests_in_one_poll() -> None:
    world = a_world()
    for number in range(100):
        world.register(str(number))
        world.tag(str(number))
    assert len({promotion.id for promotion in world.accept()}) == 100


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ("", "payload: missing"),
        ("{not json", "payload."),
        (json.dumps({**PAYLOAD, "reason": " "}), "payload.reason"),
        (json.dumps({**PAYLOAD, "enviroment": "production"}), "payload.enviroment"),
        (json.dumps({key: value for key, value in PAYLOAD.items() if key != "requester"}), "payload.requester"),
        (json.dumps({**PAYLOAD, "environment": "moon"}), "no policy governs"),
        ("x" * 70_000, "70000 characters"),
    ],
)
def test_a_bad_payload_is_refused_on_the_registry_entry_with_field_and_reason(payload: str, words: str) -> None:
    world = a_world()
    world.register()
    world.tag(payload=payload)
    assert world.accept() == []
    tags = world.registry.get("fraud-scorer", "7").tags
    assert tags["promotion"] == "refused"
    assert words in tags["promotion.reason"]
    assert world.actions("system") == [Action.REQUEST_REFUSED]


def test_one_bad_tag_does_not_hold_up_the_others() -> None:
    world = a_world()
    for version, payload in (("1", "{"), ("2", json.dumps(PAYLOAD))):
        world.register(version)
        world.tag(version, payload=payload)
    assert [promotion.request.version for promotion in world.accept()] == ["2"]


def test_an_unreachable_registry_loses_nothing() -> None:
    world = a_world()
    world.register()
    world.tag()
    world.registry.down = True
    with pytest.raises(OutsideSystemError):
        world.accept()
    world.registry.down = False
    assert len(world.accept()) == 1


def test_a_crash_between_row_and_tag_is_mended_by_the_next_poll() -> None:
    world = a_world()
    world.register()
    world.tag()
    (first,) = world.accept()
    # As if the process had died before it answered the tag.
    world.tag()
    (second,) = world.accept()
    assert second.id == first.id
    assert world.actions(first.id) == [Action.REQUEST_RECEIVED]


def test_a_request_without_a_run_is_offered_for_starting_until_its_run_begins() -> None:
    world = a_world()
    world.register()
    world.tag()
    (promotion,) = world.accept()
    assert pending(world.services, "mlflow")
    intake(world.services, request_id=promotion.id)
    assert not pending(world.services, "mlflow")
    assert world.accept() == []


def test_a_request_whose_run_never_begins_does_not_keep_the_sensor_firing() -> None:
    world = a_world()
    world.register()
    world.tag()
    world.accept()
    world.later(minutes=2)
    assert not pending(world.services, "mlflow", watched_for_s=5)
    assert pending(world.services, "mlflow", watched_for_s=61)


def test_asking_again_after_a_refusal_is_a_new_request_linked_to_the_old() -> None:
    world = a_world()
    first = world.to_validation(semantic_version="not a version")
    assert first.state is PromotionState.REFUSED
    world.tag()
    (second,) = world.accept()
    assert (second.request.attempt, second.request.previous_id) == (2, first.id)


def test_the_command_line_ends_in_the_same_use_case() -> None:
    world = a_world()
    world.register()
    promotion = submit(
        world.services,
        registry="mlflow",
        model="fraud-scorer",
        version="7",
        payload_json=json.dumps(PAYLOAD),
        channel=Channel.CLI,
    )
    assert promotion.request.channel is Channel.CLI
    assert [waiting.id for waiting in accept_tagged(world.services, "mlflow")] == [promotion.id]


def test_a_bad_submission_changes_nothing_in_the_registry() -> None:
    world = a_world()
    world.register()
    with pytest.raises(RequestRefusedError, match=r"payload\.reason"):
        submit(
            world.services,
            registry="mlflow",
            model="fraud-scorer",
            version="7",
            payload_json=json.dumps({**PAYLOAD, "reason": ""}),
            channel=Channel.PAGE,
        )
    assert world.registry.get("fraud-scorer", "7").tags == {}


def test_an_unknown_registry_is_named_with_the_known_ones() -> None:
    with pytest.raises(NotFoundError, match="configured: mlflow"):
        pending(a_world().services, "sagemaker")
