"""The objects that serve one approved artifact, as plain objects; pure.

The pod trusts nobody with its bytes: an init container downloads them with read-only credentials and compares each
file with the approved manifest before the server can start, at every restart anew. What a version serves with lies in
an immutable ConfigMap of its own, so an old pod that restarts during a roll-out still verifies against its own bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from model_approval.adapters.kubernetes.objects import (
    ARTIFACT_LABEL,
    CONFIG_LABEL,
    MAX_OBJECT_BYTES,
    POD_SECURITY,
    PREFIX,
    READ_ONLY_ROOT,
    Json,
    digest_label,
    mount,
    recommended_labels,
    scratch,
)
from model_approval.domain.deployment import DeploymentSpec, KubernetesTarget
from model_approval.domain.digests import canonical_json, digest_of
from model_approval.domain.errors import DeploymentError

PORT = 8080
SERVER_CONTAINER = "server"
VERIFY_CONTAINER = "verify"
COMPONENT = "model-server"
_MODEL = "/model"
_FILES = f"{_MODEL}/files"
"""A folder inside the volume: the volume's own cannot be removed and made anew when the container restarts."""
_CONFIG = "/config"
_MANIFEST = f"{_CONFIG}/manifest.json"
_TOKEN = "/token"  # noqa: S105  (a folder)
_RESOURCES: Json = {
    "requests": {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"},
    "limits": {"memory": "1Gi", "ephemeral-storage": "20Gi"},
}
"""A start for models of up to some hundred megabytes. No CPU limit: throttling shows up as latency."""


@dataclass(frozen=True)
class Store:
    """What a pod needs to know of the object store, beside the target's endpoint."""

    region: str = "us-east-1"
    artifact_root: str | None = None
    """S3 URI behind `mlflow-artifacts:/`."""


def serving_objects(spec: DeploymentSpec, target: KubernetesTarget, store: Store) -> list[Json]:
    """ConfigMap, Service, NetworkPolicy and Deployment, in the order in which they are applied.

    Raises:
        DeploymentError: The artifact is not on S3, or its manifest does not fit into a ConfigMap.
    """
    return [
        _config_map(spec, target),
        _service(spec, target),
        _network_policy(spec, target),
        _deployment(spec, target, store),
    ]


def fetchable_uri(uri: str, artifact_root: str | None) -> str:
    """The artifact's place on S3, as a pod can fetch it.

    Raises:
        DeploymentError: It has none.
    """
    parts = urlsplit(uri)
    if parts.scheme == "mlflow-artifacts" and artifact_root:
        return f"{artifact_root.rstrip('/')}/{unquote(parts.path).strip('/')}"
    if parts.scheme != "s3":
        raise DeploymentError(f"{uri} cannot be fetched by a pod", hint="register artifacts on an S3 store (s3://...)")
    return uri


def instance_labels(name: str) -> dict[str, str]:
    """What selects the objects of one deployment, whichever version."""
    return {"app.kubernetes.io/instance": name, "app.kubernetes.io/component": COMPONENT}


def config_name(spec: DeploymentSpec) -> str:
    """The ConfigMap's name: another manifest or serving configuration has another one."""
    return f"{spec.name}-{config_hash(spec)}"


def config_hash(spec: DeploymentSpec) -> str:
    """Ten hexadecimal digits over everything a pod is configured with."""
    return digest_of(_config_files(spec)).removeprefix("sha256:")[:10]


def token_name(name: str) -> str:
    """The Secret with the bearer token that a deployment's callers present."""
    return f"{name}-token"


def token_secret(name: str, target: KubernetesTarget, token: str) -> Json:
    """The Secret of a deployment's bearer token."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {"name": token_name(name), "namespace": target.serving_namespace, "labels": _labels(name)},
        "stringData": {"token": token},
    }


def annotations_of(spec: DeploymentSpec) -> dict[str, str]:
    """What is served and on whose word; read back by `current` and compared by admission control."""
    return {
        f"{PREFIX}/model": spec.model,
        f"{PREFIX}/version": spec.version,
        f"{PREFIX}/environment": spec.environment,
        f"{PREFIX}/request": spec.request_id,
        f"{PREFIX}/artifact-digest": spec.artifact_digest,
        f"{PREFIX}/policy-digest": spec.policy_digest,
        f"{PREFIX}/decision-digest": spec.decision_digest,
    }


def _labels(name: str) -> dict[str, str]:
    return {**recommended_labels(COMPONENT, instance=name, component=COMPONENT)}


def _metadata(spec: DeploymentSpec, target: KubernetesTarget, name: str | None = None) -> Json:
    return {"name": name or spec.name, "namespace": target.serving_namespace, "labels": _labels(spec.name)}


def _config_files(spec: DeploymentSpec) -> dict[str, str]:
    return {
        "manifest.json": canonical_json(spec.manifest).decode(),
        "serving.json": canonical_json(spec.serving).decode(),
    }


def _config_map(spec: DeploymentSpec, target: KubernetesTarget) -> Json:
    files = _config_files(spec)
    size = sum(len(text) for text in files.values())
    if size > MAX_OBJECT_BYTES:
        raise DeploymentError(
            f"the manifest of {len(spec.manifest.files)} files has {size} bytes; at most {MAX_OBJECT_BYTES} fit",
            hint="pack the artifact into fewer files",
        )
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": _metadata(spec, target, config_name(spec)),
        "immutable": True,
        "data": files,
    }


def _service(spec: DeploymentSpec, target: KubernetesTarget) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(spec, target),
        "spec": {
            "type": "ClusterIP",
            "selector": instance_labels(spec.name),
            "ports": [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def _network_policy(spec: DeploymentSpec, target: KubernetesTarget) -> Json:
    """Callers reach the one port. Egress is the namespace's own policy: to the object store alone."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _metadata(spec, target),
        "spec": {
            "podSelector": {"matchLabels": instance_labels(spec.name)},
            "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
        },
    }


def _deployment(spec: DeploymentSpec, target: KubernetesTarget, store: Store) -> Json:
    annotations = annotations_of(spec)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**_metadata(spec, target), "annotations": annotations},
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": max(spec.readiness_timeout_s, 30),
            # The old version serves until the new one is ready: no gap, and a version that cannot start harms nobody.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": instance_labels(spec.name)},
            "template": {
                "metadata": {
                    "labels": {
                        **_labels(spec.name),
                        ARTIFACT_LABEL: digest_label(spec.artifact_digest),
                        CONFIG_LABEL: config_hash(spec),
                    },
                    # Only what changes the pod's behaviour: a new decision on the same bytes must not restart it.
                    "annotations": {f"{PREFIX}/artifact-digest": spec.artifact_digest},
                },
                "spec": _pod_spec(spec, target, store),
            },
        },
    }


def _pod_spec(spec: DeploymentSpec, target: KubernetesTarget, store: Store) -> Json:
    return {
        "serviceAccountName": "model-server",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": POD_SECURITY,
        "initContainers": [_verify_container(spec, target, store)],
        "containers": [_server_container(spec, target)],
        "volumes": [
            {"name": "config", "configMap": {"name": config_name(spec)}},
            {"name": "token", "secret": {"secretName": token_name(spec.name), "optional": True, "defaultMode": 0o440}},
            scratch("model", "20Gi"),
            scratch("tmp", "64Mi"),
        ],
    }


def _verify_container(spec: DeploymentSpec, target: KubernetesTarget, store: Store) -> Json:
    reader, uri = target.store_reader_secret, fetchable_uri(spec.artifact_uri, store.artifact_root)
    endpoint = ["--endpoint-url", target.store_endpoint_url] if target.store_endpoint_url else []
    arguments = ["--manifest", _MANIFEST, "--uri", uri, "--folder", _FILES, "--region", store.region]
    return {
        **_container(target, VERIFY_CONTAINER, "model_approval.validators.serve_fetch", [*arguments, *endpoint]),
        "env": [
            _from_secret("AWS_ACCESS_KEY_ID", reader, "access_key"),
            _from_secret("AWS_SECRET_ACCESS_KEY", reader, "secret_key"),
            # Else the SDK asks the node's metadata service for credentials when these are refused.
            {"name": "AWS_EC2_METADATA_DISABLED", "value": "true"},
        ],
        "volumeMounts": [mount("config", _CONFIG, read_only=True), mount("model", _MODEL), mount("tmp", "/tmp")],  # noqa: S108
    }


def _server_container(spec: DeploymentSpec, target: KubernetesTarget) -> Json:
    token = ["--token-file", f"{_TOKEN}/token"] if spec.serving.authentication == "bearer" else []
    arguments = ["--artifact", _FILES, "--manifest", _MANIFEST, "--serving", f"{_CONFIG}/serving.json"]
    listen = ["--host", "0.0.0.0", "--port", str(PORT)]  # noqa: S104  (inside a pod; the NetworkPolicy bounds who comes)
    probe: Json = {"httpGet": {"path": "/healthz", "port": "http"}, "timeoutSeconds": 3}
    return {
        **_container(target, SERVER_CONTAINER, "model_approval.validators.model_server", [*arguments, *listen, *token]),
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "readinessProbe": {**probe, "periodSeconds": 2, "failureThreshold": 3},
        "livenessProbe": {**probe, "periodSeconds": 10, "failureThreshold": 6, "initialDelaySeconds": 30},
        "volumeMounts": [
            mount("model", _MODEL, read_only=True),
            mount("config", _CONFIG, read_only=True),
            mount("token", _TOKEN, read_only=True),
            mount("tmp", "/tmp"),  # noqa: S108
        ],
    }


def _container(target: KubernetesTarget, name: str, module: str, arguments: list[str]) -> Json:
    return {
        "name": name,
        "image": target.server_image,
        "imagePullPolicy": target.image_pull_policy,
        "command": ["python", "-m", module],
        "args": arguments,
        "securityContext": READ_ONLY_ROOT,
        "resources": _RESOURCES,
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _from_secret(variable: str, secret: str, key: str) -> Json:
    return {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
