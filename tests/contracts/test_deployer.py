"""What a deployer promises, held on the twin and on a real cluster (marker `cluster` as well)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from model_approval.adapters.kubernetes.client import connect
from model_approval.adapters.kubernetes.deployer import KubernetesDeployer
from model_approval.adapters.memory.artifacts import MemoryArtifactStore
from model_approval.adapters.memory.deployer import MemoryDeployer
from model_approval.adapters.s3_artifacts import S3ArtifactStore
from model_approval.adapters.s3_client import s3_client
from model_approval.domain.deployment import ServingConfig
from model_approval.domain.errors import DeploymentError, NotFoundError
from model_approval.ports import Deployer
from tests.support.builders import clock
from tests.support.cluster import unique
from tests.support.servers import MODELS_BUCKET
from tests.support.serving import Shelf

pytestmark = pytest.mark.contract

ASK = json.dumps({"inputs": {"x": [[1.0]]}}).encode()


@dataclass(frozen=True)
class Subject:
    """A deployer and the versions it can be asked to serve."""

    deployer: Deployer
    shelf: Shelf


@pytest.fixture(params=["memory", pytest.param("kubernetes", marks=pytest.mark.cluster)])
def subject(request) -> Iterator[Subject]:
    make: dict[str, Callable[[pytest.FixtureRequest], Subject]] = {"memory": _in_memory, "kubernetes": _on_a_cluster}
    found = make[request.param](request)
    yield found
    found.deployer.remove(found.shelf.name)


def _in_memory(_: pytest.FixtureRequest) -> Subject:
    artifacts = MemoryArtifactStore()

    def put(name, files):
        artifacts.put(f"memory://{name}", files)
        return f"memory://{name}"

    return Subject(MemoryDeployer(artifacts, clock), Shelf(unique("fraud"), put, artifacts))


def _on_a_cluster(request: pytest.FixtureRequest) -> Subject:
    cluster, login = request.getfixturevalue("cluster"), request.getfixturevalue("airflow_login")
    settings = request.getfixturevalue("settings")

    def put(name, files):
        for path, data in files.items():
            s3_client(settings).put_object(Bucket=MODELS_BUCKET, Key=f"{name}/{path}", Body=data)
        return f"s3://{MODELS_BUCKET}/{name}"

    deployer = KubernetesDeployer(settings, cluster.target.kubernetes, connect=lambda: connect(login))
    return Subject(deployer, Shelf(unique("fraud"), put, S3ArtifactStore(settings)))


def test_nothing_is_there_before_it_is_deployed(subject):
    assert subject.deployer.current(subject.shelf.name) is None
    with pytest.raises(NotFoundError):
        subject.deployer.call(subject.shelf.name, "/healthz")
    subject.deployer.remove(subject.shelf.name)


def test_version_serves_what_was_approved_with_the_promised_headers_until_it_is_removed(subject):
    spec = subject.shelf.spec()

    subject.deployer.apply(spec)
    subject.deployer.apply(spec)
    deployment = subject.deployer.wait_ready(spec)

    assert (deployment.artifact_digest, deployment.version, deployment.ready) == (spec.artifact_digest, "1", True)
    found = subject.deployer.current(spec.name)
    assert found is not None
    assert found.model_copy(update={"observed_at": deployment.observed_at}) == deployment
    health = subject.deployer.call(spec.name, "/healthz", authenticated=False)
    assert json.loads(health.body)["artifact_digest"] == spec.artifact_digest
    answer = subject.deployer.call(spec.name, "/v1/predict", body=ASK)
    assert answer.status == 200
    assert json.loads(answer.body)["outputs"]
    refused = subject.deployer.call(spec.name, "/v1/predict", body=ASK, authenticated=False)
    assert refused.status == 401
    for reply in (health, answer, refused):
        assert {name.lower(): value for name, value in spec.serving.headers.items()}.items() <= reply.headers.items()
    subject.deployer.remove(spec.name)
    assert subject.deployer.current(spec.name) is None


def test_another_version_takes_the_place_of_the_one_that_serves(subject):
    first, second = subject.shelf.spec("1"), subject.shelf.spec("2", serving=ServingConfig(headers={"X-Two": "2"}))
    subject.deployer.apply(first)
    subject.deployer.wait_ready(first)

    subject.deployer.apply(second)
    deployment = subject.deployer.wait_ready(second)

    assert deployment.artifact_digest == second.artifact_digest
    health = subject.deployer.call(second.name, "/healthz")
    assert json.loads(health.body)["artifact_digest"] == second.artifact_digest
    assert health.headers["x-two"] == "2"
    assert "cache-control" not in health.headers


def test_bytes_changed_after_approval_never_serve_and_the_version_before_goes_on(subject):
    first, second = subject.shelf.spec("1"), subject.shelf.spec("2")
    subject.deployer.apply(first)
    subject.deployer.wait_ready(first)
    subject.shelf.swap_bytes("2")

    subject.deployer.apply(second)
    with pytest.raises(DeploymentError, match=r"model\.onnx: pinned as sha256:[0-9a-f]{64}.* now sha256:"):
        subject.deployer.wait_ready(second)

    health = subject.deployer.call(first.name, "/healthz")
    assert json.loads(health.body)["artifact_digest"] == first.artifact_digest
    current = subject.deployer.current(first.name)
    assert current is not None
    assert not current.ready, "what is wanted is not what serves"


def test_wait_for_a_version_that_is_no_longer_wanted_says_so(subject):
    first, second = subject.shelf.spec("1"), subject.shelf.spec("2")
    subject.deployer.apply(first)
    subject.deployer.apply(second)

    with pytest.raises(DeploymentError, match="no longer wants"):
        subject.deployer.wait_ready(first)
