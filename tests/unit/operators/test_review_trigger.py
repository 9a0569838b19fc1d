"""The waiting triggers: one query a tick for all of them, and nothing that goes wrong fails a review."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from model_approval.domain.promotion import PromotionState
from model_approval.operators.review_trigger import ReviewPoller, ReviewTrigger

pytestmark = pytest.mark.unit

TICK_S = 0.01


class Store:
    """States by request id; counts the questions, and can be away."""

    def __init__(self, **states: PromotionState) -> None:
        self.states = {name.replace("_", "-"): state for name, state in states.items()}
        self.questions: list[list[str]] = []
        self.failures = 0

    def states_of(self, ids: list[str]) -> dict[str, tuple[PromotionState, bool]]:
        self.questions.append(sorted(ids))
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the database is away")
        return {name: (self.states[name], False) for name in ids if name in self.states}


def test_all_waiting_reviews_share_one_question_a_tick() -> None:
    store = Store(pr_1=PromotionState.IN_REVIEW, pr_2=PromotionState.BLOCKED)

    async def scenario() -> list[str]:
        poller = ReviewPoller(store.states_of, TICK_S)
        waiting = [asyncio.create_task(poller.wait_for(name)) for name in ("pr-1", "pr-2")]
        while len(store.questions) < 2:
            await asyncio.sleep(TICK_S)
        store.states = {"pr-1": PromotionState.APPROVED, "pr-2": PromotionState.REJECTED}
        return list(await asyncio.gather(*waiting))

    assert asyncio.run(scenario()) == ["approved", "rejected"]
    assert ["pr-1", "pr-2"] in store.questions
    assert all(question in (["pr-1", "pr-2"], ["pr-1"], ["pr-2"]) for question in store.questions)


def test_a_database_that_is_away_keeps_the_reviews_waiting() -> None:
    store = Store(pr_1=PromotionState.APPROVED)
    store.failures = 3

    async def scenario() -> str:
        return await ReviewPoller(store.states_of, TICK_S).wait_for("pr-1")

    assert asyncio.run(scenario()) == "approved"
    assert len(store.questions) == 4


@pytest.mark.parametrize("state", [PromotionState.VALIDATING, PromotionState.BLOCKED, PromotionState.IN_REVIEW])
def test_a_review_that_still_waits_does_not_wake_its_task(state: PromotionState) -> None:
    store = Store(pr_1=state)

    async def scenario() -> None:
        await asyncio.wait_for(ReviewPoller(store.states_of, TICK_S).wait_for("pr-1"), 10 * TICK_S)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())
    assert len(store.questions) > 1


def test_a_request_that_nobody_knows_keeps_waiting_for_its_deadline() -> None:
    store = Store()

    async def scenario() -> None:
        await asyncio.wait_for(ReviewPoller(store.states_of, TICK_S).wait_for("pr-9"), 5 * TICK_S)

    with pytest.raises(TimeoutError):
        asyncio.run(scenario())


def test_a_cancelled_wait_is_no_longer_asked_for() -> None:
    store = Store(pr_1=PromotionState.IN_REVIEW, pr_2=PromotionState.IN_REVIEW)

    async def scenario() -> None:
        poller = ReviewPoller(store.states_of, TICK_S)
        gone, stays = (asyncio.create_task(poller.wait_for(name)) for name in ("pr-1", "pr-2"))
        while not store.questions:
            await asyncio.sleep(TICK_S)
        gone.cancel()
        while store.questions[-1] != ["pr-2"]:
            await asyncio.sleep(TICK_S)
        stays.cancel()

    asyncio.run(asyncio.wait_for(scenario(), 5.0))
    assert store.questions[-1] == ["pr-2"]


def test_a_trigger_carries_an_id_and_a_deadline_and_nothing_that_decides() -> None:
    path, arguments = ReviewTrigger("pr-1", "2026-06-01T12:00:00+00:00").serialize()
    assert path == "model_approval.operators.review_trigger.ReviewTrigger"
    assert arguments == {"request_id": "pr-1", "deadline": "2026-06-01T12:00:00+00:00"}


def test_a_deadline_in_the_past_leaves_no_negative_wait() -> None:
    past = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert ReviewTrigger("pr-1", past)._seconds_left() == 1.0
    assert ReviewTrigger("pr-1")._seconds_left() is None
