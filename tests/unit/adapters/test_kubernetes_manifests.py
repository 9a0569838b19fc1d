"""What is applied to a cluster, object by object: golden files, and the promises that no edit of them may break."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml

from model_approval.adapters.kubernetes.capability import capability_secret
from model_approval.adapters.kubernetes.manifests import PodJob, validator_pod
from model_approval.adapters.kubernetes.objects import Json
from model_approval.adapters.kubernetes.serving import Store, config_name, serving_objects, token_secret
from model_approval.domain.deployment import DeploymentSpec, KubernetesTarget, ServingConfig
from model_approval.domain.errors import DeploymentError, EvidenceError
from model_approval.domain.evidence import ValidatorInput, ValidatorJob
from model_approval.policy.schema import Resources
from tests.support.builders import a_kubernetes_target, a_manifest, a_serving_config
from tests.support.golden import assert_golden

pytestmark = pytest.mark.unit

GOLDEN = Path(__file__).parent / "golden"
TARGETS = Path(__file__).resolve().parents[3] / "include" / "targets" / "kubernetes"
DIGEST = "sha256:" + "ab" * 32


def a_cluster(**changes: object) -> KubernetesTarget:
    fields = {
        "validator_image": "registry.example/validator@sha256:" + "1" * 64,
        "server_image": "registry.example/model-server@sha256:" + "2" * 64,
        "store_endpoint_url": "http://192.0.2.10:8333",
    }
    target = a_kubernetes_target(kubernetes={**fields, **changes}).kubernetes
    assert target is not None
    return target


def a_pod_job(**changes: Any) -> PodJob:
    fields: dict[str, Any] = {
        "request_id": "pr-fraud-scorer-7-productio-0f0f0f0f",
        "check": "gpu_benchmark",
        "validator": "gpu_benchmark",
        "run": 2,
        "resources": Resources(gpu=1),
        "timeout_s": 600,
        "target": a_cluster(
            node_selector={"pool": "gpu"},
            tolerations=({"key": "nvidia.com/gpu", "effect": "NoSchedule"},),
            runtime_class_name="nvidia",
        ),
    }
    return PodJob(**{**fields, **changes})


def a_job(*, files: int = 3) -> ValidatorJob:
    manifest = a_manifest({f"file-{number}": f"{number}".encode() for number in range(files)})
    return ValidatorJob(
        input=ValidatorInput(
            request_id="pr-7",
            check="security_scan",
            artifact_digest=manifest.artifact_digest,
            manifest=manifest,
            image_digest="registry.example/validator",
        ),
        validator="security_scan",
        downloads={entry.path: f"http://store/{entry.path}?X-Amz-Signature={entry.sha256}" for entry in manifest.files},
        upload_url="http://store/evidence.json?X-Amz-Signature=upload",
        timeout_s=60,
    )


def a_spec(**changes: object) -> DeploymentSpec:
    manifest = a_manifest()
    fields = {
        "name": "model-fraud-scorer-production-0a1b2c3d",
        "model": "fraud-scorer",
        "version": "7",
        "environment": "production",
        "request_id": "pr-fraud-scorer-7-productio-0f0f0f0f",
        "artifact_digest": manifest.artifact_digest,
        "artifact_uri": "s3://models/fraud-scorer/7",
        "manifest": manifest,
        "policy_digest": DIGEST,
        "decision_digest": DIGEST,
        "serving": a_serving_config(),
    }
    return DeploymentSpec.model_validate({**fields, **changes})


def pods_in(objects: list[Json]) -> list[Json]:
    return [item["spec"]["template"]["spec"] for item in objects if item["kind"] == "Deployment"]


def test_validator_pod_is_as_reviewed():
    assert_golden(GOLDEN / "validator-pod.yaml", validator_pod(a_pod_job()))


def test_pod_of_ones_own_validator_is_as_reviewed():
    own = a_pod_job(check="model_card", validator="model-card", own_image="registry.example/card@sha256:" + "3" * 64)
    assert_golden(GOLDEN / "own-validator-pod.yaml", validator_pod(own))


def test_pod_of_a_benchmark_with_its_model_servers_is_as_reviewed():
    assert_golden(GOLDEN / "benchmark-pod.yaml", validator_pod(a_pod_job(serves_models=True)))


def test_model_servers_get_the_resources_of_the_policy_the_gpu_and_no_capability():
    resources = Resources(cpu="4", memory="8Gi", ephemeral_storage="20Gi", gpu=1)
    base, server = validator_pod(a_pod_job(serves_models=True, resources=resources))["spec"]["containers"]

    assert base["name"] == "base", "the provider changes the first container"
    assert server["image"] == a_cluster().server_image
    granted = {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "20Gi", "nvidia.com/gpu": "1"}
    assert server["resources"] == {"requests": granted, "limits": granted}
    assert "nvidia.com/gpu" not in base["resources"]["limits"]
    assert {item["name"]: item.get("readOnly", False) for item in server["volumeMounts"]} == {
        "work": True,
        "serve": False,
        "server-tmp": False,
    }
    assert "env" not in server
    assert "envFrom" not in server


def test_validator_of_ones_own_gets_the_bytes_and_no_capability():
    pod = validator_pod(a_pod_job(own_image="registry.example/card:1"))
    own = next(item for item in pod["spec"]["initContainers"] if item["name"] == "validate")
    assert {(item["name"], item.get("readOnly", False)) for item in own["volumeMounts"]} == {
        ("work", True),
        ("report", False),
        ("own-tmp", False),
    }
    assert "env" not in own
    assert "envFrom" not in own
    assert own["securityContext"]["readOnlyRootFilesystem"] is True


def test_pod_waits_for_the_gpu_and_in_the_queue_that_policy_and_target_name():
    labels = {"cloud.example/accelerator": "h100-80gb"}
    target = a_cluster(queue_name="validation", gpu_products={"H100": labels}, node_selector={"pool": "gpu"})
    pod = validator_pod(a_pod_job(target=target, resources=Resources(gpu=1, gpu_product="H100")))
    assert pod["spec"]["nodeSelector"] == {"pool": "gpu", **labels}
    assert pod["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "validation"


def test_gpu_that_the_target_does_not_list_is_looked_for_by_its_product_label():
    pod = validator_pod(a_pod_job(target=a_cluster(), resources=Resources(gpu=1, gpu_product="NVIDIA-L4")))
    assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-L4"}
    assert "kueue.x-k8s.io/queue-name" not in pod["metadata"]["labels"]


def test_serving_objects_are_as_reviewed():
    assert_golden(GOLDEN / "serving-objects.yaml", serving_objects(a_spec(), a_cluster(), Store()))


PODS = [validator_pod(a_pod_job(serves_models=True))["spec"], *pods_in(serving_objects(a_spec(), a_cluster(), Store()))]


@pytest.mark.parametrize("pod", PODS, ids=["validator", "model server"])
def test_every_container_runs_without_root_capabilities_token_or_writable_root(pod):
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_validating_container_has_no_environment_and_never_sees_the_job():
    [main] = validator_pod(a_pod_job())["spec"]["containers"]

    assert "env" not in main
    assert "envFrom" not in main
    assert "capability-in" not in {item["name"] for item in main["volumeMounts"]}


def test_validator_limits_equal_its_requests_so_that_a_benchmark_is_not_disturbed():
    spec = validator_pod(a_pod_job())["spec"]

    for container in (*spec["initContainers"], *spec["containers"]):
        assert container["resources"]["limits"] == container["resources"]["requests"]
    assert spec["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_only_the_container_that_verifies_bytes_gets_the_store_credentials():
    [pod] = pods_in(serving_objects(a_spec(), a_cluster(), Store()))
    [server], [verify] = pod["containers"], pod["initContainers"]

    assert "env" not in server
    secret = {item["name"] for item in verify["env"] if "valueFrom" in item}
    assert secret == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert {"name": "model", "mountPath": "/model", "readOnly": True} in server["volumeMounts"]


def test_pod_without_wishes_says_nothing_about_placement():
    spec = validator_pod(a_pod_job(target=a_cluster()))["spec"]

    assert {"nodeSelector", "tolerations", "runtimeClassName"}.isdisjoint(spec)


def test_every_run_has_a_pod_name_of_its_own_that_kubernetes_takes():
    names = {a_pod_job(run=run, check=check).name for run in (1, 2) for check in ("security_scan", "gpu_benchmark")}

    assert len(names) == 4
    assert all(len(name) < 200 and "_" not in name for name in names)


def test_capability_holds_the_whole_job_and_nothing_of_it_in_the_clear():
    job = a_job()

    secret = capability_secret(a_pod_job(), job)

    assert ValidatorJob.model_validate_json(gzip.decompress(b64decode(secret["data"]["job.json.gz"]))) == job
    assert "X-Amz-Signature" not in json.dumps(secret)


def test_job_that_does_not_fit_into_a_secret_is_an_error_that_says_what_to_do():
    with pytest.raises(EvidenceError, match=r"12000 files .* \(pack the artifact into fewer files\)"):
        capability_secret(a_pod_job(), a_job(files=12_000))


def test_another_decision_on_the_same_bytes_does_not_restart_the_pods():
    first, second = (
        next(item for item in serving_objects(a_spec(**changes), a_cluster(), Store()) if item["kind"] == "Deployment")
        for changes in ({}, {"decision_digest": "sha256:" + "cd" * 32, "request_id": "pr-again"})
    )

    assert first["metadata"]["annotations"] != second["metadata"]["annotations"]
    assert first["spec"] == second["spec"]


@pytest.mark.parametrize(
    "changes",
    [
        {"serving": ServingConfig(headers={"X-Frame-Options": "DENY"})},
        {"manifest": a_manifest({"model.onnx": b"other"})},
    ],
    ids=["serving configuration", "bytes"],
)
def test_whatever_a_pod_is_configured_with_names_its_config_map(changes):
    assert config_name(a_spec(**changes)) != config_name(a_spec())


def test_artifact_behind_mlflows_proxy_is_fetched_from_the_bucket_behind_it():
    spec = a_spec(artifact_uri="mlflow-artifacts:/1/models/m-1/artifacts")

    [pod] = pods_in(serving_objects(spec, a_cluster(), Store(artifact_root="s3://models/")))

    assert "s3://models/1/models/m-1/artifacts" in pod["initContainers"][0]["args"]


@pytest.mark.parametrize("uri", ["file:///models/7", "mlflow-artifacts:/1", "runs:/abc/model"])
def test_artifact_that_no_pod_can_fetch_is_refused(uri):
    with pytest.raises(DeploymentError, match="cannot be fetched by a pod"):
        serving_objects(a_spec(artifact_uri=uri), a_cluster(), Store())


def test_manifest_that_does_not_fit_into_a_config_map_is_refused():
    manifest = a_manifest({f"file-{number}": b"x" for number in range(12_000)})

    with pytest.raises(DeploymentError, match="12000 files"):
        serving_objects(a_spec(manifest=manifest), a_cluster(), Store())


def test_token_lies_in_the_serving_namespace_under_the_deployments_name():
    secret = token_secret("model-x", a_cluster(), "s3cret")

    assert (secret["metadata"]["namespace"], secret["metadata"]["name"]) == ("model-serving", "model-x-token")
    assert secret["stringData"] == {"token": "s3cret"}


def test_airflow_may_not_read_capabilities_nor_enter_pods():
    roles = [
        item
        for path in sorted(TARGETS.glob("*.yaml"))
        for item in yaml.safe_load_all(path.read_text())
        if item["kind"] in ("Role", "ClusterRole")
    ]

    assert {role["kind"] for role in roles} == {"Role"}
    rules = {
        (role["metadata"]["namespace"], resource): rule["verbs"]
        for role in roles
        for rule in role["rules"]
        for resource in rule["resources"]
    }
    assert set(rules["model-validation", "secrets"]) == {"create", "patch", "delete"}
    assert not {resource for _, resource in rules} & {"pods/exec", "pods/attach", "*"}
    assert not any("*" in verbs for verbs in rules.values())


def test_both_namespaces_let_nothing_in_or_out_by_default():
    policies = [item for item in yaml.safe_load_all((TARGETS / "40-network.yaml").read_text())]
    closed = {
        item["metadata"]["namespace"]
        for item in policies
        if item["spec"]["podSelector"] == {} and item["spec"]["policyTypes"] == ["Ingress", "Egress"]
    }

    assert closed == {"model-validation", "model-serving"}
