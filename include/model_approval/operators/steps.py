"""Thin task wrappers around the stages: one task, one stage, idempotent."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.standard.utils.skipmixin import SkipMixin
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from model_approval.domain.errors import ModelApprovalError
from model_approval.domain.promotion import Promotion, PromotionState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow.sdk import Context

    from model_approval.ports import Services

T = TypeVar("T")

RECORD_TASK_ID = "record"


class StepOperator(BaseOperator, SkipMixin):
    """One stage as a task. Subclasses name the stage and the states in which the run goes on.

    An error that trying again cannot mend fails the task at once; others are retried as the DAG says.
    """

    go_on_in: frozenset[PromotionState] = frozenset()
    """States after which the next task runs; in any other, everything up to `record` is skipped."""

    def run_stage(self, services: Services, request_id: str) -> Promotion:
        """Call the stage; overridden by each step."""
        raise NotImplementedError  # an abstract method: BaseOperator's metaclass leaves no room for ABC

    def execute(self, context: Context) -> str:
        """Run the stage for the promotion whose id is the run's id; returns the state (for people, not for tasks)."""
        promotion = call_stage(self.run_stage, request_id_of(context))
        return self.settle(context, promotion)

    def settle(self, context: Context, promotion: Promotion) -> str:
        """Go on, or skip to the record."""
        self.log.info("promotion %s is %s: %s", promotion.id, promotion.state, promotion.state_reason or "-")
        if self.go_on_in and promotion.state not in self.go_on_in:
            tasks = [task for task in self.get_flat_relatives(upstream=False) if task.task_id != RECORD_TASK_ID]
            self.skip(ti=context["ti"], tasks=tasks)
        return promotion.state.value


class IntakeOperator(StepOperator):
    """Pins the bytes and applies the static rules."""

    go_on_in = frozenset(PromotionState) - {PromotionState.REFUSED, PromotionState.WITHDRAWN}

    def run_stage(self, services: Services, request_id: str) -> Promotion:
        """See `stages.intake.intake`."""
        from model_approval.stages.intake import intake

        return intake(services, request_id=request_id)


class EvaluateOperator(StepOperator):
    """Holds the evidence against the policy. Runs also when a check broke: its rules are then *errored*."""

    # Also when a quick committee has approved before this task came to its end, or when it is cleared after that.
    go_on_in = frozenset(
        {PromotionState.BLOCKED, PromotionState.IN_REVIEW, PromotionState.APPROVED, PromotionState.DEPLOYING}
    )

    def run_stage(self, services: Services, request_id: str) -> Promotion:
        """See `stages.validation.evaluate`; a no that nobody may waive is decided at once."""
        from model_approval.stages.review import conclude
        from model_approval.stages.validation import evaluate

        promotion = evaluate(services, request_id=request_id)
        if promotion.candidate is None:
            raise AirflowSkipException(f"{request_id} is {promotion.state}: there is nothing to evaluate")
        return conclude(services, request_id=request_id)


class DeployOperator(StepOperator):
    """Verifies the signed decision and the bytes, then deploys."""

    def run_stage(self, services: Services, request_id: str) -> Promotion:
        """See `stages.deployment.deploy`."""
        from model_approval.stages.deployment import deploy

        return deploy(services, request_id=request_id)


class RecordOperator(StepOperator):
    """Closes the record; fails the run when the promotion did not come to an end."""

    def run_stage(self, services: Services, request_id: str) -> Promotion:
        """See `stages.closing.close`."""
        from model_approval.stages.closing import close

        promotion = close(services, request_id=request_id)
        if promotion.state.is_open:
            raise AirflowFailException(
                f"promotion {request_id} did not end: it is {promotion.state}. A task before this one failed; its log "
                "says why. Mend the cause, then clear that task with everything after it"
            )
        return promotion


class RollBackOperator(BaseOperator):
    """Takes a deployed version out of service: an operator's way back, started from the Airflow UI."""

    template_fields = ("request_id", "reason", "revoke")

    def __init__(self, *, request_id: str, reason: str, revoke: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.request_id, self.reason, self.revoke = request_id, reason, revoke

    def execute(self, context: Context) -> str:
        """See `stages.deployment.roll_back`; the audit log names who started the run."""
        from model_approval.stages.deployment import roll_back

        subject = getattr(context["dag_run"], "triggering_user_name", None) or "airflow"
        revoke = str(self.revoke).lower() == "true"
        promotion = call_stage(
            lambda services, request_id: roll_back(
                services, request_id=request_id, subject=subject, reason=self.reason, revoke=revoke
            ),
            self.request_id,
        )
        return promotion.state.value


def request_id_of(context: Context) -> str:
    """The promotion request's id: it is the run's id."""
    return str(context["run_id"])


def call_stage(stage: Callable[[Services, str], T], name: str) -> T:
    """Run a stage with this process's services, for a promotion request (or a registry) of that name.

    Raises:
        AirflowFailException: Trying again cannot help; the message says what to do.
        ModelApprovalError: It may help: the task's retries take over.
    """
    from model_approval.wiring import services

    with as_airflow_errors():
        return stage(services(), name)


@contextmanager
def as_airflow_errors() -> Iterator[None]:
    """An error that trying again cannot mend fails the task at once; others are left to its retries.

    Raises:
        AirflowFailException: Trying again cannot help; the message says what to do.
    """
    try:
        yield
    except ModelApprovalError as err:
        if err.retryable:
            raise
        raise AirflowFailException(str(err)) from err
