"""What only a cluster can show of a deployment: one Deployment, no gap, hand edits undone, credentials apart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from model_approval.adapters.kubernetes.client import connect
from model_approval.adapters.kubernetes.deployer import KubernetesDeployer
from model_approval.adapters.kubernetes.objects import Json
from model_approval.adapters.s3_artifacts import S3ArtifactStore
from model_approval.adapters.s3_client import s3_client
from model_approval.domain.errors import DeploymentError
from tests.support.cluster import Cluster, unique
from tests.support.servers import MODELS_BUCKET
from tests.support.serving import Shelf

pytestmark = pytest.mark.cluster

NAMESPACE = "model-serving"


@dataclass(frozen=True)
class Serving:
    """A deployer with the rights it has in production, and versions to deploy."""

    deployer: KubernetesDeployer
    shelf: Shelf


@pytest.fixture
def serving(cluster: Cluster, airflow_login, settings) -> Iterator[Serving]:
    def put(name, files):
        for path, data in files.items():
            s3_client(settings).put_object(Bucket=MODELS_BUCKET, Key=f"{name}/{path}", Body=data)
        return f"s3://{MODELS_BUCKET}/{name}"

    target = cluster.target.kubernetes
    assert target is not None
    deployer = KubernetesDeployer(settings, target, connect=lambda: connect(airflow_login))
    shelf = Shelf(unique("fraud"), put, S3ArtifactStore(settings))
    yield Serving(deployer, shelf)
    deployer.remove(shelf.name)


def objects(cluster: Cluster, name: str, kind: str) -> list[Json]:
    return cluster.client.find(kind, NAMESPACE, labels={"app.kubernetes.io/instance": name})


def serve(serving: Serving, version: str):
    spec = serving.shelf.spec(version)
    serving.deployer.apply(spec)
    serving.deployer.wait_ready(spec)
    return spec


def test_applying_the_same_version_again_changes_nothing(serving, cluster):
    spec = serve(serving, "1")
    [before] = objects(cluster, spec.name, "Deployment")

    serving.deployer.apply(spec)

    [after] = objects(cluster, spec.name, "Deployment")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert serving.deployer.wait_ready(spec).ready


def test_new_version_replaces_the_pods_of_the_one_deployment_and_leaves_no_old_configuration(serving, cluster):
    serve(serving, "1")
    spec = serve(serving, "2")

    assert len(objects(cluster, spec.name, "Deployment")) == 1
    assert len(objects(cluster, spec.name, "Service")) == 1
    assert len(objects(cluster, spec.name, "ConfigMap")) == 1
    answer = serving.deployer.call(spec.name, "/v1/predict", body=json.dumps({"inputs": {"x": [[1.0]]}}).encode())
    assert json.loads(answer.body)["outputs"] == {"y": [[3.0]]}


def test_edit_by_hand_is_undone_by_the_next_apply(serving, cluster):
    spec = serve(serving, "1")
    cluster.kubectl("-n", NAMESPACE, "set", "image", f"deployment/{spec.name}", "server=localhost:1/other:1")

    serving.deployer.apply(spec)

    [deployment] = objects(cluster, spec.name, "Deployment")
    images = {item["image"] for item in deployment["spec"]["template"]["spec"]["containers"]}
    assert images == {cluster.target.kubernetes.server_image}


def test_serving_container_has_no_credential_of_the_store(serving, cluster, s3_store):
    spec = serve(serving, "1")

    shown = cluster.kubectl(
        "-n", NAMESPACE, "get", "pods", "-l", f"app.kubernetes.io/instance={spec.name}", "-o", "json"
    )

    assert s3_store.reader.secret_key not in shown
    [pod] = json.loads(shown)["items"]
    [server] = pod["spec"]["containers"]
    assert "env" not in server
    assert "envFrom" not in server


def test_image_that_cannot_be_pulled_fails_at_once_and_in_words(cluster, serving, settings, airflow_login):
    target = cluster.target.kubernetes.model_copy(update={"server_image": "localhost:1/absent:1"})
    deployer = KubernetesDeployer(settings, target, connect=lambda: connect(airflow_login))
    spec = serving.shelf.spec(readiness_timeout_s=120)

    deployer.apply(spec)
    with pytest.raises(DeploymentError, match="the image localhost:1/absent:1 cannot be pulled"):
        deployer.wait_ready(spec)


def test_service_reaches_the_pod(serving, cluster):
    spec = serve(serving, "1")

    [endpoints] = cluster.client.request("GET", f"/api/v1/namespaces/{NAMESPACE}/endpoints/{spec.name}")["subsets"]

    assert [port["port"] for port in endpoints["ports"]] == [8080]
    assert len(endpoints["addresses"]) == 1
