"""Wakes the waiting review task, so that a decision takes effect in a second instead of at the next poll.

The only place that reaches into Airflow's internals (`handle_event_submit`, the `task_instance` table); a contract
test holds it to the installed version. A wake-up is a hint: the task reads and verifies the signed decision itself,
and the trigger's poll finds it too, so whatever fails here is logged and never raised.
"""

from __future__ import annotations

import logging

from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import handle_event_submit
from airflow.triggers.base import TriggerEvent
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import select
from sqlalchemy.orm import Session

log = logging.getLogger(__name__)
REVIEW_TASK_ID = "review"
"""As `dags/promotions.py` names it."""


def wake_review(*, dag_id: str, run_id: str) -> None:
    """Schedule the run's deferred review task now. Does nothing when it is not waiting."""
    try:
        with create_session() as session:
            woken = _wake(session, dag_id, run_id)
        log.info("review task of %s %s: %s", dag_id, run_id, "woken" if woken else "was not waiting")
    except Exception:  # the outer edge: the decision is stored and signed, nothing here may undo that
        log.exception("could not wake the review task of %s %s; its poll will find the decision", dag_id, run_id)


def _wake(session: Session, dag_id: str, run_id: str) -> bool:
    waiting = select(TaskInstance).where(
        TaskInstance.dag_id == dag_id,
        TaskInstance.run_id == run_id,
        TaskInstance.task_id == REVIEW_TASK_ID,
        TaskInstance.map_index == -1,
    )
    # The row lock makes triggerer and page take turns: whoever comes second finds the task scheduled.
    task = session.scalar(waiting.with_for_update(of=TaskInstance))
    if task is None or task.state != TaskInstanceState.DEFERRED:
        return False
    event = TriggerEvent({"request_id": run_id, "why": "the review page"})
    handle_event_submit(event, task_instance=task, session=session)
    return True
