"""Pods whose validator is in the hands of the artifact, and validators of one's own: what they can do on a cluster."""

from __future__ import annotations

import json

import pytest
from airflow.sdk.exceptions import AirflowFailException

from model_approval.adapters.kubernetes.diagnosis import is_final
from model_approval.domain.evidence import Verdict
from model_approval.policy.evaluate import evaluate_checks
from tests.cluster.test_validator_pods import evidence_of, operator_of, task_of
from tests.support.builders import FILES, a_benchmark_check
from tests.support.cluster import built_on_cluster
from tests.support.models import a_pickle_that_calls
from tests.support.pod_runs import defer, resume, run
from tests.support.servers import wait_until

pytestmark = pytest.mark.cluster

_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_API_SERVER = "10.99.0.1:6443"


def _hostile(what: str, base: str) -> str:
    folder = "tests/support/hostile_image"
    return built_on_cluster(
        f"hostile-{what}",
        f"{folder}/Containerfile",
        arguments={"BASE": base, "WHAT": what},
        also=("tests/support/hostile.py", f"{folder}/in_place_of_{what}.py"),
    )


@pytest.fixture(scope="session")
def hostile_image(cluster) -> str:
    return _hostile("scan", cluster.target.kubernetes.validator_image)


@pytest.fixture(scope="session")
def hostile_server_image(cluster) -> str:
    return _hostile("runtime", cluster.target.kubernetes.server_image)


@pytest.fixture(scope="session")
def own_validator_image(cluster) -> str:
    folder = "include/images/example-validator"
    return built_on_cluster("example", f"{folder}/Containerfile", also=(f"{folder}/model_card.py",))


def _verdicts(promotion) -> dict[str, tuple[Verdict, str]]:
    reviews = promotion.services.reviews
    found = reviews.get(promotion.request_id)
    outcomes = evaluate_checks(
        reviews.policy(found.request.policy_digest),
        tuple(reviews.evidence(promotion.request_id)),
        manifest=found.candidate.manifest,
        has_champion=False,
    )
    return {outcome.rule: (outcome.verdict, outcome.reason) for outcome in outcomes}


def test_process_that_reads_the_artifact_gets_nowhere_once_it_is_taken_over(validation, hostile_image, cluster):
    store = cluster.store_url.removeprefix("http://")
    attempts = {
        f"connect {store}": None,
        f"connect {_API_SERVER}": None,
        "unix_socket": None,
        f"read {_TOKEN}": None,
        "read /capability/upload_url": None,
        "read /capability-in/job.json.gz": None,
        "write /work/evidence.json": None,
        "write /work/input.json": None,
        "write /capability/upload_url": None,
        "write_beside_artifact": None,
        "change_artifact": None,
        "environment_of_supervisor": None,
        "memory_of_supervisor": None,
        "kill_supervisor": None,
        "execute": None,
        "fork_bomb": 200,
        "write /tmp/planted": None,
    }
    promotion = validation(check={"parameters": {"attempts": attempts}}, validator_image=hostile_image)

    run(operator_of(promotion), task_of(promotion))

    evidence = evidence_of(promotion)
    assert evidence.validator_version == "hostile", "the image under test is the hostile one"
    got = {said: evidence.environment[said] for said in attempts}
    assert got.pop("fork_bomb") == "done: 0 processes"
    assert {said: came for said, came in got.items() if not came.startswith("refused: ")} == {}
    locks = {name: state for name, state in evidence.environment.items() if name.startswith("confinement.")}
    assert set(locks) == {f"confinement.{lock}" for lock in ("limits", "capabilities", "landlock", "seccomp")}
    assert all(state.startswith("in force") for state in locks.values()), locks


def test_model_that_takes_over_its_server_gets_nowhere_and_leaves_no_evidence(validation, hostile_server_image):
    check = {
        **a_benchmark_check(resources={"cpu": "500m", "memory": "512Mi", "ephemeral_storage": "1Gi"}),
        "timeout_s": 120,
    }
    promotion = validation(check=check, server_image=hostile_server_image)

    with pytest.raises(AirflowFailException, match="candidate: 15 attempts, got through with: none"):
        run(operator_of(promotion), task_of(promotion))

    assert _verdicts(promotion)["performance.latency-p99"][0] is Verdict.ERRORED


def test_flood_of_the_disk_ends_with_the_pods_eviction_and_an_errored_verdict(validation, hostile_image):
    check = {
        "parameters": {"attempts": {"flood": 4}},
        "resources": {"cpu": "500m", "memory": "512Mi", "ephemeral_storage": "100Mi"},
        "timeout_s": 120,
    }
    promotion = validation(check=check, validator_image=hostile_image)

    with pytest.raises(AirflowFailException, match="evicted from its node"):
        run(operator_of(promotion), task_of(promotion))

    assert {verdict for verdict, _ in _verdicts(promotion).values()} == {Verdict.ERRORED}


def test_hang_ends_at_the_checks_limit_and_can_be_run_again(validation, hostile_image):
    check = {"parameters": {"attempts": {"hang": None}}, "timeout_s": 10}
    promotion = validation(check=check, validator_image=hostile_image)

    with pytest.raises(AirflowFailException, match="stopped after 10 s"):
        run(operator_of(promotion), task_of(promotion))

    assert _verdicts(promotion)["security.no-high-findings"][0] is Verdict.ERRORED
    promotion_reason = _verdicts(promotion)["security.no-high-findings"][1]
    assert "raise the check's timeout_s" in promotion_reason


def test_hostile_model_ends_in_a_clear_no(validation):
    promotion = validation({**FILES, "weights.pkl": a_pickle_that_calls("posix", "system")})

    run(operator_of(promotion), task_of(promotion))

    verdict, reason = _verdicts(promotion)["security.no-high-findings"]
    assert verdict is Verdict.FAILED
    assert "pickle.dangerous-import in weights.pkl" in reason


def test_progress_of_the_scan_is_in_the_pods_log(validation, cluster):
    promotion = validation()
    deferral = defer(operator_of(promotion), task_of(promotion))
    [pod] = cluster.pods_of(promotion.request_id)
    name = pod["metadata"]["name"]
    place = ("Pod", "model-validation", name)
    wait_until(lambda: is_final(cluster.client.get(*place)), timeout_s=90, what="the end of the pod")

    log = cluster.kubectl("logs", "-n", "model-validation", name, "-c", "base")

    resume(operator_of(promotion), task_of(promotion), deferral)
    assert "progress: scanned 1 of 3 files" in log


def _own_check(image: str, **changes: object) -> dict[str, object]:
    rules = ({"id": "documents.model-card", "title": "Model card", "findings": {"severity": "high"}},)
    return {
        "name": "model_card",
        "validator": "model-card",
        "image": image,
        "rules": rules,
        "resources": {"cpu": "250m", "memory": "128Mi", "ephemeral_storage": "500Mi"},
        **changes,
    }


def test_validator_of_ones_own_brings_evidence_home_without_any_capability(validation, own_validator_image, cluster):
    card = b"# Card\n\n## Intended use\n\n## Limitations\n"
    promotion = validation({**FILES, "docs/model_card.md": card}, check=_own_check(own_validator_image))
    deferral = defer(operator_of(promotion), task_of(promotion))
    [pod] = cluster.pods_of(promotion.request_id)

    resume(operator_of(promotion), task_of(promotion), deferral)

    evidence = evidence_of(promotion)
    assert [finding.subject for finding in evidence.findings] == ["Training data"]
    assert evidence.image_digest == own_validator_image
    assert _verdicts(promotion)["documents.model-card"][0] is Verdict.FAILED
    own = next(item for item in pod["spec"]["initContainers"] if item["name"] == "validate")
    assert {item["name"] for item in own["volumeMounts"]} == {"work", "report", "own-tmp"}
    assert "X-Amz-Signature" not in json.dumps(pod)


def test_validator_of_ones_own_that_breaks_is_errored_with_its_last_words(validation, own_validator_image):
    check = _own_check(own_validator_image, parameters={"sections": 7})
    promotion = validation(check=check)

    with pytest.raises(AirflowFailException, match=r"container validate .*cannot work"):
        run(operator_of(promotion), task_of(promotion))

    assert _verdicts(promotion)["documents.model-card"][0] is Verdict.ERRORED
