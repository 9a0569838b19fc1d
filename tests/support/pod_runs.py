"""Drives a deferrable operator as Airflow does, in this process: execute, trigger, re-entry.

Every segment gets an operator of its own, made anew, and the trigger is rebuilt from its serialised form: nothing may
travel from one to the next but what Airflow would carry.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskDeferred


@dataclass
class TaskInstance:
    """As much of a task instance as the provider's operator asks for."""

    task_id: str
    run_id: str
    try_number: int = 1
    dag_id: str = "promote__test"
    map_index: int = -1
    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    xcoms: dict[str, object] = field(default_factory=dict)

    def xcom_push(self, key: str, value: object) -> None:
        """Keep what the operator hands to XCom."""
        self.xcoms[key] = value

    def context(self) -> Any:
        """The context that tasks are given."""
        return {"ti": self, "run_id": self.run_id, "dag": object(), "task_state_store": None}


def defer(make: Callable[[], BaseOperator], task: TaskInstance) -> TaskDeferred:
    """Run `execute` until it defers."""
    try:
        make().execute(task.context())
    except TaskDeferred as deferral:
        return deferral
    raise AssertionError("execute returned without deferring")


def wait_for_event(deferral: TaskDeferred) -> dict[str, Any]:
    """Run the trigger, as a triggerer would, until it fires."""

    async def first_event() -> dict[str, Any]:
        path, arguments = deferral.trigger.serialize()
        module, name = path.rsplit(".", 1)
        trigger = getattr(importlib.import_module(module), name)(**arguments)
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("the trigger ended without an event")

    return asyncio.run(first_event())


def run(make: Callable[[], BaseOperator], task: TaskInstance) -> Any:
    """Run a task to its end; returns what it returns, raises what it raises."""
    return resume(make, task, defer(make, task))


def resume(make: Callable[[], BaseOperator], task: TaskInstance, deferral: TaskDeferred) -> Any:
    """Go on from a deferral to the end."""
    while True:
        event = wait_for_event(deferral)
        try:
            return getattr(make(), deferral.method_name)(task.context(), event)
        except TaskDeferred as again:
            deferral = again
