"""The trigger behind the approval task. All waiting reviews of a triggerer share one poller and one query a tick.

An exception that leaves `run` fails the task, so the poller catches everything and backs off; a review must survive
a database that is away for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from model_approval.domain.promotion import PromotionState

log = logging.getLogger(__name__)

StatesOf = Callable[[list[str]], dict[str, tuple[PromotionState, bool]]]
WAITING = frozenset({PromotionState.VALIDATING, PromotionState.BLOCKED, PromotionState.IN_REVIEW})
"""States in which the review goes on; a cleared check leads back to `validating`."""
_MAX_BACKOFF_S = 60.0


class ReviewPoller:
    """Asks for the states of all waiting reviews at once, as long as somebody waits."""

    def __init__(self, states_of: StatesOf, interval_s: float) -> None:
        self._states_of, self._interval_s = states_of, interval_s
        self._waiting: dict[str, list[asyncio.Future[str]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def wait_for(self, request_id: str) -> str:
        """Return the state's name once the review no longer waits."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(request_id, []).append(future)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll(), name="review-poller")
        try:
            return await future
        finally:
            self._waiting[request_id].remove(future)
            if not self._waiting[request_id]:
                del self._waiting[request_id]

    async def _poll(self) -> None:
        pause_s = self._interval_s
        while self._waiting:
            ids = list(self._waiting)
            try:
                # The store is synchronous; in a thread it cannot block the triggerer's event loop.
                states = await asyncio.to_thread(self._states_of, ids)
                pause_s = self._interval_s
                self._resolve(states)
            except Exception:  # the trigger's outer edge: whatever breaks, the reviews go on waiting
                pause_s = min(pause_s * 2, _MAX_BACKOFF_S)
                log.exception(
                    "cannot read the review store; %d reviews keep waiting, next try in %ss", len(ids), pause_s
                )
            await asyncio.sleep(pause_s)

    def _resolve(self, states: dict[str, tuple[PromotionState, bool]]) -> None:
        for request_id, (state, _) in states.items():
            if state in WAITING:
                continue
            for future in self._waiting.get(request_id, []):
                if not future.done():
                    future.set_result(state.value)


_pollers: dict[int, ReviewPoller] = {}


def _shared_poller() -> ReviewPoller:
    """One poller for each event loop (a triggerer has one)."""
    loop_id = id(asyncio.get_running_loop())
    if loop_id not in _pollers:
        from model_approval.settings import load_settings
        from model_approval.wiring import services

        def states_of(ids: list[str]) -> dict[str, tuple[PromotionState, bool]]:
            return services().reviews.states_of(ids)

        _pollers[loop_id] = ReviewPoller(states_of, load_settings().review_poll_s)
    return _pollers[loop_id]


class ReviewTrigger(BaseTrigger):
    """Fires when a review no longer waits or its deadline has come. Carries an id, never a decision."""

    def __init__(self, request_id: str, deadline: str | None = None) -> None:
        super().__init__()
        self.request_id, self.deadline = request_id, deadline

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer stores to start again elsewhere."""
        return (
            "model_approval.operators.review_trigger.ReviewTrigger",
            {"request_id": self.request_id, "deadline": self.deadline},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait; one event."""
        why = "the deadline"
        with contextlib.suppress(TimeoutError):
            why = await asyncio.wait_for(_shared_poller().wait_for(self.request_id), self._seconds_left())
        yield TriggerEvent({"request_id": self.request_id, "why": why, "at": time.time()})

    def _seconds_left(self) -> float | None:
        if self.deadline is None:
            return None
        return max(0.0, (datetime.fromisoformat(self.deadline) - datetime.now(UTC)).total_seconds()) + 1.0
