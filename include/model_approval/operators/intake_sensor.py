"""Step 1 in Airflow: a deferrable sensor over one registry, and the task that accepts what it saw."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent

from model_approval.operators.steps import call_stage
from model_approval.policy.schema import dag_id_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_approval.domain.promotion import Promotion
    from model_approval.ports import Services

log = logging.getLogger(__name__)
_MAX_BACKOFF_S = 60.0


def _something_pending(registry: str, watched_for_s: float) -> bool:
    from model_approval.stages.request import pending
    from model_approval.wiring import services

    return pending(services(), registry, watched_for_s=watched_for_s)


class TaggedVersionTrigger(BaseTrigger):
    """Polls one registry until a tagged version, or an accepted request without a run, is there."""

    def __init__(self, registry: str, poll_s: float) -> None:
        super().__init__()
        self.registry, self.poll_s = registry, poll_s

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """What the triggerer stores to start again elsewhere."""
        return (
            "model_approval.operators.intake_sensor.TaggedVersionTrigger",
            {"registry": self.registry, "poll_s": self.poll_s},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire once. A registry that is away is waited for: its tags are still there when it comes back."""
        pause_s, began = self.poll_s, time.monotonic()
        while True:
            try:
                if await asyncio.to_thread(_something_pending, self.registry, time.monotonic() - began):
                    yield TriggerEvent({"registry": self.registry})
                    return
                pause_s = self.poll_s
            except Exception:  # the trigger's outer edge: an exception here would fail the sensor
                pause_s = min(pause_s * 2, _MAX_BACKOFF_S)
                log.exception("registry %s cannot be read; next try in %ss", self.registry, pause_s)
            await asyncio.sleep(pause_s)


class TaggedVersionSensor(BaseSensorOperator):
    """Waits for tagged model versions without holding a worker slot."""

    def __init__(self, *, registry: str, poll_s: float, **kwargs: Any) -> None:
        super().__init__(poke_interval=poll_s, **kwargs)
        self.registry, self.poll_s = registry, poll_s

    def execute(self, context: Context) -> None:
        """Defer at once: the first look is the trigger's too, so that an outage never fails the task."""
        self.defer(
            trigger=TaggedVersionTrigger(self.registry, self.poll_s),
            method_name="resume",
            timeout=timedelta(seconds=self.timeout),
        )

    def resume(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Something is there; the next task takes it."""
        self.log.info("registry %s has something to accept", self.registry)


class AcceptRequestsOperator(BaseOperator):
    """Turns tags into promotion requests and lists the runs to start."""

    def __init__(self, *, registry: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.registry = registry

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Arguments for one `TriggerDagRunOperator` per request: ids alone."""
        waiting = call_stage(self._accept, self.registry)
        self.log.info("%d promotions to start", len(waiting))
        return [_run_arguments(promotion) for promotion in waiting]

    @staticmethod
    def _accept(services: Services, registry: str) -> list[Promotion]:
        from model_approval.stages.request import accept_tagged

        return accept_tagged(services, registry)


def _run_arguments(promotion: Promotion) -> dict[str, Any]:
    return {
        "trigger_dag_id": dag_id_of(promotion.request.policy_name),
        "trigger_run_id": promotion.id,
        "conf": {"request_id": promotion.id},
    }
