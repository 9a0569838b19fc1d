"""Targets and deployments: where a model validates and serves, and in what form."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from model_approval.domain.base import Name, Record, Sha256, Slug, UtcTime
from model_approval.domain.digests import digest_of
from model_approval.domain.manifest import ArtifactManifest

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
HeaderValue = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{0,1024}$")]


class Runtime(StrEnum):
    """How a target runs our programs."""

    LOCAL = "local"
    KUBERNETES = "kubernetes"


class Toleration(Record):
    """A Kubernetes toleration, its own field names."""

    key: str
    operator: Literal["Exists", "Equal"] = "Exists"
    value: str | None = None
    effect: str | None = None


class KubernetesTarget(Record):
    """What is needed to run pods and a deployment on one cluster."""

    connection_id: str = "kubernetes_default"
    """Airflow connection with the cluster's credentials."""
    validation_namespace: Slug = "model-validation"
    serving_namespace: Slug = "model-serving"
    validator_image: str
    server_image: str
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    store_endpoint_url: str | None = None
    """The object store's address as pods see it; presigned URLs are signed for it. Unset: the same as ours."""
    store_reader_secret: Slug = "model-store-reader"  # noqa: S105 - the name of a secret, not one
    """Secret in the serving namespace with read-only store credentials, used by the init container alone."""
    node_selector: dict[str, str] = {}
    tolerations: tuple[Toleration, ...] = ()
    gpu_resource: str = "nvidia.com/gpu"
    gpu_products: dict[str, dict[str, str]] = {}
    """GPU product, as policies name it in `gpu_product` -> labels of the nodes that have it. One that is not listed is
    looked for under the label that NVIDIA's GPU feature discovery sets, `nvidia.com/gpu.product`."""
    queue_name: Slug | None = None
    """Kueue's LocalQueue in the validation namespace that validating pods wait in; unset: they wait for nobody."""
    runtime_class_name: str | None = None
    startup_timeout_s: Annotated[int, Field(ge=10, le=7200)] = 1200
    """How long a pod may stay unscheduled or pulling. 20 minutes: GPU nodes are often added on demand."""


class Target(Record):
    """A place where policies validate and deploy (`include/targets/*.yaml`)."""

    schema_id: Annotated[Literal["model-approval/target/v1"], Field(alias="schema")]
    name: Slug
    runtime: Runtime
    kubernetes: KubernetesTarget | None = None

    @model_validator(mode="after")
    def _complete(self) -> Target:
        if (self.runtime is Runtime.KUBERNETES) != (self.kubernetes is not None):
            raise ValueError("give the block `kubernetes` exactly when runtime is kubernetes")
        return self


class ServingConfig(Record):
    """`serving.yaml` inside the artifact: what the live endpoint promises."""

    headers: dict[HeaderName, HeaderValue] = {}
    """HTTP security headers on every answer."""
    authentication: Literal["none", "bearer"] = "none"
    max_body_bytes: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000

    @field_validator("headers")
    @classmethod
    def _unique_names(cls, headers: dict[str, str]) -> dict[str, str]:
        if len({name.casefold() for name in headers}) != len(headers):
            raise ValueError("a header is declared twice")
        return headers


class DeploymentSpec(Record):
    """Everything a deployer needs; a pure function of candidate, decision and serving configuration."""

    name: Slug
    """Deterministic: one per model and environment, so a second deployment replaces and never doubles."""
    model: Name
    version: Name
    environment: Slug
    request_id: Slug
    artifact_digest: Sha256
    artifact_uri: str
    manifest: ArtifactManifest
    policy_digest: Sha256
    decision_digest: Sha256
    serving: ServingConfig
    readiness_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 120


class Deployment(Record):
    """What is serving, as the target tells it."""

    name: Slug
    model: Name
    version: Name
    request_id: Slug
    artifact_digest: Sha256
    endpoint: str
    """For people and for `call`: a URL on a local target, `namespace/service` on a cluster."""
    ready: bool
    observed_at: UtcTime


def deployment_name(model: str, environment: str) -> str:
    """The deterministic name of a model's deployment in an environment, a DNS label of at most 63 characters."""
    words = "".join(char if char.isalnum() else "-" for char in model.lower() if char.isascii())
    short = "-".join(filter(None, words.split("-")))[:32].strip("-")
    # Eight digits of the exact names keep `Fraud_scorer` and `fraud-scorer` apart.
    return f"model-{short}-{environment[:12].strip('-')}-{digest_of([model, environment])[7:15]}"
