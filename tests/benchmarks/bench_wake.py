"""How long a parked review sleeps on after its decision, on the real stack: `make bench`.

The figure that matters is a ratio: the time from the answered vote to the deployment's start, against what the same
stack needs from one finished task to the start of the next (Airflow's own pace on this machine).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

import pytest

from model_approval.domain.audit import Action
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.stack import Stack
from model_approval.embedded.steps import Progress
from tests.support.promoter import Promoter, quick_config

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

ROUNDS = 5


@pytest.fixture(scope="module")
def promoter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoter]:
    folder = tmp_path_factory.mktemp("bench")
    options = StackOptions(folder / "state", 0, 0, 0, sample=False, config_dir=quick_config(folder))
    with Stack(options, Progress()) as stack:
        stack.start()
        stack.wait_for_dags({"promotion_intake__mlflow", "promote__fraud_scoring"})
        with closing(Promoter(stack)) as promoter:
            yield promoter


def gap_s(promoter: Promoter, request_id: str, before: str, after: str) -> float:
    """Seconds between one task's end and another's start."""
    path = f"/api/v2/dags/promote__fraud_scoring/dagRuns/{request_id}/taskInstances"
    tasks = {task["task_id"]: task for task in promoter.stack.user("olga").call("GET", path)["task_instances"]}
    ended = datetime.fromisoformat(tasks[before]["end_date"])
    return (datetime.fromisoformat(tasks[after]["start_date"]) - ended).total_seconds()


def test_a_decision_wakes_its_task(promoter: Promoter) -> None:
    woken, pace = [], []
    for number in range(ROUNDS):
        model = f"fraud-bench-{number}"
        promoter.tag(promoter.variant(model))
        request = promoter.reach(model, "in_review")
        promoter.approve(request["id"])
        promoter.run_ended(promoter.reach(model, "deployed"))
        events = {event.action: event.occurred_at for event in promoter.events(request["id"])}
        woken.append((events[Action.DEPLOYMENT_STARTED] - events[Action.DECISION_SIGNED]).total_seconds())
        pace.append(gap_s(promoter, request["id"], "deploy", "record"))
    wake, usual = statistics.median(woken), statistics.median(pace)
    print(f"\ndecision -> deployment begins: median {wake:.2f} s of {[f'{s:.2f}' for s in woken]}")
    print(f"task -> next task on this machine: median {usual:.2f} s; ratio {wake / usual:.1f}")
    assert len(woken) == ROUNDS
