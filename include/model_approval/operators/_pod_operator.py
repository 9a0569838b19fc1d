"""What `ValidatorPodOperator` is at run time; imported only in workers, because the cncf provider is heavy.

The provider's operator brings the pod up, survives restarts of worker and triggerer, and reads its logs. Around it
stand the two things it does not know: the capability that goes in before the pod, and the evidence that counts after
it. A pod that ended well proves nothing, and one that vanished must not pass: `finish_check` alone says whether the
check ran.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException

from model_approval.adapters.kubernetes.capability import drop_capabilities, put_capability, tie_capability
from model_approval.adapters.kubernetes.client import KubernetesClient
from model_approval.adapters.kubernetes.diagnosis import (
    has_ended,
    image_ids,
    is_final,
    not_ended,
    pod_failure_reason,
    wrong_image,
)
from model_approval.adapters.kubernetes.manifests import MAIN_CONTAINER, PodJob, validator_pod
from model_approval.adapters.kubernetes.objects import RUN_LABEL
from model_approval.policy.schema import Check
from model_approval.ports import Services
from model_approval.stages.validation import begin_check, finish_check

if TYPE_CHECKING:
    from airflow.sdk import Context
    from kubernetes.client.models import V1Pod

    from model_approval.adapters.kubernetes.objects import Json

_BENCHMARK = "gpu_benchmark"
_SECONDS_FOR_THE_REST = 30
"""How long the pod's other containers may take to end after the main one, before the pod is given up."""
_SECONDS_BETWEEN_LOGS = 15
"""How often the triggerer copies new lines of the pod's log, its progress, into the task's."""
_EVENT_RUN = "model_approval_run"
"""Key under which the run's number travels through the trigger: the pod may be gone when the task resumes."""


def pod_job(services: Services, request_id: str, *, check: str, run: int) -> PodJob | None:
    """One run of a check, with the resources and limits of the request's own frozen policy.

    Returns:
        None when that policy has no such check, or validates elsewhere: the DAG follows the policy file of today.

    Raises:
        NotFoundError: No such request.
    """
    frozen = services.reviews.policy(services.reviews.get(request_id).request.policy_digest)
    definition, cluster = frozen.check(check), frozen.target.kubernetes
    if definition is None or cluster is None:
        return None
    return PodJob(
        request_id=request_id,
        check=check,
        validator=definition.validator,
        run=run,
        resources=definition.resources,
        timeout_s=definition.timeout_s,
        target=cluster,
        own_image=definition.image,
        serves_models=_serves_models(definition),
    )


def _serves_models(check: Check) -> bool:
    """A benchmark of ours starts the models' servers, unless the policy names one that is running already."""
    return check.validator == _BENCHMARK and check.image is None and not check.parameters.get("endpoint")


class EvidencePodOperator(KubernetesPodOperator):
    """One run of one check: capability in, pod, evidence home."""

    def __init__(self, *, services: Services, job: PodJob, poll_interval_s: float, **kwargs: Any) -> None:
        super().__init__(
            **kwargs,
            kubernetes_conn_id=job.target.connection_id,
            namespace=job.target.validation_namespace,
            pod_template_dict=validator_pod(job),
            random_name_suffix=False,
            base_container_name=MAIN_CONTAINER,
            termination_message_policy="FallbackToLogsOnError",
            deferrable=True,
            poll_interval=poll_interval_s,
            logging_interval=_SECONDS_BETWEEN_LOGS,
            startup_check_interval_seconds=max(1, round(poll_interval_s)),
            startup_timeout_seconds=job.target.startup_timeout_s,
            on_finish_action="delete_succeeded_pod",
            do_xcom_push=False,
            log_pod_spec_on_failure=False,
            log_events_on_startup=False,
            trigger_kwargs={_EVENT_RUN: job.run},
        )
        self._services = services
        self._job = job
        self.evidence_digest: str | None = None
        """Set when the evidence came home."""

    def convert_config_file_to_dict(self) -> None:
        """Leave cluster credentials out of the trigger's row: the triggerer resolves the connection itself."""
        self._config_dict = None

    def get_or_create_pod(self, pod_request_obj: V1Pod, context: Context) -> V1Pod:
        """Take over the pod of an attempt that was cut off, in whatever phase it is; else make capability and pod."""
        found = self.find_pod(self._job.target.validation_namespace, context=context)
        if found is not None:
            self._continue_run(int(found.metadata.labels.get(RUN_LABEL, self._job.run)))
            return found
        job = begin_check(
            self._services,
            request_id=self._job.request_id,
            check=self._job.check,
            run=self._job.run,
            image_digest=self._job.image,
        )
        put_capability(self._cluster(), self._job, job)
        created = super().get_or_create_pod(pod_request_obj, context)
        pod = self._cluster().get("Pod", self._job.target.validation_namespace, self._job.name)
        if pod is not None:
            tie_capability(self._cluster(), pod)
        return created

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> str:
        """Bring the evidence home, or say why there is none.

        Raises:
            EvidenceError: The check is errored; the message is the pod's failure in words.
            TaskDeferred: The triggerer stumbled while the pod is well: keep waiting.
        """
        self._continue_run(int(event.get(_EVENT_RUN, self._job.run)))
        pod = self._ended_pod(event["namespace"], event["name"])
        error = self._settle(context, event, pod) if pod else _vanished(event, self._job)
        drop_capabilities(self._cluster(), self._job)
        stored = finish_check(
            self._services,
            request_id=self._job.request_id,
            check=self._job.check,
            run=self._job.run,
            error=error,
            image_digest=self._job.image,
            images=image_ids(pod or {}),
        )
        self.evidence_digest = str(stored.digest)
        return self.evidence_digest

    def _ended_pod(self, namespace: str, name: str) -> Json | None:
        """The pod; where its main container has ended, the others get some time to end too."""
        until = time.monotonic() + _SECONDS_FOR_THE_REST
        while True:
            pod = self._cluster().get("Pod", namespace, name)
            if pod is None or is_final(pod) or not has_ended(pod, MAIN_CONTAINER) or time.monotonic() > until:
                return pod
            time.sleep(0.5)

    def _settle(self, context: Context, event: dict[str, Any], pod: Json) -> str:
        """Let the provider read logs and clean up; returns what went wrong, or nothing."""
        reason = pod_failure_reason(pod, self._cluster().events_of(pod))
        told = reason or _left_over(pod) or str(event.get("message", "")) or f"the pod ended with {event['status']}"
        stumbled = event["status"] == "error" and not reason
        if not is_final(pod) and not (stumbled and event.get("_redefer_count", 0) < self.MAX_REDEFER_ATTEMPTS):
            self._give_up(pod, told)
            return told
        succeeded = pod["status"]["phase"] == "Succeeded"
        if is_final(pod):
            # The pod's phase is the truth; the trigger may have timed out, or stumbled, at the last moment.
            event = {"message": told, **event, "status": "success" if succeeded else "failed"}
        try:
            super().trigger_reentry(context, event)
        except AirflowException as err:
            self.log.info("The pod's failure, as the provider tells it: %s", err)
            return told
        return wrong_image(pod) if succeeded else told

    def _give_up(self, pod: Json, reason: str) -> None:
        """Delete a pod that will not finish: it holds a GPU, or would start after its check was called errored."""
        self.log.error("Giving up on pod %s: %s", pod["metadata"]["name"], reason)
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        if any("running" in (status.get("state") or {}) for status in statuses):
            self._write_logs(self.hook.get_pod(pod["metadata"]["name"], pod["metadata"]["namespace"]))
        self._cluster().delete("Pod", pod["metadata"]["namespace"], pod["metadata"]["name"])

    def _continue_run(self, run: int) -> None:
        self._job = replace(self._job, run=run)
        self.trigger_kwargs = {**(self.trigger_kwargs or {}), _EVENT_RUN: run}

    def _cluster(self) -> KubernetesClient:
        return KubernetesClient(self.client.api_client)


def _left_over(pod: Json) -> str:
    """What keeps a pod from its end although its main container has ended."""
    running = not_ended(pod) if has_ended(pod, MAIN_CONTAINER) and not is_final(pod) else []
    return f"the container {', '.join(running)} did not end after the check's own" if running else ""


def _vanished(event: dict[str, Any], job: PodJob) -> str:
    if event["status"] == "success" and not any("@" in image for image in (job.image, job.target.server_image)):
        return ""
    if event["status"] == "success":
        return f"the pod {event['name']} was deleted before the images it ran were compared with their digests"
    return f"the pod {event['name']} vanished before it finished: it was deleted, or its node was lost"
