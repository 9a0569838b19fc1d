"""A check on a `local` target: the same validator programs as child processes, confined by themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from model_approval.domain.errors import EvidenceError
from model_approval.operators.steps import call_stage, request_id_of

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_approval.policy.schema import Check
    from model_approval.ports import Services

_SLACK_S = 300
"""For fetching the bytes and taking the evidence home."""


class LocalValidatorOperator(BaseOperator):
    """Runs one validator beside the worker. For laptops and demonstrations: a cluster's pods isolate better."""

    def __init__(self, *, check: Check, **kwargs: Any) -> None:
        kwargs.setdefault("execution_timeout", timedelta(seconds=check.timeout_s + _SLACK_S))
        super().__init__(**kwargs)
        self.check = check.name

    def execute(self, context: Context) -> str | None:
        """Start, run, take the evidence home; returns the evidence's digest."""
        run = int(context["ti"].try_number)
        return call_stage(lambda services, request_id: self._run(services, request_id, run), request_id_of(context))

    def _run(self, services: Services, request_id: str, run: int) -> str | None:
        from model_approval.stages.validation import begin_check, finish_check
        from model_approval.wiring import validator_runner

        runner = validator_runner()
        if services.reviews.policy(services.reviews.get(request_id).request.policy_digest).check(self.check) is None:
            raise AirflowSkipException(f"the policy frozen into {request_id} has no check {self.check}")
        image = runner.image_digest
        job = begin_check(services, request_id=request_id, check=self.check, run=run, image_digest=image)
        error = ""
        try:
            runner.run_job(job)
        except EvidenceError as err:
            error = str(err)
        stored = finish_check(
            services, request_id=request_id, check=self.check, run=run, error=error, image_digest=image
        )
        return stored.digest
