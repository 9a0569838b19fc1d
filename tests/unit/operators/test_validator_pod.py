"""The operator at parse time, and the pod that the provider makes of our manifest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from model_approval.adapters.kubernetes.manifests import PodJob, validator_pod
from model_approval.adapters.memory.reviews import MemoryReviewStore
from model_approval.policy.schema import Resources
from model_approval.ports import Services
from tests.support.builders import (
    a_benchmark_check,
    a_frozen_policy,
    a_kubernetes_target,
    a_policy,
    a_promotion,
    a_request,
)

pytestmark = pytest.mark.unit

HEAVY = ("kubernetes", "kubernetes_asyncio", "airflow.providers.cncf.kubernetes.operators", "boto3", "mlflow")
ASK = """
import sys
import model_approval.operators.validator_pod
print([name for name in %r if name in sys.modules])
"""


def a_pod_job(*, serves_models: bool = False) -> PodJob:
    target = a_kubernetes_target().kubernetes
    assert target is not None
    return PodJob(
        "pr-7", "security_scan", "security_scan", 1, Resources(gpu=1), 60, target, serves_models=serves_models
    )


def test_importing_the_operator_imports_no_kubernetes_and_no_provider(tmp_path: Path):
    environment = {"AIRFLOW_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}

    done = subprocess.run(
        [sys.executable, "-c", ASK % (HEAVY,)], env=environment, capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("serves_models", [False, True], ids=["one container", "with model servers"])
def test_provider_changes_nothing_of_our_pod_but_adds_its_labels(serves_models: bool):
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator
    from kubernetes.client import ApiClient

    from model_approval.operators._pod_operator import EvidencePodOperator

    job = a_pod_job(serves_models=serves_models)
    ours = validator_pod(job)
    unused = cast("Services", None)
    operator = EvidencePodOperator(task_id="security_scan", services=unused, job=job, poll_interval_s=1)

    built = ApiClient().sanitize_for_serialization(operator.build_pod_request_obj(None, dry_run=True))

    assert ours["metadata"]["labels"].items() <= built["metadata"]["labels"].items()
    assert built["metadata"]["name"] == ours["metadata"]["name"]
    pristine = ApiClient().sanitize_for_serialization(PodGenerator.deserialize_model_dict(ours))["spec"]
    assert without_empty(built["spec"]) == {**without_empty(pristine), "hostNetwork": False}


def without_empty(value):
    """The provider writes empty lists and objects where nothing was said."""
    if isinstance(value, dict):
        cleaned = {key: without_empty(item) for key, item in value.items()}
        return {key: item for key, item in cleaned.items() if item not in ({}, [], None, "")}
    if isinstance(value, list):
        return [without_empty(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"parameters": {"endpoint": {"url": "http://192.0.2.1:8000"}}}, False),
        ({"validator": "security_scan"}, False),
        ({"validator": "latency", "image": "registry.example/latency:1"}, False),
    ],
    ids=["ours", "of a running server", "scan", "of one's own"],
)
def test_only_a_benchmark_of_ours_gets_model_servers(changes: dict[str, object], expected: bool):
    from model_approval.operators._pod_operator import pod_job

    check = {**a_benchmark_check(), **changes}
    policy = a_policy(checks=(check,), deployment={"target": "cluster"})
    frozen = a_frozen_policy(policy=policy, target=a_kubernetes_target())
    reviews, promotion = MemoryReviewStore(), a_promotion(request=a_request(policy=frozen))
    reviews.freeze_policy(frozen)
    reviews.promotions[promotion.id] = promotion

    job = pod_job(cast("Services", SimpleNamespace(reviews=reviews)), promotion.id, check="gpu_benchmark", run=1)

    assert job is not None
    assert job.serves_models is expected
