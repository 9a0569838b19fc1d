"""Validator pods on a real cluster, through the operator that the DAGs use, with the rights it has in production."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial

import pytest
from airflow.sdk.exceptions import AirflowFailException

from model_approval.adapters.kubernetes.diagnosis import is_final, pod_failure_reason
from model_approval.adapters.kubernetes.manifests import PodJob, validator_pod
from model_approval.adapters.s3_client import s3_client
from model_approval.domain.evidence import Device, Evidence
from model_approval.operators.validator_pod import ValidatorPodOperator
from model_approval.policy.schema import Resources
from tests.support.builders import a_benchmark_check
from tests.support.cluster import gpus, unique
from tests.support.pod_runs import TaskInstance, defer, resume, run, wait_for_event
from tests.support.servers import MODELS_BUCKET, wait_until
from tests.support.serving import an_adding_model

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


def test_benchmark_pod_measures_on_the_cpu_and_says_so(validation):
    resources = {"cpu": "1", "memory": "1Gi"}
    check = {**a_benchmark_check(resources=resources), "parameters": {"duration_s": 2}}
    promotion = validation({"model.onnx": an_adding_model(1.0)}, check=check)

    run(operator_of(promotion), task_of(promotion))

    evidence = evidence_of(promotion)
    assert evidence.device == Device.CPU
    p99 = evidence.metric("latency_p99")
    assert p99 is not None
    assert p99.unit == "ms"
    assert p99.value > 0


def test_no_credential_is_visible_in_the_pod_the_trigger_or_xcom(validation, cluster, s3_store):
    promotion = validation()
    task = task_of(promotion)

    deferral = defer(operator_of(promotion), task)

    [pod] = cluster.pods_of(promotion.request_id)
    shown = cluster.kubectl("get", "pod", "-n", "model-validation", pod["metadata"]["name"], "-o", "json")
    everywhere = shown + json.dumps(deferral.trigger.serialize(), default=str) + json.dumps(task.xcoms)
    secrets = [s3_store.admin, s3_store.writer, s3_store.reader]
    for secret in ("X-Amz-Signature", *(item.secret_key for item in secrets), *(item.access_key for item in secrets)):
        assert secret not in everywhere
    [main] = pod["spec"]["containers"]
    assert "env" not in main
    assert "envFrom" not in main
    assert {item["name"] for item in main["volumeMounts"]} == {"capability", "work", "tmp"}
    assert {item["name"] for item in pod["spec"]["volumes"]} == {"capability-in", "capability", "work", "tmp"}
    resume(operator_of(promotion), task, deferral)


def test_capability_belongs_to_the_pod_and_goes_when_the_check_ends(validation, cluster):
    promotion = validation()
    task = task_of(promotion)

    deferral = defer(operator_of(promotion), task)

    [pod] = cluster.pods_of(promotion.request_id)
    secret = cluster.client.get("Secret", "model-validation", pod["metadata"]["name"])
    assert secret is not None
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [pod["metadata"]["uid"]]
    resume(operator_of(promotion), task, deferral)
    assert cluster.client.get("Secret", "model-validation", pod["metadata"]["name"]) is None


def test_attempt_after_a_lost_worker_takes_over_the_running_pod_and_its_run(validation, cluster):
    promotion = validation()
    defer(operator_of(promotion), task_of(promotion))

    run(operator_of(promotion), task_of(promotion, try_number=2))

    assert [item.run for item in promotion.services.reviews.evidence(promotion.request_id)] == [1]
    assert promotion.services.evidence.read(promotion.request_id, promotion.check.name, 2) is None


def test_attempt_after_the_pod_has_ended_unseen_uses_its_evidence(validation, cluster):
    promotion = validation()
    wait_for_event(defer(operator_of(promotion), task_of(promotion)))

    digest = operator_of(promotion)().execute(task_of(promotion, try_number=2).context())

    found = promotion.services.reviews.evidence(promotion.request_id)
    assert [(item.run, item.digest) for item in found] == [(1, digest)]


def test_bytes_changed_after_intake_error_the_check_naming_the_file_and_both_digests(validation, settings, cluster):
    promotion = validation()
    candidate = promotion.services.reviews.get(promotion.request_id).candidate
    s3_client(settings).put_object(
        Bucket=MODELS_BUCKET, Key=f"{candidate.artifact_uri.rsplit('/', 1)[1]}/model.onnx", Body=b"other bytes"
    )

    with pytest.raises(AirflowFailException, match=r"container fetch .* model.onnx: pinned as sha256:.* now sha256:"):
        run(operator_of(promotion), task_of(promotion))

    [stored] = promotion.services.reviews.evidence(promotion.request_id)
    assert not stored.is_usable
    assert "model.onnx" in stored.error


def test_errored_check_runs_again_as_the_next_run(validation, cluster):
    promotion = validation(check={"resources": {"memory": "12Mi"}})
    with pytest.raises(AirflowFailException, match=r"used more than its memory limit of 12Mi \(OOMKilled\)"):
        run(operator_of(promotion), task_of(promotion))
    kept = cluster.pods_of(promotion.request_id)
    roomier(promotion)

    run(operator_of(promotion), task_of(promotion, try_number=2))

    assert [pod["metadata"]["labels"]["model-approval/run"] for pod in kept] == ["1"], (
        "failed pods stay to be looked at"
    )
    found = promotion.services.reviews.evidence(promotion.request_id)
    assert [(item.run, item.is_usable) for item in found] == [(1, False), (2, True)]


def test_pod_that_asks_for_an_absent_gpu_errors_in_words_and_leaves_the_queue(validation, cluster):
    promotion = validation(check={"resources": {"gpu": 1}}, startup_timeout_s=10)

    with pytest.raises(AirflowFailException, match=r"no node has a free nvidia.com/gpu \(Unschedulable\)"):
        run(operator_of(promotion), task_of(promotion))

    assert cluster.pods_of(promotion.request_id) == []


def test_pod_that_asks_for_a_gpu_runs_when_a_node_has_one(validation, cluster):
    promotion = validation(check={"resources": {"gpu": 1}})

    with gpus(cluster, 1):
        run(operator_of(promotion), task_of(promotion))

    assert evidence_of(promotion).check == promotion.check.name


def test_image_that_cannot_be_pulled_errors_the_check_naming_the_image(validation, cluster):
    promotion = validation(validator_image="localhost:1/absent:1", startup_timeout_s=10)

    with pytest.raises(AirflowFailException, match=r"the image localhost:1/absent:1 cannot be pulled"):
        run(operator_of(promotion), task_of(promotion))

    # A pod that stayed would start when the image is there.
    assert all("deletionTimestamp" in pod["metadata"] for pod in cluster.pods_of(promotion.request_id))


def test_pod_deleted_by_somebody_errors_the_check(validation, cluster):
    promotion = validation(check={"resources": {"gpu": 1}})  # stays unscheduled, so that it is there to be deleted
    task = task_of(promotion)
    deferral = defer(operator_of(promotion), task)
    [pod] = cluster.pods_of(promotion.request_id)

    cluster.client.delete("Pod", "model-validation", pod["metadata"]["name"])
    with pytest.raises(AirflowFailException, match="vanished before it finished"):
        resume(operator_of(promotion), task, deferral)


def test_cluster_ends_a_pod_at_its_deadline_even_when_nobody_watches(validation, cluster):
    promotion = validation()
    job = PodJob("pr-deadline", "hang", "security_scan", 1, promotion.check.resources, 3, promotion.target.kubernetes)
    pod = validator_pod(replace(job, request_id=unique("pr-deadline")))
    pod["spec"].pop("initContainers")
    pod["spec"]["volumes"] = [volume for volume in pod["spec"]["volumes"] if "secret" not in volume]
    pod["spec"]["containers"][0].update({"command": ["sleep", "600"], "args": []})
    pod["spec"]["activeDeadlineSeconds"] = 3
    cluster.client.create(pod)
    place = ("Pod", "model-validation", pod["metadata"]["name"])

    wait_until(lambda: is_final(cluster.client.get(*place)), timeout_s=40, what="the deadline of the pod")

    ended = cluster.client.get(*place)
    cluster.client.delete(*place)
    assert pod_failure_reason(ended).startswith("the pod did not finish within 3 s ")


def roomier(promotion) -> None:
    """Give the check the memory it needs, as an edited policy and a new request would."""
    reviews = promotion.services.reviews
    digest = reviews.get(promotion.request_id).request.policy_digest
    frozen = reviews.policies[digest]
    check = promotion.check.model_copy(update={"resources": Resources()})
    mended = frozen.model_copy(update={"policy": frozen.policy.model_copy(update={"checks": (check,)})})
    reviews.freeze_policy(mended)
    current = reviews.promotions[promotion.request_id]
    request = current.request.model_copy(update={"policy_digest": mended.digest})
    reviews.promotions[promotion.request_id] = current.model_copy(update={"request": request})
