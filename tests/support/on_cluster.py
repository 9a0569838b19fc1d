"""The embedded stack with a real cluster as its target: its configuration, the way to its store, and what people see.

    with on_cluster(cluster, login, folder) as promoter:
        request = promoter.ask(promoter.variant("fraud-1"))

Airflow acts as the service account; the administrator's client only looks and tidies up.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from model_approval.adapters.kubernetes.objects import Json
from model_approval.domain.deployment import KubernetesTarget, deployment_name
from model_approval.domain.evidence import StoredEvidence
from model_approval.domain.promotion import PromotionState
from model_approval.embedded.airflow_api import wait_until
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.sample_models import SampleModel
from model_approval.embedded.stack import Stack
from model_approval.embedded.steps import Progress
from model_approval.ports import Deployer, HttpReply
from tests.support.cluster import Cluster, put_reader_secret, reachable_from_pods, unique
from tests.support.promoter import PATIENCE_S, ROOT, Promoter

ENVIRONMENT = "production-cluster"
ALIAS = f"champion-{ENVIRONMENT}"
CHECKS = frozenset({"security_scan", "gpu_benchmark"})
SECONDS_OF_LONG_BENCHMARK = 20.0
"""Long enough to kill programs while its pod runs."""
_SECONDS_FOR_A_GPU = 20
_DAGS = {"promotion_intake__mlflow", "promote__fraud_scoring_kubernetes", "promote__steady", "promote__vision"}


@dataclass(frozen=True)
class Watched:
    """One promotion's validation while it ran."""

    pods: dict[str, str]
    """By check: what `kubectl get pods -o json` told of its pod."""
    triggers: dict[str, str]
    """By check: the class of the trigger that its deferred task waited on."""

    def pod(self, check: str) -> Json:
        """A check's pod."""
        found: Json = json.loads(self.pods[check])
        return found


class ClusterPromoter(Promoter):
    """A promoter whose models go to the cluster."""

    def __init__(self, stack: Stack, cluster: Cluster) -> None:
        super().__init__(stack)
        self.cluster = cluster

    @property
    def deployer(self) -> Deployer:
        """The cluster's, with the rights that the deploy task has."""
        catalog = self.services.policies.all()
        target = next(frozen.target for frozen in catalog if frozen.policy.name == "fraud-scoring-kubernetes")
        return self.services.deployer_for(target)

    def ask(self, model: SampleModel) -> Json:
        """Register, tag, and wait until the request was found; the request."""
        version = self.tag(model)
        found: Json = self.reach(model.name, *PromotionState, version=version)
        return found

    def model(self, name: str, files: dict[str, bytes] | None = None, **payload: object) -> SampleModel:
        """The good sample under a name of its own, asking for the cluster."""
        return self.variant(name, files, environment=ENVIRONMENT, **payload)

    def tasks(self, request: Json) -> dict[str, Any]:
        """The tasks of a promotion's run, by id, as Airflow's API tells them; none before the run was started."""
        path = f"/api/v2/dags/{dag_id(request)}/dagRuns/{request['id']}/taskInstances"
        listed = self.answered(lambda: self.stack.user("olga").call("GET", path)) or {"task_instances": []}
        return {task["task_id"]: task for task in listed["task_instances"]}

    def watch(self, request: Json) -> Watched:
        """Look on until every check was seen as a pod, and as a task that waits for it in the triggerer."""
        seen = Watched({}, {})

        def complete() -> bool:
            self.stack.tend()
            for pod in self.cluster.pods_of(request["id"]):
                check, name = pod["metadata"]["labels"]["model-approval/check"], pod["metadata"]["name"]
                if check not in seen.pods:
                    seen.pods[check] = self.cluster.kubectl("get", "pods", "-n", "model-validation", name, "-o", "json")
            waiting = {name: task["trigger"] for name, task in self.tasks(request).items() if name in CHECKS}
            seen.triggers.update({name: trigger["classpath"] for name, trigger in waiting.items() if trigger})
            return seen.pods.keys() == seen.triggers.keys() == CHECKS

        wait_until(complete, what=f"both checks of {request['id']} to be seen", deadline_s=PATIENCE_S)
        return seen

    def evidence(self, request: Json) -> list[StoredEvidence]:
        """What the checks left, by check and run."""
        found = self.services.reviews.evidence(request["id"])
        return sorted(found, key=lambda stored: (stored.check, stored.run))

    def call(self, model: str, *, authenticated: bool = True) -> HttpReply:
        """The sample's own inference request to the live endpoint."""
        body = self.good.files["smoke_input.json"]
        name = deployment_name(model, ENVIRONMENT)
        return self.deployer.call(name, "/v1/predict", body=body, authenticated=authenticated)

    def objects(self, model: str, kind: str) -> list[Json]:
        """What lies on the cluster for a model's deployment."""
        labels = {"app.kubernetes.io/instance": deployment_name(model, ENVIRONMENT)}
        return self.cluster.client.find(kind, "model-serving", labels=labels)

    def tidy_up(self) -> None:
        """Remove what this stack's promotions left on the cluster, also after a failed test."""
        for promotion in self.services.reviews.find(list(PromotionState)):
            request = promotion.request
            self.deployer.remove(deployment_name(request.model, request.environment))
            for pod in self.cluster.pods_of(request.id):
                self.cluster.client.delete("Pod", "model-validation", pod["metadata"]["name"])


def dag_id(request: Json) -> str:
    """The DAG of a request's policy."""
    return f"promote__{request['policy'].replace('-', '_')}"


@contextmanager
def on_cluster(cluster: Cluster, login: Path, folder: Path) -> Iterator[ClusterPromoter]:
    """A running stack that acts on the cluster with the login's rights."""
    assert cluster.target.kubernetes is not None
    options = StackOptions(
        state_dir=folder / "state",
        airflow_port=0,
        mlflow_port=0,
        store_port=0,
        sample=False,
        config_dir=folder / "config",
        kubeconfig=login,
    )
    secret = unique("test-store-reader")
    with Stack(options, Progress()) as stack, reachable_from_pods(stack.store) as store_url:
        put_reader_secret(cluster.client, stack.store, secret)
        changes = {"store_endpoint_url": store_url, "store_reader_secret": secret, "startup_timeout_s": 120}
        _write_config(folder / "config", cluster.target.kubernetes.model_copy(update=changes))
        stack.start()
        stack.wait_for_dags(_DAGS)
        promoter = ClusterPromoter(stack, cluster)
        try:
            with promoter.registry:
                yield promoter
        finally:
            promoter.tidy_up()
            cluster.client.delete("Secret", "model-serving", secret)


def _write_config(config: Path, target: KubernetesTarget) -> None:
    """The shipped configuration with the test's images and quick checks, and two more paths.

    `steady-*` is measured for long; `vision-*` needs a GPU and does not wait long for one.
    """
    for name in ("policies", "committees", "targets"):
        shutil.copytree(ROOT / "include" / name, config / name)
    for name, startup_s in (("cluster", target.startup_timeout_s), ("cluster-gpu", _SECONDS_FOR_A_GPU)):
        block = {**target.model_dump(mode="json"), "startup_timeout_s": startup_s}
        written = {"schema": "model-approval/target/v1", "name": name, "runtime": "kubernetes", "kubernetes": block}
        (config / "targets" / f"{name}.yaml").write_text(yaml.safe_dump(written))
    path = config / "policies" / "fraud-scoring-kubernetes.yaml"
    policy = yaml.safe_load(path.read_text())
    scan, benchmark = (_quick(check) for check in policy["checks"])
    with_gpu = {**benchmark, "resources": {**benchmark["resources"], "gpu": 1}}
    long = {**benchmark, "parameters": {**benchmark["parameters"], "duration_s": SECONDS_OF_LONG_BENCHMARK}}
    paths = (
        {**policy, "checks": [scan, benchmark]},
        {**policy, **_another("steady", policy), "checks": [scan, long]},
        {
            **policy,
            **_another("vision", policy),
            "checks": [with_gpu],
            "deployment": {**policy["deployment"], "target": "cluster-gpu"},
        },
    )
    for made in paths:
        (config / "policies" / f"{made['name']}.yaml").write_text(yaml.safe_dump(made))


def _another(name: str, policy: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "title": f"The path {name}", "match": {**policy["match"], "models": [f"{name}-*"]}}


def _quick(check: dict[str, Any]) -> dict[str, Any]:
    """These tests are about the way: two checks fit onto two cores, and a busy machine turns no state into another."""
    resources = {**check["resources"], "cpu": "500m", "memory": "1Gi", "ephemeral_storage": "1Gi"}
    changed = {**check, "resources": resources}
    if check["validator"] == "gpu_benchmark":
        changed["parameters"] = {"duration_s": 1.0, "warm_up_s": 1.0}
        changed["rules"] = [{**rule, "limit": _loose(rule["limit"])} for rule in check["rules"]]
    return changed


def _loose(limit: dict[str, Any]) -> dict[str, Any]:
    loosened = {"maximum": 1e6, "minimum": 0.001, "min_ratio_to_champion": 0.001}
    return {name: loosened.get(name, value) for name, value in limit.items()}
