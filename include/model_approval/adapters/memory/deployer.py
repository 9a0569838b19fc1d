"""A target in memory: twin of `adapters/kubernetes/deployer.py` and of the local deployer.

It verifies bytes as real pods do and answers as the real model server does. What can go wrong on a real target is a
field that a test sets: `broken`, `forgotten_headers`, `lets_everybody_in`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from model_approval.domain.deployment import Deployment, DeploymentSpec
from model_approval.domain.errors import DeploymentError, IntegrityError, NotFoundError
from model_approval.domain.manifest import require_same_bytes
from model_approval.ports import ArtifactStore, Clock, HttpReply


@dataclass
class MemoryDeployer:
    """What is wanted and what serves, by name.

    Attributes:
        artifacts: Where the bytes lie that a pod would fetch.
        clock: The time.
        outputs: What every inference answers.
        broken: Name of a deployment -> why its newest version cannot start.
        forgotten_headers: Promised headers (lower case) that the server does not send.
        lets_everybody_in: The server forgets to ask for the token.
    """

    artifacts: ArtifactStore
    clock: Clock
    outputs: dict[str, object] = field(default_factory=lambda: {"score": [[0.5]]})
    broken: dict[str, str] = field(default_factory=dict)
    forgotten_headers: set[str] = field(default_factory=set)
    lets_everybody_in: bool = False
    wanted: dict[str, DeploymentSpec] = field(default_factory=dict)
    serving: dict[str, DeploymentSpec] = field(default_factory=dict)

    def apply(self, spec: DeploymentSpec) -> None:
        """Want this and only this version; the one before serves on until it is ready."""
        self.wanted[spec.name] = spec

    def wait_ready(self, spec: DeploymentSpec) -> Deployment:
        """Serve it, if its bytes are the approved ones.

        Raises:
            DeploymentError: They are not, or the test broke this deployment, or something else is wanted meanwhile.
        """
        if self.wanted.get(spec.name) != spec:
            raise DeploymentError(f"{spec.name} no longer wants {spec.artifact_digest}")
        try:
            require_same_bytes(spec.manifest, self.artifacts.manifest(spec.artifact_uri), where=spec.artifact_uri)
        except IntegrityError as err:
            raise DeploymentError(f"{spec.name} does not serve {spec.model} {spec.version}: {err}") from err
        if spec.name in self.broken:
            raise DeploymentError(f"{spec.name} does not serve {spec.model} {spec.version}: {self.broken[spec.name]}")
        self.serving[spec.name] = spec
        return self._observed(spec)

    def current(self, name: str) -> Deployment | None:
        """What is wanted under this name, and whether it serves."""
        spec = self.wanted.get(name)
        return self._observed(spec) if spec else None

    def call(self, name: str, path: str, *, body: bytes | None = None, authenticated: bool = True) -> HttpReply:
        """Answer as the model server does.

        Raises:
            NotFoundError: Nothing is deployed under this name.
            DeploymentError: Nothing is ready.
        """
        if name not in self.wanted:
            raise NotFoundError(f"nothing is deployed as {name}")
        spec = self.serving.get(name)
        if spec is None:
            raise DeploymentError(f"{name} has nothing that is ready")
        if path == "/healthz":
            return self._reply(spec, 200, {"status": "ready", "artifact_digest": spec.artifact_digest})
        if path != "/v1/predict":
            return self._reply(spec, 404, {"error": {"code": "not_found", "message": path}})
        if spec.serving.authentication == "bearer" and not authenticated and not self.lets_everybody_in:
            return self._reply(spec, 401, {"error": {"code": "unauthorized", "message": "a token is needed"}})
        if body is None:
            return self._reply(spec, 405, {"error": {"code": "method_not_allowed", "message": "use POST"}})
        return self._reply(spec, 200, {"outputs": self.outputs, "artifact_digest": spec.artifact_digest})

    def remove(self, name: str) -> None:
        """Take it away. Idempotent."""
        self.wanted.pop(name, None)
        self.serving.pop(name, None)

    def _reply(self, spec: DeploymentSpec, status: int, content: object) -> HttpReply:
        promised = {name.lower(): value for name, value in spec.serving.headers.items()}
        headers = {name: value for name, value in promised.items() if name not in self.forgotten_headers}
        return HttpReply(status, {"content-type": "application/json", **headers}, json.dumps(content).encode())

    def _observed(self, spec: DeploymentSpec) -> Deployment:
        return Deployment(
            name=spec.name,
            model=spec.model,
            version=spec.version,
            request_id=spec.request_id,
            artifact_digest=spec.artifact_digest,
            endpoint=f"memory/{spec.name}",
            ready=self.serving.get(spec.name) == spec,
            observed_at=self.clock(),
        )
