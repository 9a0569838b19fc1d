"""The validating pod as a plain object; pure.

An init container holds the capabilities (presigned URLs), fetches and verifies the bytes; the main container runs
the supervisor, which reads the one write-only URL from memory and starts the confined validator. A validator of
somebody's own runs in an init container between the two, with the bytes and without any capability; the supervisor
then only reads its report. For a benchmark the model servers run in a container beside the supervisor's, from the image
that will serve, on the GPU; they meet on a Unix socket (docs/adr/0011). Nothing secret is in any environment variable,
argument, label or annotation: `kubectl get pod -o yaml` shows none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from model_approval.adapters.kubernetes.objects import (
    CHECK_LABEL,
    POD_SECURITY,
    QUEUE_LABEL,
    READ_ONLY_ROOT,
    REQUEST_LABEL,
    RUN_LABEL,
    Json,
    label_value,
    mount,
    placement,
    recommended_labels,
    scratch,
)
from model_approval.domain.deployment import KubernetesTarget
from model_approval.policy.schema import Resources

MAIN_CONTAINER = "base"
"""The name that KubernetesPodOperator expects."""
FETCH_CONTAINER = "fetch"
OWN_CONTAINER = "validate"
"""Where a validator of somebody's own runs."""
SERVER_CONTAINER = "server"
"""Where the model servers of a benchmark run."""
JOB_FILE = "job.json.gz"
_CAPABILITY_IN = "/capability-in"
_CAPABILITY = "/capability"
_UPLOAD_URL_FILE = f"{_CAPABILITY}/upload_url"
_WORK = "/work"
_REPORT = "/report"
_REPORT_SIZE = "64Mi"
_SERVE = "/serve"
_SERVE_SIZE = "64Mi"
_HOST_SOCKET = f"{_SERVE}/host.sock"
_MEASURING = {"cpu": "1", "memory": "2Gi", "ephemeral-storage": "1Gi"}
"""For the program that keeps the time, beside what the policy grants the model: it must never be what is slow, and
what it takes must not be taken from the model."""
_TMP = "/tmp"  # noqa: S108  (a path inside the container)


@dataclass(frozen=True)
class PodJob:
    """One run of one check as a pod. Holds no secret: the job itself lies in the Secret of the pod's name."""

    request_id: str
    check: str
    validator: str
    run: int
    resources: Resources
    timeout_s: int
    """Limit of the running validator; its supervisor keeps it."""
    target: KubernetesTarget
    own_image: str | None = None
    """Image of a validator that is none of ours."""
    serves_models: bool = False
    """Whether model servers are to run in a container of their own, and get the resources."""

    @property
    def image(self) -> str:
        """What the validator is started from, as the evidence must say."""
        return self.own_image or self.target.validator_image

    @property
    def name(self) -> str:
        """Name of pod and Secret. Deterministic: one run can never have two pods."""
        return f"{self.request_id}-{self.check.replace('_', '-').lower()}-{self.run}"


def validator_pod(job: PodJob) -> Json:
    """The pod of one run of one check."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": job.name,
            "namespace": job.target.validation_namespace,
            "labels": {
                **recommended_labels(job.validator, instance=job.name, component="validator"),
                REQUEST_LABEL: label_value(job.request_id),
                CHECK_LABEL: label_value(job.check),
                RUN_LABEL: str(job.run),
                **({QUEUE_LABEL: job.target.queue_name} if job.target.queue_name else {}),
            },
        },
        "spec": {
            "restartPolicy": "Never",
            # The cluster's own backstop, also when nobody watches. It counts from the node's acceptance, image pull and
            # fetching included; the supervisor stops the validator itself after `timeout_s`.
            "activeDeadlineSeconds": job.timeout_s + job.target.startup_timeout_s,
            "terminationGracePeriodSeconds": 5,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "serviceAccountName": "validator",
            "securityContext": POD_SECURITY,
            **placement(job.target, gpu_product=job.resources.gpu_product),
            "initContainers": [_fetch_container(job), *([_own_container(job, job.own_image)] if job.own_image else [])],
            # The main container comes first: the provider puts its own settings into the first one.
            "containers": [_main_container(job), *([_server_container(job)] if job.serves_models else [])],
            "volumes": _volumes(job),
        },
    }


def _fetch_container(job: PodJob) -> Json:
    arguments = ["--job", f"{_CAPABILITY_IN}/{JOB_FILE}", "--work", _WORK, "--capability", _UPLOAD_URL_FILE]
    return {
        **_container(job, FETCH_CONTAINER, "model_approval.validators.fetch", arguments),
        "resources": _resources(job, gpu=0),
        "volumeMounts": [
            mount("capability-in", _CAPABILITY_IN, read_only=True),
            mount("capability", _CAPABILITY),
            mount("work", _WORK),
            mount("tmp", _TMP),
        ],
    }


def _own_container(job: PodJob, image: str) -> Json:
    """The image's own entry point, with the bytes to read, a folder for the report, and nothing else."""
    return {
        "name": OWN_CONTAINER,
        "image": image,
        "imagePullPolicy": job.target.image_pull_policy,
        "args": ["--work", _WORK, "--report", f"{_REPORT}/report.json"],
        "securityContext": READ_ONLY_ROOT,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "resources": _resources(job, gpu=job.resources.gpu),
        "volumeMounts": [mount("work", _WORK, read_only=True), mount("report", _REPORT), mount("own-tmp", _TMP)],
    }


def _main_container(job: PodJob) -> Json:
    arguments = ["--work", _WORK, "--validator", job.validator, "--upload-url-file", _UPLOAD_URL_FILE]
    # The supervisor removes the URL's file once it has read it; therefore this mount is writable.
    mounts = [mount("capability", _CAPABILITY), mount("work", _WORK), mount("tmp", _TMP)]
    if job.own_image:
        arguments += ["--collect", f"{_REPORT}/report.json"]
        mounts.append(mount("report", _REPORT, read_only=True))
    resources = _resources(job, gpu=0 if job.own_image else job.resources.gpu)
    if job.serves_models:
        arguments += ["--servers", _HOST_SOCKET, "--server-image", job.target.server_image]
        mounts.append(mount("serve", _SERVE))
        resources = {"requests": dict(_MEASURING), "limits": dict(_MEASURING)}
    return {
        **_container(job, MAIN_CONTAINER, "model_approval.validators.supervisor", arguments),
        "resources": resources,
        "volumeMounts": mounts,
    }


def _server_container(job: PodJob) -> Json:
    """Candidate and champion, one after the other on one GPU. No capability; what it may read is the work folder."""
    module = "model_approval.validators.gpu_benchmark.server_host"
    return {
        **_container(job, SERVER_CONTAINER, module, ["--work", _WORK, "--folder", _SERVE]),
        "image": job.target.server_image,
        "resources": _resources(job, gpu=job.resources.gpu),
        "volumeMounts": [mount("work", _WORK, read_only=True), mount("serve", _SERVE), mount("server-tmp", _TMP)],
    }


def _container(job: PodJob, name: str, module: str, arguments: list[str]) -> Json:
    return {
        "name": name,
        "image": job.target.validator_image,
        "imagePullPolicy": job.target.image_pull_policy,
        "command": ["python", "-m", module],
        "args": arguments,
        "securityContext": READ_ONLY_ROOT,
        # The last words of a container that fails without a termination message are its log's end.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _resources(job: PodJob, *, gpu: int) -> Json:
    """Limits equal requests: the pod is of class Guaranteed, so no neighbour's burst enters a measurement."""
    amounts = {
        "cpu": job.resources.cpu,
        "memory": job.resources.memory,
        "ephemeral-storage": job.resources.ephemeral_storage,
        **({job.target.gpu_resource: str(gpu)} if gpu else {}),
    }
    return {"requests": amounts, "limits": dict(amounts)}


def _volumes(job: PodJob) -> list[Json]:
    return [
        {"name": "capability-in", "secret": {"secretName": job.name, "defaultMode": 0o440}},
        scratch("capability", "1Mi", in_memory=True),
        scratch("work", job.resources.ephemeral_storage),
        scratch("tmp", "256Mi"),
        # A scratch folder of its own: what it leaves there must not lie in our supervisor's way.
        *([scratch("report", _REPORT_SIZE), scratch("own-tmp", "256Mi")] if job.own_image else []),
        *([scratch("serve", _SERVE_SIZE), scratch("server-tmp", "256Mi")] if job.serves_models else []),
    ]
