"""Waking a parked task leans on Airflow's internals; this holds it to the installed version, on a real database."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.contract

WAKE = """
import json
from sqlalchemy import select
from model_review.wake import wake_review

for _ in range({times}):
    wake_review(dag_id=dag_id, run_id={run_id!r})
with create_session() as session:
    tasks = session.scalars(select(TaskInstance).where(TaskInstance.dag_id == dag_id))
    print(json.dumps({{task.task_id: [task.state, task.next_method, task.next_kwargs] for task in tasks}}))
"""


def parked_and_woken(airflow_home, *, dag_id: str, state: str = "deferred", run_id: str = "pr-7", times: int = 1):
    then = WAKE.format(run_id=run_id, times=times)
    return json.loads(airflow_home.add_run(dag_id, "pr-7", state=state, then=then))


def test_a_deferred_review_task_is_scheduled_to_resume_and_no_other(airflow_home) -> None:
    tasks = parked_and_woken(airflow_home, dag_id="promote__woken")
    state, method, kwargs = tasks["review"]
    assert (state, method) == ("scheduled", "resume")
    assert kwargs == {"event": {"request_id": "pr-7", "why": "the review page"}}
    assert tasks["deploy"] == ["deferred", "resume", {}]


def test_waking_twice_is_waking_once(airflow_home) -> None:
    assert parked_and_woken(airflow_home, dag_id="promote__twice", times=2)["review"][0] == "scheduled"


@pytest.mark.parametrize("state", ["running", "success", "up_for_retry"])
def test_a_task_that_does_not_wait_is_left_alone(airflow_home, state: str) -> None:
    assert parked_and_woken(airflow_home, dag_id=f"promote__{state}", state=state)["review"] == [state, "resume", {}]


def test_an_unknown_run_is_no_error(airflow_home) -> None:
    tasks = parked_and_woken(airflow_home, dag_id="promote__other", run_id="pr-unknown")
    assert tasks["review"][0] == "deferred"


def test_a_database_out_of_reach_is_logged_and_never_raised(airflow_home, tmp_path) -> None:
    script = """
import os
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = "sqlite:///%s/empty.db"
from model_review.wake import wake_review
wake_review(dag_id="promote__x", run_id="pr-7")
print("went on")
"""
    assert airflow_home.python(script % tmp_path).endswith("went on")
