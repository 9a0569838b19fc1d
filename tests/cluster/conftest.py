"""One promotion in validation, its bytes in the real store, its pods on the real cluster."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from model_approval.adapters.memory.audit import MemoryAuditLog
from model_approval.adapters.memory.reviews import MemoryReviewStore
from model_approval.adapters.memory.signing import MemorySigner, MemoryTrustedKeys
from model_approval.adapters.s3_artifacts import S3ArtifactStore
from model_approval.adapters.s3_client import s3_client
from model_approval.adapters.s3_evidence import S3EvidenceStore
from model_approval.domain.deployment import Target
from model_approval.domain.promotion import PromotionState
from model_approval.policy.schema import Check, FrozenPolicy
from model_approval.ports import Services
from model_approval.settings import Settings
from tests.support.builders import (
    FILES,
    a_candidate,
    a_champion,
    a_frozen_policy,
    a_policy,
    a_promotion,
    a_request,
    a_security_check,
    clock,
)
from tests.support.cluster import Cluster, unique
from tests.support.servers import MODELS_BUCKET


@dataclass(frozen=True)
class Validation:
    """A promotion whose first check is due."""

    services: Services
    request_id: str
    check: Check
    target: Target


@pytest.fixture(autouse=True)
def airflow_on_cluster(airflow_login, monkeypatch) -> None:
    """Airflow's connection to the cluster, as the service account and nobody more powerful."""
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(airflow_login)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(connection))


@pytest.fixture
def validation(cluster: Cluster, settings: Settings) -> Iterator[Callable[..., Validation]]:
    """Makes promotions in validation; what they leave on the cluster is removed."""
    made: list[str] = []

    def make(
        files: Mapping[str, bytes] = FILES,
        *,
        check: Mapping[str, object] | None = None,
        champion: Mapping[str, bytes] | None = None,
        **kubernetes: object,
    ) -> Validation:
        target = cluster.target.model_copy(
            update={"kubernetes": cluster.target.kubernetes.model_copy(update=kubernetes)}  # type: ignore[union-attr]
        )
        policy = a_policy(checks=(a_security_check(**(check or {})),), deployment={"target": target.name})
        frozen = a_frozen_policy(policy=policy, target=target)
        found = _in_validation(settings, frozen, files, champion)
        made.append(found.request_id)
        return found

    yield make
    for request_id in made:
        for pod in cluster.pods_of(request_id):
            cluster.client.delete("Pod", "model-validation", pod["metadata"]["name"])


def _in_validation(
    settings: Settings, frozen: FrozenPolicy, files: Mapping[str, bytes], champion: Mapping[str, bytes] | None
) -> Validation:
    request = a_request(policy=frozen, model=unique("fraud"))
    artifacts, reviews, signer = S3ArtifactStore(settings), MemoryReviewStore(), MemorySigner()
    uri = _put(settings, request.model, files)
    other = _put(settings, f"{request.model}-champion", champion) if champion else None
    reviews.freeze_policy(frozen)
    candidate = a_candidate(request, artifact_uri=uri, manifest=artifacts.manifest(uri), documents=())
    if other:
        digest = artifacts.manifest(other).artifact_digest
        serving = a_champion(model=request.model, artifact_uri=other, artifact_digest=digest)
        candidate = candidate.model_copy(update={"champion": serving})
    reviews.promotions[request.id] = a_promotion(state=PromotionState.VALIDATING, request=request, candidate=candidate)
    services = Services(
        registries={},
        artifacts=artifacts,
        evidence=S3EvidenceStore(settings),
        reviews=reviews,
        audit=MemoryAuditLog(signer, clock),
        signer=signer,
        verifier=MemoryTrustedKeys(signer),
        deployer_for=lambda target: pytest.fail(f"nothing is deployed here, not even to {target.name}"),
        profiler=None,  # type: ignore[arg-type]  # intake's; no intake here
        policies=None,  # type: ignore[arg-type]  # the same
        clock=clock,
    )
    return Validation(services, request.id, frozen.policy.checks[0], frozen.target)


def _put(settings: Settings, name: str, files: Mapping[str, bytes]) -> str:
    for path, data in files.items():
        s3_client(settings).put_object(Bucket=MODELS_BUCKET, Key=f"{name}/{path}", Body=data)
    return f"s3://{MODELS_BUCKET}/{name}"
