"""Benchmarks on a real cluster: the load generator in one container, the model servers in the other."""

from __future__ import annotations

import asyncio

import pytest
from airflow.sdk.exceptions import AirflowFailException

from model_approval.domain.evidence import Device
from tests.cluster.test_validator_pods import evidence_of, operator_of, task_of
from tests.support.builders import a_benchmark_check
from tests.support.cluster import gpus
from tests.support.models import an_onnx_model
from tests.support.pod_runs import defer, resume, run
from tests.support.servers import wait_until
from tests.support.serving import an_adding_model

pytestmark = pytest.mark.cluster

_RESOURCES = {"cpu": "500m", "memory": "512Mi", "ephemeral_storage": "1Gi"}
_QUICK = {"duration_s": 1, "warm_up_s": 1, "ratio_precision": 0.2, "min_queries": 700}


def _check(**changes: object) -> dict[str, object]:
    return {**a_benchmark_check(resources=_RESOURCES), "parameters": _QUICK, "timeout_s": 240, **changes}


def _model(shift: float) -> dict[str, bytes]:
    return {"model.onnx": an_adding_model(shift)}


def test_candidate_and_champion_are_measured_in_the_server_image_by_a_program_in_the_other(validation, cluster):
    promotion = validation(_model(1.0), champion=_model(2.0), check=_check())
    deferral = defer(operator_of(promotion), task_of(promotion))
    [pod] = cluster.pods_of(promotion.request_id)

    resume(operator_of(promotion), task_of(promotion), deferral)

    evidence = evidence_of(promotion)
    assert evidence.device == Device.CPU
    assert evidence.image_digest == promotion.target.kubernetes.validator_image
    assert evidence.environment["server_image"] == promotion.target.kubernetes.server_image
    p50, memory = evidence.metric("latency_p50"), evidence.metric("peak_memory")
    assert p50 is not None
    assert p50.ratio is not None, "candidate and champion were measured in turn"
    assert memory is not None
    assert memory.value > 10
    assert memory.baseline is not None
    assert cluster.pods_of(promotion.request_id) == [], "both containers ended by themselves, and the pod is gone"
    base, server = pod["spec"]["containers"]
    assert (base["name"], server["name"]) == ("base", "server")
    assert server["image"] == promotion.target.kubernetes.server_image
    assert server["resources"]["limits"] == {"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "1Gi"}
    assert pod["status"]["qosClass"] == "Guaranteed"


def test_both_programs_lock_themselves_in_on_the_node(validation):
    promotion = validation(_model(1.0), check=_check())

    run(operator_of(promotion), task_of(promotion))

    environment = evidence_of(promotion).environment
    for whose in ("confinement", "model_process.confinement"):
        locks = {lock: environment[f"{whose}.{lock}"] for lock in ("limits", "capabilities", "landlock", "seccomp")}
        assert all(state.startswith("in force") for state in locks.values()), (whose, locks)


def test_model_that_cannot_be_loaded_is_errored_with_the_servers_last_words(validation):
    promotion = validation({"model.onnx": b"no model at all"}, check=_check())

    with pytest.raises(AirflowFailException, match=r"container base .* candidate: .*model\.onnx"):
        run(operator_of(promotion), task_of(promotion))

    [stored] = promotion.services.reviews.evidence(promotion.request_id)
    assert not stored.is_usable


def test_model_servers_beyond_their_memory_are_errored_with_that_reason(validation):
    check = _check(resources={**_RESOURCES, "memory": "96Mi"})
    promotion = validation({"model.onnx": an_onnx_model(inputs=1024, layers=24)}, check=check)

    # Which of the two is known depends on how much of the container the kernel ends.
    told = (
        r"container server used more than .* 96Mi \(OOMKilled\)|candidate: killed from outside, most likely out of mem"
    )
    with pytest.raises(AirflowFailException, match=told):
        run(operator_of(promotion), task_of(promotion))

    [stored] = promotion.services.reviews.evidence(promotion.request_id)
    assert not stored.is_usable


def test_server_image_that_cannot_be_pulled_is_errored_naming_the_image(validation, cluster):
    promotion = validation(_model(1.0), check=_check(), server_image="localhost:1/absent:2", startup_timeout_s=10)

    with pytest.raises(AirflowFailException, match=r"the image localhost:1/absent:2 cannot be pulled"):
        run(operator_of(promotion), task_of(promotion))

    assert all("deletionTimestamp" in pod["metadata"] for pod in cluster.pods_of(promotion.request_id))


def test_gpu_goes_to_the_model_servers_alone(validation, cluster):
    promotion = validation(_model(1.0), check=_check(resources={**_RESOURCES, "gpu": 1}))

    with gpus(cluster, 1):
        deferral = defer(operator_of(promotion), task_of(promotion))
        [pod] = cluster.pods_of(promotion.request_id)
        resume(operator_of(promotion), task_of(promotion), deferral)

    asked = {item["name"]: item["resources"]["limits"].get("nvidia.com/gpu") for item in pod["spec"]["containers"]}
    assert asked == {"base": None, "server": "1"}
    assert evidence_of(promotion).device == Device.CPU, "there is no device behind the cluster's number"


def test_cancelled_check_deletes_its_pod(validation, cluster):
    promotion = validation(_model(1.0), check=_check(parameters={**_QUICK, "duration_s": 30}))
    deferral = defer(operator_of(promotion), task_of(promotion))
    assert len(cluster.pods_of(promotion.request_id)) == 1

    asyncio.run(deferral.trigger.on_kill())

    wait_until(lambda: not cluster.pods_of(promotion.request_id), timeout_s=60, what="the end of the pod")
