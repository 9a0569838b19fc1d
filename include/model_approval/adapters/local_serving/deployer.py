"""`ports.Deployer` for the local target: fetch, verify, wish, and wait for the supervisor to make it so."""

from __future__ import annotations

import shutil
import time
import uuid
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from model_approval.adapters.local_serving.state import Desired, Observed, ServingState
from model_approval.domain.deployment import Deployment, DeploymentSpec
from model_approval.domain.digests import digest_of
from model_approval.domain.errors import DeploymentError, ModelApprovalError, NotFoundError, OutsideSystemError
from model_approval.domain.manifest import manifest_of_folder
from model_approval.ports import ArtifactStore, Clock, HttpReply
from model_approval.settings import Settings
from model_approval.validators.fetch import write_verified

_POLL_S = 0.1
_HOPELESS_ATTEMPTS = 3
"""A server that ended three times will not come up by waiting."""
_REMOVAL_S = 15.0
_REPLY_BYTES = 64 * 1024**2
_REQUEST_S = 60.0


def _now() -> datetime:
    return datetime.now(UTC)


class LocalDeployer:
    """Serves on this machine, through the folder `settings.serving_root`."""

    def __init__(self, settings: Settings, artifacts: ArtifactStore, clock: Clock = _now) -> None:
        self._state = ServingState(settings.serving_root)
        self._artifacts = artifacts
        self._clock = clock

    def apply(self, spec: DeploymentSpec) -> None:
        """Fetch the artifact, verify each file, and wish for this version under its name. Idempotent.

        Raises:
            IntegrityError: The bytes are not the pinned ones; names the file and both digests.
            OutsideSystemError: The artifact store does not deliver.
        """
        self._state.prepare()
        folder = self._fetch(spec)
        self._state.ensure_token(spec.name)
        self._state.want(Desired(spec=spec, folder=str(folder)))

    def wait_ready(self, spec: DeploymentSpec) -> Deployment:
        """Block until exactly this version answers.

        Raises:
            DeploymentError: It does not within the spec's time; in the server's own words.
        """
        deadline = time.monotonic() + spec.readiness_timeout_s
        wanted = digest_of(spec)
        while True:
            observed = self._state.observed(spec.name)
            if observed and observed.serving and observed.serving.spec_digest == wanted and self._answers(spec):
                return self._deployment(spec, observed.serving.endpoint)
            hopeless = observed and observed.wanted == wanted and observed.attempts >= _HOPELESS_ATTEMPTS
            if hopeless or time.monotonic() > deadline:
                raise DeploymentError(self._why_not(spec, observed), hint=f"see {self._state.log_path(spec.name)}")
            time.sleep(_POLL_S)

    def current(self, name: str) -> Deployment | None:
        """What serves under a name, as the supervisor last said; what shall serve, not ready, while nothing does."""
        desired, observed = self._state.desired(name), self._state.observed(name)
        if desired is None:
            return None
        serving = observed.serving if observed else None
        return self._deployment(serving.spec if serving else desired.spec, serving.endpoint if serving else "")

    def call(self, name: str, path: str, *, body: bytes | None = None, authenticated: bool = True) -> HttpReply:
        """Send one request to the live endpoint.

        Raises:
            NotFoundError: Nothing is wished for under that name.
            DeploymentError: Nothing answers yet.
            OutsideSystemError: It serves, but does not answer.
        """
        deployment = self.current(name)
        if deployment is None:
            raise NotFoundError(f"nothing is deployed as {name}")
        if not deployment.ready:
            raise DeploymentError(f"{name} has nothing that is ready", hint=f"see {self._state.log_path(name)}")
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if authenticated:
            headers["Authorization"] = f"Bearer {self._state.token(name)}"
        method = "GET" if body is None else "POST"
        return _exchange(deployment.endpoint, method, path, body, headers)

    def remove(self, name: str) -> None:
        """Wish for nothing under a name, and wait until a running supervisor has stopped what served. Idempotent."""
        if not self._state.root.exists():
            return
        self._state.unwant(name)
        deadline = time.monotonic() + _REMOVAL_S
        while self._state.observed(name) and self._state.is_supervised():
            if time.monotonic() > deadline:
                raise DeploymentError(f"{name} still serves {_REMOVAL_S:g} s after it was taken away")
            time.sleep(_POLL_S)

    def _fetch(self, spec: DeploymentSpec) -> Path:
        folder = self._state.artifact_folder(spec.artifact_digest)
        if folder.exists():
            if _holds(folder, spec.artifact_digest):
                return folder
            shutil.rmtree(folder)  # somebody changed it; what was verified once is worth nothing now
        partial = folder.with_name(f".{uuid.uuid4().hex}")
        try:
            for entry in spec.manifest.files:
                path = partial / entry.path
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._artifacts.open(spec.artifact_uri, entry.path) as source, path.open("xb") as destination:
                    write_verified(entry, source, destination)
                path.chmod(0o444)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        return folder

    def _answers(self, spec: DeploymentSpec) -> bool:
        try:
            reply = self.call(spec.name, "/healthz", authenticated=False)
        except ModelApprovalError:
            return False
        return reply.status == 200 and spec.artifact_digest.encode() in reply.body

    def _why_not(self, spec: DeploymentSpec, observed: Observed | None) -> str:
        about = f"{spec.model} version {spec.version} does not serve as {spec.name}"
        if not self._state.is_supervised():
            return f"{about}: the local serving supervisor is not running (start it with `make run`)"
        if observed and observed.wanted == digest_of(spec) and observed.error:
            return f"{about}: {observed.error}"
        return f"{about} after {spec.readiness_timeout_s} s"

    def _deployment(self, spec: DeploymentSpec, endpoint: str) -> Deployment:
        return Deployment(
            name=spec.name,
            model=spec.model,
            version=spec.version,
            request_id=spec.request_id,
            artifact_digest=spec.artifact_digest,
            endpoint=endpoint,
            ready=bool(endpoint),
            observed_at=self._clock(),
        )


def _holds(folder: Path, artifact_digest: str) -> bool:
    try:
        return manifest_of_folder(folder).artifact_digest == artifact_digest
    except (ModelApprovalError, ValueError):
        return False


def _exchange(endpoint: str, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> HttpReply:
    parts = urlsplit(endpoint)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_REQUEST_S)
    try:
        connection.request(method, path, body=body, headers=headers)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return HttpReply(response.status, names, response.read(_REPLY_BYTES))
    except (OSError, HTTPException) as err:
        raise OutsideSystemError("local serving", f"{endpoint}{path}: {err}") from err
    finally:
        connection.close()
