"""docker-compose.yaml for real: networks, order, health, secrets, volumes, and one promotion from tag to record."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from model_approval.adapters.kubernetes.client import connect
from model_approval.domain.deployment import deployment_name
from model_approval.embedded.airflow_api import REVIEW_PREFIX, wait_until
from model_approval.embedded.sample_models import SampleModel, sample_models
from model_approval.embedded.seed import RegistrySeed
from model_approval.wiring import verify_bundle_file
from tests.support.compose import UP_S, ComposeProject, missing, running_project

pytestmark = [pytest.mark.integration, pytest.mark.timeout(2400)]

ENVIRONMENT = "production-cluster"
IN_REVIEW_S, DEPLOYED_S = 600.0, 300.0
"""For a machine that does much else; alone on two cores it takes 45 and 10."""


@pytest.fixture(scope="module")
def compose_project(tmp_path_factory):
    if reason := missing():
        pytest.skip(reason)
    with running_project(tmp_path_factory.mktemp("compose")) as project:
        yield project


@pytest.fixture
def model():
    """A good model under a name that no other run on this cluster has; what it leaves there is removed."""
    good = sample_models()["good"]
    name = f"fraud-scorer-{secrets.token_hex(3)}"
    yield replace(good, name=name, payload={**good.payload, "environment": ENVIRONMENT})
    remove_from_cluster(name)


def test_model_goes_from_a_tag_to_an_audited_deployment(compose_project, model, tmp_path):
    request_id = tag(compose_project, model)
    assert vote(compose_project, "rita", request_id) == 403
    assert vote(compose_project, "vera", request_id) == 403

    assert [vote(compose_project, reviewer, request_id) for reviewer in ("ana", "bo")] == [200, 200]
    ended = wait(compose_project, model, "deployed", deadline_s=DEPLOYED_S)

    assert ended["state"] == "deployed", ended["state_reason"]
    name = deployment_name(model.name, ENVIRONMENT)
    deployment = connect(Path(os.environ["KUBECONFIG"])).get("Deployment", "model-serving", name)
    assert deployment is not None
    assert deployment["status"]["readyReplicas"] == 1
    assert (
        json.loads(compose_project.run("airflow-scheduler", "model-approval", "audit", "verify", "--json"))["problems"]
        == []
    )
    assert offline_problems(compose_project, request_id, tmp_path) == ()


def test_store_can_be_reached_on_its_s3_port_alone(compose_project):
    # Behind the gate: 8334 S3, 18334 its gRPC that takes administrators from anybody; the rest master, volume, filer.
    ports = (8333, 8080, 8334, 8888, 9333, 18080, 18334, 18888, 19333)

    assert open_ports(compose_project, "airflow-scheduler", "seaweedfs", *ports) == [8333]


def test_databases_are_closed_to_each_other_and_to_the_store(compose_project):
    assert open_ports(compose_project, "airflow-scheduler", "postgres", 5432) == [5432]
    # The store shares no network with the databases: their name is unknown there.
    assert open_ports(compose_project, "seaweedfs", "postgres", 5432) == []
    url = f"postgresql://reviews:{compose_project.secrets['REVIEWS_DATABASE_PASSWORD']}@localhost/airflow"
    with pytest.raises(AssertionError, match="permission denied for database"):
        compose_project.run("postgres", "psql", url, "--command=SELECT 1")


def test_nothing_is_published_beyond_loopback(compose_project):
    bindings = [
        (service, binding["HostIp"])
        for service, found in compose_project.containers().items()
        for ports in (found["HostConfig"]["PortBindings"] or {}).values()
        for binding in ports
    ]

    assert {service for service, _ in bindings} == {"airflow-apiserver", "mlflow", "seaweedfs"}
    assert {address for _, address in bindings} == {"127.0.0.1"}


def test_reviewers_see_the_plugin_and_cannot_touch_dag_runs(compose_project):
    with closing(compose_project.user("ana")) as ana:
        plugins = ana.call("GET", "/api/v2/plugins")["plugins"]
        status, _ = ana.attempt("PATCH", "/api/v2/dags/promotion_intake__mlflow", {"is_paused": True})

    assert "model_review" in {plugin["name"] for plugin in plugins}
    assert status == 403


def test_set_up_jobs_can_be_run_again(compose_project):
    compose_project.compose("up", "--no-build", "--no-deps", "airflow-init", "cluster-init", timeout_s=UP_S)

    assert compose_project.unhealthy() == {}


def tag(project: ComposeProject, model: SampleModel) -> str:
    """Register and tag as a data scientist does, with the publisher's credentials; the id once it is in review."""
    with RegistrySeed(project.settings("publisher")) as registry:
        version = registry.register(model)
        registry.request(model, version)
    request = wait(project, model, "in_review", deadline_s=IN_REVIEW_S)
    assert request["state"] == "in_review", request["state_reason"]
    return str(request["id"])


def wait(project: ComposeProject, model: SampleModel, state: str, *, deadline_s: float):
    """The model's promotion as a viewer sees it, in that state or in one that it does not leave by itself."""
    ends = {state, "blocked", "refused", "deployment_failed"}

    def found():
        requests = viewer.review("GET", "/requests")["requests"]
        return next((one for one in requests if one["model"] == model.name and one["state"] in ends), None)

    with closing(project.user("vera")) as viewer:
        return wait_until(found, what=f"{model.name} to be {state}", deadline_s=deadline_s)


def vote(project: ComposeProject, person: str, request_id: str) -> int:
    """The status that the review page answers to an approval of exactly what it shows."""
    with closing(project.user(person)) as user:
        seen = user.review("GET", f"/requests/{request_id}")["seen"]
        body = {"choice": "approve", "reason": "Figures and documents are in order", "seen": seen}
        return user.attempt("POST", f"{REVIEW_PREFIX}/requests/{request_id}/votes", body)[0]


def offline_problems(project: ComposeProject, request_id: str, folder: Path) -> tuple[object, ...]:
    """Take record and public keys out of the system, and verify them with nothing else."""
    script = f"model-approval audit export {request_id} --output /tmp/bundle >/dev/null && cat /tmp/bundle"
    bundle, keys = folder / "bundle.json", folder / "keys"
    bundle.write_text(project.run("airflow-scheduler", "bash", "-c", script))
    keys.mkdir()
    listed = project.run(
        "airflow-scheduler", "bash", "-c", "cd /var/lib/model-approval/keys/trusted && head -v -n 99 *.pem"
    )
    for part in listed.split("==> ")[1:]:
        name, _, text = part.partition(" <==\n")
        (keys / name).write_text(text)
    return verify_bundle_file(bundle, keys).problems


def open_ports(project: ComposeProject, service: str, host: str, *ports: int) -> list[int]:
    """Those of another service's ports to which a service can open a TCP connection."""
    attempt = f"timeout 3 bash -c '</dev/tcp/{host}/'$port 2>/dev/null && echo $port"
    script = f"for port in {' '.join(map(str, ports))}; do {attempt}; done; true"
    return [int(port) for port in project.run(service, "bash", "-c", script).split()]


def remove_from_cluster(model: str) -> None:
    cluster = connect(Path(os.environ["KUBECONFIG"]))
    instance = {"app.kubernetes.io/instance": deployment_name(model, ENVIRONMENT)}
    for kind in ("Deployment", "Service", "NetworkPolicy", "ConfigMap", "Secret"):
        for found in cluster.find(kind, "model-serving", labels=instance):
            cluster.delete(kind, "model-serving", found["metadata"]["name"])
    for pod in cluster.find("Pod", "model-validation"):
        if model in pod["metadata"]["labels"].get("model-approval/request", ""):
            cluster.delete("Pod", "model-validation", pod["metadata"]["name"])
