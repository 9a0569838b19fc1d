"""The per-run Secret that carries a validator's job: presigned URLs to read bytes and write one evidence object.

It is made right before its pod, belongs to it (so that it goes with it), and only the pod's init container mounts it.
Whoever reads it could write the evidence; so it is in no template field, XCom, log or environment variable.
"""

from __future__ import annotations

import base64
import gzip
from dataclasses import replace

from model_approval.adapters.kubernetes.client import KubernetesClient
from model_approval.adapters.kubernetes.manifests import JOB_FILE, PodJob
from model_approval.adapters.kubernetes.objects import (
    CHECK_LABEL,
    MAX_OBJECT_BYTES,
    REQUEST_LABEL,
    RUN_LABEL,
    Json,
    label_value,
    recommended_labels,
)
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import ValidatorJob


def capability_secret(pod_job: PodJob, job: ValidatorJob) -> Json:
    """The Secret of one run; pure.

    Raises:
        EvidenceError: So many files that their URLs do not fit into a Secret.
    """
    packed = base64.b64encode(gzip.compress(canonical_json(job), mtime=0)).decode()
    if len(packed) > MAX_OBJECT_BYTES:
        raise EvidenceError(
            f"the {len(job.downloads)} files of this artifact need {len(packed)} bytes of URLs; "
            f"a Kubernetes Secret carries {MAX_OBJECT_BYTES}",
            hint="pack the artifact into fewer files",
        )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "immutable": True,
        "metadata": {
            "name": pod_job.name,
            "namespace": pod_job.target.validation_namespace,
            "labels": {
                **recommended_labels(pod_job.validator, instance=pod_job.name, component="validator"),
                REQUEST_LABEL: label_value(pod_job.request_id),
                CHECK_LABEL: label_value(pod_job.check),
                RUN_LABEL: str(pod_job.run),
            },
        },
        "data": {JOB_FILE: packed},
    }


def put_capability(client: KubernetesClient, pod_job: PodJob, job: ValidatorJob) -> None:
    """Store the Secret, replacing what an attempt that died before its pod left behind.

    Raises:
        OutsideSystemError: The cluster cannot be reached or refuses.
        EvidenceError: The job does not fit into a Secret.
    """
    secret = capability_secret(pod_job, job)
    client.delete("Secret", pod_job.target.validation_namespace, pod_job.name)
    client.create(secret)


def tie_capability(client: KubernetesClient, pod: Json) -> None:
    """Make the pod its Secret's owner: whoever deletes the pod, the Secret goes too."""
    metadata = pod["metadata"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": metadata["name"], "uid": metadata["uid"]}
    client.merge("Secret", metadata["namespace"], metadata["name"], {"metadata": {"ownerReferences": [owner]}})


def drop_capabilities(client: KubernetesClient, pod_job: PodJob) -> None:
    """Delete the Secrets of this run and of earlier ones that died before their pod was made. Idempotent.

    By name and not by label, so that our service account needs no right to list or read Secrets.
    """
    for run in range(1, pod_job.run + 1):
        client.delete("Secret", pod_job.target.validation_namespace, replace(pod_job, run=run).name)
