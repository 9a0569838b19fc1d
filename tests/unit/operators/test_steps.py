"""The thin wrappers: after which states the run goes on, and what is skipped when it does not."""

from __future__ import annotations

from itertools import pairwise

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped

from model_approval.domain.promotion import PromotionState
from model_approval.operators.approval import ModelApprovalOperator
from model_approval.operators.steps import (
    DeployOperator,
    EvaluateOperator,
    IntakeOperator,
    RecordOperator,
    StepOperator,
)
from tests.support.builders import a_promotion

pytestmark = pytest.mark.unit


class RunningTask:
    """As much of a running task as skipping asks for."""

    map_index = -1

    def __init__(self) -> None:
        self.pushed: dict[str, object] = {}

    def xcom_push(self, key: str, value: object) -> None:
        self.pushed[key] = value


def a_path() -> dict[str, StepOperator]:
    with DAG("promote__test", schedule=None):
        steps: list[StepOperator] = [
            IntakeOperator(task_id="intake"),
            EvaluateOperator(task_id="evaluate"),
            ModelApprovalOperator(task_id="review"),
            DeployOperator(task_id="deploy"),
            RecordOperator(task_id="record"),
        ]
        for step, after in pairwise(steps):
            step >> after
    return {step.task_id: step for step in steps}


def skipped_after(task_id: str, state: PromotionState) -> set[str]:
    """The tasks that are skipped when that step ends in that state."""
    try:
        a_path()[task_id].settle({"ti": RunningTask()}, a_promotion(state=state))  # type: ignore[typeddict-item]
    except DownstreamTasksSkipped as skipped:
        return set(skipped.tasks)
    return set()


@pytest.mark.parametrize(
    ("task_id", "state"),
    [
        ("intake", PromotionState.VALIDATING),
        ("evaluate", PromotionState.IN_REVIEW),
        ("evaluate", PromotionState.BLOCKED),
        # A committee may be quicker than the task, and an operator may clear it later.
        ("evaluate", PromotionState.APPROVED),
        ("evaluate", PromotionState.DEPLOYING),
        ("review", PromotionState.APPROVED),
        ("review", PromotionState.DEPLOYED),
        ("deploy", PromotionState.DEPLOYMENT_FAILED),
    ],
)
def test_the_run_goes_on(task_id: str, state: PromotionState) -> None:
    assert skipped_after(task_id, state) == set()


@pytest.mark.parametrize(
    ("task_id", "state", "skipped"),
    [
        ("intake", PromotionState.REFUSED, {"evaluate", "review", "deploy"}),
        ("evaluate", PromotionState.REJECTED, {"review", "deploy"}),
        ("review", PromotionState.REJECTED, {"deploy"}),
        ("review", PromotionState.EXPIRED, {"deploy"}),
        ("review", PromotionState.WITHDRAWN, {"deploy"}),
        ("review", PromotionState.REMEDIATION_REQUESTED, {"deploy"}),
    ],
)
def test_a_no_skips_everything_but_the_record(task_id: str, state: PromotionState, skipped: set[str]) -> None:
    assert skipped_after(task_id, state) == skipped
