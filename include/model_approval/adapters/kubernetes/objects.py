"""Parts that the pods of validators and model servers share: names, labels, security contexts, resources.

Objects are plain JSON as the API server takes it, so that a golden file shows exactly what is applied.
"""

from __future__ import annotations

from typing import Any

from model_approval.domain.deployment import KubernetesTarget

Json = dict[str, Any]
"""A Kubernetes object or a part of one. Stays inside this package."""

FIELD_MANAGER = "model-approval"
"""Owner of the fields we apply; a hand edit shows up as another manager's."""
PREFIX = "model-approval"
USER_ID = 65532
"""`nonroot` of our images."""

REQUEST_LABEL = f"{PREFIX}/request"
CHECK_LABEL = f"{PREFIX}/check"
RUN_LABEL = f"{PREFIX}/run"
ARTIFACT_LABEL = f"{PREFIX}/artifact"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_GPU_PRODUCT_LABEL = "nvidia.com/gpu.product"
CONFIG_LABEL = f"{PREFIX}/config"

READ_ONLY_ROOT: Json = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
}
"""Security context of each container."""

POD_SECURITY: Json = {
    "runAsNonRoot": True,
    "runAsUser": USER_ID,
    "runAsGroup": USER_ID,
    "fsGroup": USER_ID,
    "seccompProfile": {"type": "RuntimeDefault"},
}
"""Security context of each pod; with `READ_ONLY_ROOT` it meets Pod Security's level `restricted`."""

MAX_OBJECT_BYTES = 1_000_000
"""What a Secret or ConfigMap can carry; the API server's limit is 1 MiB with metadata."""


def label_value(text: str) -> str:
    """The longest end-trimmed prefix of a text that a label value may hold (63 characters)."""
    return text[:63].rstrip("-._")


def digest_label(digest: str) -> str:
    """A digest as a label value: 63 of its 64 hexadecimal digits. The whole digest stands in an annotation."""
    return label_value(digest.removeprefix("sha256:"))


def recommended_labels(name: str, *, instance: str, component: str) -> dict[str, str]:
    """Kubernetes' recommended labels."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/instance": label_value(instance),
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/part-of": "model-approval-workflow",
        "app.kubernetes.io/managed-by": FIELD_MANAGER,
    }


def placement(target: KubernetesTarget, *, gpu_product: str | None = None) -> Json:
    """Where the target wants its pods: node selector, tolerations, runtime class; absent when it wants nothing."""
    wishes: Json = {}
    selector = dict(target.node_selector)
    if gpu_product:
        selector |= target.gpu_products.get(gpu_product, {_GPU_PRODUCT_LABEL: gpu_product})
    if selector:
        wishes["nodeSelector"] = selector
    if target.tolerations:
        wishes["tolerations"] = [toleration.model_dump(exclude_none=True) for toleration in target.tolerations]
    if target.runtime_class_name:
        wishes["runtimeClassName"] = target.runtime_class_name
    return wishes


def scratch(name: str, size: str, *, in_memory: bool = False) -> Json:
    """An empty volume with a size limit; the kubelet evicts a pod that goes beyond it."""
    medium = {"medium": "Memory"} if in_memory else {}
    return {"name": name, "emptyDir": {**medium, "sizeLimit": size}}


def mount(name: str, path: str, *, read_only: bool = False) -> Json:
    """A volume's place in a container."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}
