"""The task that runs one check as a pod on the target cluster.

At run time it is a KubernetesPodOperator, with its deferral, reattachment and logs; but the cncf provider and the
kubernetes client take seconds to import, and every DAG file would pay for them at each parse. So the DAG holds this
light operator, and what it becomes is imported in the worker (`_pod_operator`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from model_approval.domain.deployment import Target
from model_approval.operators.steps import as_airflow_errors
from model_approval.policy.schema import Check

if TYPE_CHECKING:
    from airflow.sdk import Context

    from model_approval.operators._pod_operator import EvidencePodOperator
    from model_approval.ports import Services

_SLACK_S = 300
"""For reading logs and clean-up, beyond what scheduling, starting and running may take."""


class ValidatorPodOperator(BaseOperator):
    """Runs one check of the promotion whose id is the DAG run's id; deferrable.

    Green means that evidence came home and keeps the contract, whatever it found. Red means that the check is
    *errored*, with the pod's failure in words; clearing the task runs it again as the next run. What really runs comes
    from the policy frozen into the request; check and target of the DAG only name it and bound its time.

    Args:
        check: The check as the policy file defines it now.
        target: The cluster that the policy names now.
        poll_interval_s: How often the triggerer looks at the pod.
        services: Makes the services; `wiring.services` unless a test brings its own.
    """

    custom_operator_name = "KubernetesPodOperator (validator)"
    ui_color = "#dbe8f6"

    def __init__(
        self,
        *,
        check: Check,
        target: Target,
        poll_interval_s: float = 2.0,
        services: Callable[[], Services] | None = None,
        **kwargs: Any,
    ) -> None:
        startup_s = target.kubernetes.startup_timeout_s if target.kubernetes else 0
        kwargs.setdefault("execution_timeout", timedelta(seconds=check.timeout_s + 2 * startup_s + _SLACK_S))
        super().__init__(**kwargs)
        self.check_name = check.name
        self.poll_interval_s = poll_interval_s
        self._make_services = services
        self._running: EvidencePodOperator | None = None

    def execute(self, context: Context) -> str | None:
        """Start the pod, or find the one of an attempt that was cut off, and defer.

        Returns:
            The evidence's digest, when that pod had already ended.
        """
        with as_airflow_errors():
            operator = self._operator(context)
            # Not `execute`: Airflow refuses an operator that is executed inside another one.
            operator.execute_async(context)
            return operator.evidence_digest

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> str:
        """Resume when the triggerer saw the pod end, or gave up on it.

        Returns:
            The evidence's digest.

        Raises:
            AirflowFailException: The check is errored; says why.
        """
        with as_airflow_errors():
            return self._operator(context).trigger_reentry(context, event)

    def on_kill(self) -> None:
        """Delete the pod when the task is killed while a worker has it; the trigger does so while it is deferred."""
        if self._running is not None:
            self._running.on_kill()

    def _operator(self, context: Context) -> EvidencePodOperator:
        from model_approval.operators._pod_operator import EvidencePodOperator, pod_job

        services, run_id = self._services(), str(context["run_id"])
        job = pod_job(services, run_id, check=self.check_name, run=int(context["ti"].try_number))
        if job is None:
            raise AirflowSkipException(f"the policy frozen into {run_id} has no check {self.check_name} on a cluster")
        self._running = EvidencePodOperator(
            task_id=self.task_id,
            services=services,
            job=job,
            poll_interval_s=self.poll_interval_s,
            execution_timeout=self.execution_timeout,
        )
        return self._running

    def _services(self) -> Services:
        if self._make_services is not None:
            return self._make_services()
        from model_approval.wiring import services

        return services()
