"""Serves approved artifacts on a Kubernetes cluster: a `Deployer` by server-side apply.

Idempotent by nature: the same spec applied twice changes nothing, another version of the same name replaces the pods
of the one Deployment. A version that cannot start never takes the place of the one that serves.
"""

from __future__ import annotations

import logging
import secrets
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property

from model_approval.adapters.kubernetes.client import KubernetesClient, connect
from model_approval.adapters.kubernetes.diagnosis import pod_failure_reason
from model_approval.adapters.kubernetes.objects import CONFIG_LABEL, PREFIX, Json
from model_approval.adapters.kubernetes.serving import (
    PORT,
    Store,
    config_hash,
    config_name,
    instance_labels,
    serving_objects,
    token_name,
    token_secret,
)
from model_approval.adapters.kubernetes.tunnel import request_pod
from model_approval.domain.deployment import Deployment, DeploymentSpec, KubernetesTarget
from model_approval.domain.errors import DeploymentError, NotFoundError
from model_approval.ports import HttpReply
from model_approval.settings import Settings

log = logging.getLogger(__name__)

_POLL_S = 1.0
_FAILURES_BELIEVED = 2
"""A container that failed so often will not start. Once may be a store that did not answer for a moment."""


class KubernetesDeployer:
    """One cluster's serving namespace.

    Args:
        settings: Names the kubeconfig, and the bucket behind MLflow's artifact proxy.
        target: Namespace, images, store.
        connect: Opens the cluster, at the first use; by the settings' kubeconfig unless given.
        pause: Waits some seconds between two looks.
    """

    def __init__(
        self,
        settings: Settings,
        target: KubernetesTarget,
        *,
        connect: Callable[[], KubernetesClient] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._settings = settings
        self._target = target
        self._connect_otherwise = connect
        self._pause = pause

    @cached_property
    def _client(self) -> KubernetesClient:
        if self._connect_otherwise is not None:
            return self._connect_otherwise()
        return connect(self._settings.kubeconfig, context=self._target.connection_id)

    def apply(self, spec: DeploymentSpec) -> None:
        """Make the cluster want this and only this version.

        Raises:
            DeploymentError: The artifact cannot be served from here.
            OutsideSystemError: The cluster cannot be reached or refuses.
        """
        store = Store(region=self._settings.store_region, artifact_root=self._settings.mlflow_artifact_root)
        objects = serving_objects(spec, self._target, store)
        if spec.serving.authentication == "bearer":
            self._client.create(token_secret(spec.name, self._target, secrets.token_urlsafe(32)))
        for body in objects:
            self._client.apply(body)
        log.info("deployment %s: applied %s %s (%s)", spec.name, spec.model, spec.version, spec.artifact_digest[:19])

    def wait_ready(self, spec: DeploymentSpec) -> Deployment:
        """Block until the roll-out is over and every pod serves exactly this artifact.

        Raises:
            DeploymentError: Not within the spec's time, or a pod failed for good; with the pod's own words.
            OutsideSystemError: The cluster cannot be reached.
        """
        deadline = time.monotonic() + spec.readiness_timeout_s
        while True:
            deployment = self._read(spec.name)
            if deployment is None or _annotation(deployment, "artifact-digest") != spec.artifact_digest:
                raise DeploymentError(f"{spec.name} no longer wants {spec.artifact_digest}", hint="somebody changed it")
            pods = self._pods(spec.name)
            mine = [pod for pod in pods if pod["metadata"]["labels"].get(CONFIG_LABEL) == config_hash(spec)]
            if _rolled_out(deployment) and mine and len(mine) == len(pods) and all(map(_is_ready, mine)):
                self._forget_old_configs(spec)
                return self._observed(deployment, ready=True)
            over = time.monotonic() >= deadline
            words = self._words(mine, hopeless_only=not over)
            if words or over:
                raise DeploymentError(
                    f"{spec.name} does not serve {spec.model} {spec.version} "
                    f"after at most {spec.readiness_timeout_s} s: {words or 'no pod became ready'}"
                )
            self._pause(_POLL_S)

    def current(self, name: str) -> Deployment | None:
        """What the cluster wants under this name, and whether it is there."""
        deployment = self._read(name)
        if deployment is None:
            return None
        return self._observed(deployment, ready=_rolled_out(deployment))

    def call(self, name: str, path: str, *, body: bytes | None = None, authenticated: bool = True) -> HttpReply:
        """Send one request to a ready pod of the deployment.

        Raises:
            NotFoundError: Nothing is deployed under this name.
            DeploymentError: No pod is ready, or it does not answer.
            OutsideSystemError: The cluster cannot be reached.
        """
        if self._read(name) is None:
            raise NotFoundError(f"nothing is deployed as {name}")
        ready = [pod for pod in self._pods(name) if _is_ready(pod)]
        if not ready:
            raise DeploymentError(f"{name} has no pod that is ready")
        newest = max(ready, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
        address = (newest["metadata"]["namespace"], newest["metadata"]["name"])
        headers = self._credentials(name) if authenticated else {}
        return request_pod(self._client, address, PORT, path, body=body, headers=headers)

    def remove(self, name: str) -> None:
        """Take the deployment and everything of its own away. Idempotent."""
        namespace = self._target.serving_namespace
        for kind in ("Deployment", "Service", "NetworkPolicy"):
            self._client.delete(kind, namespace, name)
        self._client.delete("Secret", namespace, token_name(name))
        for config in self._client.find("ConfigMap", namespace, labels=instance_labels(name)):
            self._client.delete("ConfigMap", namespace, config["metadata"]["name"])

    def _read(self, name: str) -> Json | None:
        return self._client.get("Deployment", self._target.serving_namespace, name)

    def _pods(self, name: str) -> list[Json]:
        pods = self._client.find("Pod", self._target.serving_namespace, labels=instance_labels(name))
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _words(self, pods: list[Json], *, hopeless_only: bool) -> str:
        for pod in pods:
            if hopeless_only and _failures(pod) < _FAILURES_BELIEVED:
                continue
            reason = pod_failure_reason(pod, self._client.events_of(pod))
            if reason:
                return reason
        return ""

    def _observed(self, deployment: Json, *, ready: bool) -> Deployment:
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        return Deployment(
            name=name,
            model=_annotation(deployment, "model"),
            version=_annotation(deployment, "version"),
            request_id=_annotation(deployment, "request"),
            artifact_digest=_annotation(deployment, "artifact-digest"),
            endpoint=f"{namespace}/{name}",
            ready=ready,
            observed_at=datetime.now(UTC),
        )

    def _credentials(self, name: str) -> dict[str, str]:
        secret = self._client.get("Secret", self._target.serving_namespace, token_name(name))
        if secret is None:
            return {}
        return {"Authorization": f"Bearer {b64decode(secret['data']['token']).decode()}"}

    def _forget_old_configs(self, spec: DeploymentSpec) -> None:
        namespace = self._target.serving_namespace
        for config in self._client.find("ConfigMap", namespace, labels=instance_labels(spec.name)):
            if config["metadata"]["name"] != config_name(spec):
                self._client.delete("ConfigMap", namespace, config["metadata"]["name"])


def _annotation(deployment: Json, name: str) -> str:
    return str((deployment["metadata"].get("annotations") or {}).get(f"{PREFIX}/{name}", ""))


def _rolled_out(deployment: Json) -> bool:
    """The controller has seen the newest spec and no pod of another version is left."""
    status = deployment.get("status") or {}
    wanted = deployment["spec"]["replicas"]
    counts = [status.get(field, 0) for field in ("replicas", "updatedReplicas", "availableReplicas")]
    return status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and counts == [wanted] * 3


def _is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)


def _failures(pod: Json) -> int:
    """How often a container of the pod ended badly; an image that cannot be pulled counts as enough."""
    status = pod.get("status") or {}
    statuses = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    failures = 0
    for container in statuses:
        state = container.get("state") or {}
        ended = state.get("terminated") or {}
        failures += container.get("restartCount", 0) + (1 if ended.get("exitCode", 0) != 0 else 0)
        if (state.get("waiting") or {}).get("reason") in ("ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"):
            failures += _FAILURES_BELIEVED
        if (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff":
            failures += 1
    return failures
