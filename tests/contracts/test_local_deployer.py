"""The local target: a real supervisor, real model servers, real HTTP; the twin keeps the part of the promise it can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_approval.adapters.local_serving import LocalDeployer, ServingState
from model_approval.adapters.memory.artifacts import MemoryArtifactStore
from model_approval.adapters.memory.deployer import MemoryDeployer
from model_approval.domain.deployment import DeploymentSpec, ServingConfig
from model_approval.domain.errors import DeploymentError, IntegrityError, ModelApprovalError, NotFoundError
from model_approval.ports import Deployer, HttpReply
from model_approval.settings import Settings
from tests.support.builders import NOW, clock
from tests.support.models import an_onnx_model
from tests.support.servers import wait_until

pytestmark = pytest.mark.contract

_REPOSITORY = Path(__file__).resolve().parents[2]
_HEADERS = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
_BODY = json.dumps({"inputs": {"x": [[1.0, 2.0, 3.0, 4.0]]}}).encode()


@dataclass
class Place:
    """A target with the store that its artifacts come from."""

    deployer: Deployer
    artifacts: MemoryArtifactStore

    def spec(self, version: str, *, seed: int | None = None, **changes: object) -> DeploymentSpec:
        """A version of the sample model, put into the store."""
        uri = f"memory://fraud/{version}"
        self.artifacts.put(uri, {"model.onnx": an_onnx_model(seed=int(version) if seed is None else seed)})
        manifest = self.artifacts.manifest(uri)
        fields: dict[str, object] = {
            "name": "model-fraud-production-0a1b2c3d",
            "model": "fraud",
            "version": version,
            "environment": "production",
            "request_id": f"pr-fraud-{version}",
            "artifact_digest": manifest.artifact_digest,
            "artifact_uri": uri,
            "manifest": manifest,
            "policy_digest": "sha256:" + "1" * 64,
            "decision_digest": "sha256:" + "2" * 64,
            "serving": ServingConfig(headers=_HEADERS, authentication="bearer"),
            "readiness_timeout_s": 60,
        }
        return DeploymentSpec.model_validate({**fields, **changes})

    def serve(self, spec: DeploymentSpec) -> None:
        """Apply and wait."""
        self.deployer.apply(spec)
        self.deployer.wait_ready(spec)

    def predict(self, name: str, **options: bool) -> HttpReply:
        """One inference."""
        return self.deployer.call(name, "/v1/predict", body=_BODY, **options)


@dataclass
class LocalPlace(Place):
    """The real one, with its supervisor's process."""

    state: ServingState
    start: Callable[[], subprocess.Popen[bytes]]
    supervisor: subprocess.Popen[bytes]


@pytest.fixture
def local(tmp_path: Path) -> Iterator[LocalPlace]:
    """A supervisor as `make run` starts it, on a scratch folder."""
    settings = Settings(serving_dir=tmp_path / "serving", validators_python=_REPOSITORY / ".venv-validators/bin/python")
    environment = {
        **os.environ,
        "MODEL_APPROVAL_SERVING_DIR": str(settings.serving_root),
        "MODEL_APPROVAL_VALIDATORS_PYTHON": str(settings.validators_python),
    }
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (tmp_path / "supervisor.log").open("ab") as log:
            command = [sys.executable, "-m", "model_approval.embedded.serving"]
            started.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        return started[-1]

    artifacts, state = MemoryArtifactStore(), ServingState(settings.serving_root)
    deployer = LocalDeployer(settings, artifacts, clock)
    yield LocalPlace(deployer, artifacts, state, start, start())
    for process in started:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) is not None
    assert not _server_pids(state), "a server outlived its supervisor's orderly end"


@pytest.fixture(params=["memory", "local"])
def place(request: pytest.FixtureRequest) -> Place:
    """The twin and the real one."""
    if request.param == "local":
        real: LocalPlace = request.getfixturevalue("local")
        return real
    artifacts = MemoryArtifactStore()
    return Place(MemoryDeployer(artifacts, clock), artifacts)


def _server_pids(state: ServingState) -> list[int]:
    """Model servers on this state folder, by their command line."""
    mark = str(state.root / "run").encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_an_applied_version_serves_with_its_digest(place: Place) -> None:
    spec = place.spec("1")
    place.deployer.apply(spec)
    deployment = place.deployer.wait_ready(spec)
    assert (deployment.version, deployment.artifact_digest) == ("1", spec.artifact_digest)
    assert deployment.ready
    assert deployment.observed_at == NOW
    assert place.deployer.current(spec.name) == deployment
    health = place.deployer.call(spec.name, "/healthz", authenticated=False)
    assert json.loads(health.body)["artifact_digest"] == spec.artifact_digest


def test_every_answer_has_the_promised_headers_and_the_token_is_asked_for(place: Place) -> None:
    spec = place.spec("1")
    place.serve(spec)
    answers = [place.predict(spec.name), place.predict(spec.name, authenticated=False)]
    assert [answer.status for answer in answers] == [200, 401]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"


def test_applying_twice_changes_nothing(place: Place) -> None:
    spec = place.spec("1")
    place.serve(spec)
    before = place.deployer.current(spec.name)
    place.serve(spec)
    assert place.deployer.current(spec.name) == before


def test_a_second_version_replaces_the_first(place: Place) -> None:
    place.serve(place.spec("1"))
    second = place.spec("2")
    place.serve(second)
    current = place.deployer.current(second.name)
    assert current is not None
    assert current.version == "2"


def test_a_removed_deployment_is_gone_and_removing_again_is_fine(place: Place) -> None:
    spec = place.spec("1")
    place.serve(spec)
    place.deployer.remove(spec.name)
    place.deployer.remove(spec.name)
    assert place.deployer.current(spec.name) is None
    with pytest.raises(NotFoundError, match="nothing is deployed"):
        place.predict(spec.name)


def test_bytes_that_changed_since_they_were_pinned_are_never_served(local: LocalPlace) -> None:
    spec = local.spec("1")
    local.artifacts.put(spec.artifact_uri, {"model.onnx": an_onnx_model(seed=99)})
    with pytest.raises(IntegrityError, match=r"model\.onnx: pinned as sha256:\w+.* now sha256:\w+"):
        local.deployer.apply(spec)
    assert local.deployer.current(spec.name) is None


def test_bytes_edited_on_this_machine_are_fetched_anew(local: LocalPlace) -> None:
    spec = local.spec("1")
    local.deployer.apply(spec)
    model = local.state.artifact_folder(spec.artifact_digest) / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(b"edited")
    local.serve(spec)
    assert local.predict(spec.name).status == 200


def test_a_version_that_cannot_start_leaves_the_one_before_serving(local: LocalPlace) -> None:
    first = local.spec("1")
    local.serve(first)
    local.artifacts.put("memory://fraud/2", {"model.onnx": b"\x08\x08no model at all"})
    manifest = local.artifacts.manifest("memory://fraud/2")
    broken = first.model_copy(
        update={
            "version": "2",
            "artifact_uri": "memory://fraud/2",
            "manifest": manifest,
            "artifact_digest": manifest.artifact_digest,
        }
    )
    local.deployer.apply(broken)
    with pytest.raises(DeploymentError, match=r"version 2 does not serve .*onnxruntime cannot load model\.onnx"):
        local.deployer.wait_ready(broken)
    assert local.predict(first.name).status == 200
    current = local.deployer.current(first.name)
    assert current is not None
    assert current.version == "1"


def test_no_request_fails_while_versions_are_exchanged(local: LocalPlace) -> None:
    first, second = local.spec("1"), local.spec("2")
    local.serve(first)
    stop, statuses = threading.Event(), []

    def ask() -> None:
        while not stop.is_set():
            statuses.append(local.predict(first.name).status)

    client = threading.Thread(target=ask)
    client.start()
    try:
        local.serve(second)
        asked = len(statuses)
        wait_until(lambda: len(statuses) > asked + 20, timeout_s=30, what="requests after the exchange")
        wait_until(lambda: len(_server_pids(local.state)) == 1, timeout_s=30, what="the old server to be gone")
    finally:
        stop.set()
        client.join()
    assert set(statuses) == {200}


def test_a_killed_server_is_started_again(local: LocalPlace) -> None:
    spec = local.spec("1")
    local.serve(spec)
    (pid,) = _server_pids(local.state)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _server_pids(local.state) not in ([], [pid]), timeout_s=30, what="another server")
    local.deployer.wait_ready(spec)
    wait_until(lambda: _status(local, spec) == 200, timeout_s=30, what="an answer of the new server")
    assert pid not in _server_pids(local.state)


def test_servers_outlive_a_killed_supervisor_and_the_next_one_finds_them(local: LocalPlace) -> None:
    spec = local.spec("1")
    local.serve(spec)
    pids = _server_pids(local.state)
    local.supervisor.kill()
    local.supervisor.wait()
    assert local.predict(spec.name).status == 200
    local.start()
    wait_until(local.state.is_supervised, timeout_s=30, what="the next supervisor")
    local.serve(spec)
    assert _server_pids(local.state) == pids


def test_a_second_supervisor_on_the_same_folder_refuses_to_start(local: LocalPlace) -> None:
    wait_until(local.state.is_supervised, timeout_s=30, what="the supervisor")
    assert local.start().wait(30) == 1


def test_without_a_supervisor_the_error_says_what_to_start(tmp_path: Path) -> None:
    artifacts = MemoryArtifactStore()
    place = Place(LocalDeployer(Settings(serving_dir=tmp_path / "serving"), artifacts, clock), artifacts)
    spec = place.spec("1", readiness_timeout_s=1)
    place.deployer.apply(spec)
    with pytest.raises(DeploymentError, match="supervisor is not running"):
        place.deployer.wait_ready(spec)


def test_the_token_and_the_folder_are_for_this_user_alone(local: LocalPlace) -> None:
    spec = local.spec("1")
    local.deployer.apply(spec)
    assert local.state.token_path(spec.name).stat().st_mode & 0o777 == 0o600
    assert local.state.root.stat().st_mode & 0o777 == 0o700


def _status(place: Place, spec: DeploymentSpec) -> int:
    try:
        return place.predict(spec.name).status
    except ModelApprovalError:  # while the server restarts
        return 0
