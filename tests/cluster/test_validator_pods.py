"""Validator pods on a real cluster, through the operator that the DAGs use, with the rights it has in production."""

from __future__ import annotations

import json
from functools import partial

import pytest
from airflow.sdk.exceptions import AirflowFailException

from model_approval.domain.evidence import Evidence
from model_approval.operators.validator_pod import ValidatorPodOperator
from tests.support.cluster import gpus
from tests.support.pod_runs import TaskInstance, defer, resume, run

pytestmark = pytest.mark.cluster


def operator_of(validation):
    return partial(
        ValidatorPodOperator,
        task_id=validation.check.name,
        check=validation.check,
        target=validation.target,
        poll_interval_s=0.5,
        services=lambda: validation.services,
    )


def task_of(validation, **changes) -> TaskInstance:
    return TaskInstance(validation.check.name, validation.request_id, **changes)


def evidence_of(validation, *, run_number: int = 1) -> Evidence:
    raw = validation.services.evidence.read(validation.request_id, validation.check.name, run_number)
    assert raw is not None
    return Evidence.model_validate_json(raw)


def test_security_scan_pod_brings_its_evidence_home_and_leaves_nothing_on_the_cluster(validation, cluster):
    promotion = validation()

    digest = run(operator_of(promotion), task_of(promotion))

    stored = promotion.services.reviews.evidence(promotion.request_id)
    assert [item.digest for item in stored] == [digest]
    evidence = evidence_of(promotion)
    assert {item.path for item in evidence.coverage} == {"model.onnx", "serving.yaml", "docs/model_card.md"}
    assert evidence.image_digest == promotion.target.kubernetes.validator_image
    assert cluster.pods_of(promotion.request_id) == []
