"""Promotions onto a real Kubernetes cluster by the real stack: scheduler, triggerer, API server, pods, a Deployment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from model_approval.adapters.kubernetes.manifests import MAIN_CONTAINER
from model_approval.adapters.kubernetes.objects import Json
from model_approval.domain.audit import Action
from model_approval.domain.deployment import Deployment, deployment_name
from model_approval.embedded.airflow_api import wait_until
from model_approval.ports import HttpReply
from model_approval.stages.audit import AuditReport, verify_log
from tests.support.cluster import gpus, unique
from tests.support.on_cluster import ALIAS, CHECKS, ENVIRONMENT, ClusterPromoter, Watched, dag_id, on_cluster
from tests.support.promoter import PATIENCE_S

pytestmark = [pytest.mark.cluster, pytest.mark.integration, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Journey:
    """One version's way, and what was seen on it."""

    request: Json
    watched: Watched
    run_state: str
    answer: HttpReply
    answer_to_strangers: HttpReply
    serving: Deployment | None
    deployments: list[Json]
    alias: str | None
    tag: str


@dataclass(frozen=True)
class TwoVersions:
    """A first version, then its successor, each observed when it had arrived."""

    model: str
    first: Journey
    second: Journey
    first_tag_at_the_end: str
    report: AuditReport


@pytest.fixture(scope="module")
def promoter(cluster, airflow_login, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterPromoter]:
    with on_cluster(cluster, airflow_login, tmp_path_factory.mktemp("on-cluster")) as found:
        yield found


@pytest.fixture(scope="module")
def versions(promoter: ClusterPromoter) -> TwoVersions:
    model = unique("fraud")
    first = travel(promoter, model, semantic_version="1.0.0")
    second = travel(promoter, model, semantic_version="1.1.0")
    report = verify_log(promoter.services.audit, promoter.services.verifier)
    return TwoVersions(model, first, second, promoter.tag_of(model, "1"), report)


def travel(promoter: ClusterPromoter, model: str, *, semantic_version: str) -> Journey:
    """Take one version the whole way, by hand of its people."""
    files = {"docs/model_card.md": f"# {model} {semantic_version}\n".encode()}
    request = promoter.ask(promoter.model(model, files, semantic_version=semantic_version))
    watched = promoter.watch(request)
    promoter.reach(model, "in_review", version=request["version"])
    promoter.approve(request["id"])
    promoter.reach(model, "deployed", version=request["version"])
    return Journey(
        request=request,
        watched=watched,
        run_state=promoter.run_ended(request)["state"],
        answer=promoter.call(model),
        answer_to_strangers=promoter.call(model, authenticated=False),
        serving=promoter.deployer.current(deployment_name(model, ENVIRONMENT)),
        deployments=promoter.objects(model, "Deployment"),
        alias=promoter.registry.alias(model, ALIAS),
        tag=promoter.tag_of(model, request["version"]),
    )


def test_both_checks_run_as_pods_for_which_deferred_tasks_wait_in_the_triggerer(versions, promoter):
    for journey in (versions.first, versions.second):
        assert set(journey.watched.triggers) == CHECKS
        for trigger in journey.watched.triggers.values():
            assert trigger.endswith("KubernetesPodTrigger")
        assert promoter.cluster.pods_of(journey.request["id"]) == []


def test_evidence_comes_home_from_the_pods_and_names_their_image(versions, promoter):
    stored = promoter.evidence(versions.first.request)

    assert [(item.check, item.run, item.is_usable) for item in stored] == [
        ("gpu_benchmark", 1, True),
        ("security_scan", 1, True),
    ]
    images = {item.evidence.image_digest for item in stored if item.evidence}
    assert images == {promoter.cluster.target.kubernetes.validator_image}


def test_validating_container_shows_no_credential_and_no_address(versions, promoter):
    store = promoter.stack.store
    identities = (store.admin, store.writer, store.reader)
    secrets = {"X-Amz-", *(item.secret_key for item in identities), *(item.access_key for item in identities)}

    for check, shown in versions.first.watched.pods.items():
        assert not [secret for secret in secrets if secret in shown], check
        pod = versions.first.watched.pod(check)
        assert "://" not in json.dumps(pod["spec"])
        [main] = [container for container in pod["spec"]["containers"] if container["name"] == MAIN_CONTAINER]
        assert "env" not in main
        assert "envFrom" not in main
        assert "serviceaccount" not in json.dumps(main["volumeMounts"])


def test_approved_version_serves_with_the_promised_headers_to_callers_with_the_token(versions):
    journey = versions.first

    assert journey.run_state == "success"
    assert journey.answer.status == 200
    assert json.loads(journey.answer.body)["outputs"]
    assert journey.answer_to_strangers.status == 401
    for reply in (journey.answer, journey.answer_to_strangers):
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_registry_cluster_and_log_agree_on_who_serves(versions, promoter):
    for journey, version in ((versions.first, "1"), (versions.second, "2")):
        assert journey.alias == version
        assert journey.tag == "deployed"
        assert journey.serving is not None
        assert journey.serving.ready
        assert (journey.serving.version, journey.serving.request_id) == (version, journey.request["id"])
        actions = promoter.actions(journey.request["id"])
        assert [actions.count(Action.DECISION_SIGNED), actions.count(Action.DEPLOYMENT_VERIFIED)] == [1, 1]


def test_second_version_replaces_the_first_in_the_one_deployment(versions, promoter):
    [before], [after] = versions.first.deployments, versions.second.deployments

    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert versions.second.answer.status == 200
    assert versions.first_tag_at_the_end == "superseded"
    assert promoter.reach(versions.model, "superseded")["id"] == versions.first.request["id"]
    assert len(promoter.objects(versions.model, "Service")) == 1


def test_audit_log_verifies(versions):
    assert versions.report.problems == ()


def test_scheduler_and_triggerer_killed_while_a_pod_runs_and_the_promotion_still_ends_once(promoter):
    model = unique("steady")
    request = promoter.ask(promoter.model(model))
    pod = benchmark_running(promoter, request)

    promoter.kill("airflow-scheduler")
    promoter.kill("airflow-triggerer")

    promoter.reach(model, "in_review")
    [stored] = [item for item in promoter.evidence(request) if item.check == "gpu_benchmark"]
    assert (stored.run, stored.is_usable) == (1, True)
    assert pod["metadata"]["labels"]["model-approval/run"] == "1"
    promoter.approve(request["id"])
    promoter.reach(model, "deployed")
    assert promoter.run_ended(request)["state"] == "success"
    actions = promoter.actions(request["id"])
    for once in (Action.ARTIFACT_PINNED, Action.DECISION_SIGNED, Action.DEPLOYMENT_STARTED, Action.DEPLOYMENT_VERIFIED):
        assert actions.count(once) == 1, once
    assert actions.count(Action.CHECK_STARTED) == actions.count(Action.CHECK_FINISHED) == len(CHECKS)
    assert len(promoter.objects(model, "Deployment")) == 1


def benchmark_running(promoter: ClusterPromoter, request: Json) -> Json:
    """The benchmark's pod once its container runs and its task waits in the triggerer."""

    def found() -> Json | None:
        if state_of(promoter, request, "gpu_benchmark") != "deferred":
            return None
        pods = promoter.cluster.pods_of(request["id"])
        return next((pod for pod in pods if runs(pod) and "gpu-benchmark" in pod["metadata"]["name"]), None)

    return wait_until(found, what=f"the benchmark of {request['id']} to run", deadline_s=PATIENCE_S, every_s=0.2)


def state_of(promoter: ClusterPromoter, request: Json, task: str) -> str | None:
    found = promoter.tasks(request).get(task)
    return found and found["state"]


def runs(pod: Json) -> bool:
    statuses = pod["status"].get("containerStatuses") or ()
    return any("running" in container["state"] for container in statuses)


def test_check_that_nobody_had_a_gpu_for_runs_again_when_there_is_one_and_the_review_opens(promoter):
    model = unique("vision")
    request = promoter.ask(promoter.model(model))
    promoter.reach(model, "blocked")

    [stored] = promoter.evidence(request)
    assert "no node has a free nvidia.com/gpu" in stored.error
    [outcome] = [item for item in page(promoter, request)["outcomes"] if item["rule"] == "performance.latency-p99"]
    assert outcome["verdict"] == "errored"
    assert "no node has a free nvidia.com/gpu" in outcome["reason"]
    assert state_of(promoter, request, "gpu_benchmark") == "failed"

    with gpus(promoter.cluster, 1):
        clear(promoter, request, "gpu_benchmark")
        promoter.reach(model, "in_review")

    assert [(item.run, item.is_usable) for item in promoter.evidence(request)] == [(1, False), (2, True)]
    verdicts = {item["rule"]: item["verdict"] for item in page(promoter, request)["outcomes"]}
    assert verdicts["performance.latency-p99"] == "passed"


def page(promoter: ClusterPromoter, request: Json) -> Json:
    """What a reader's page is made of."""
    shown: Json = promoter.stack.user("vera").review("GET", f"/requests/{request['id']}")
    return shown


def clear(promoter: ClusterPromoter, request: Json, task: str) -> None:
    """What an operator does in the Airflow UI once the cause is mended."""
    wait_until(
        lambda: state_of(promoter, request, "review") == "deferred",
        what=f"the review of {request['id']} to wait",
        deadline_s=PATIENCE_S,
    )
    body = {
        "dry_run": False,
        "dag_run_id": request["id"],
        "task_ids": [task],
        "include_downstream": True,
        "only_failed": False,
    }
    promoter.stack.user("olga").call("POST", f"/api/v2/dags/{dag_id(request)}/clearTaskInstances", body)
