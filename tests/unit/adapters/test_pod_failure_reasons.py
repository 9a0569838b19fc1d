"""Each way in which a pod fails, as the API server tells it, and the words that we make of it."""

from __future__ import annotations

import pytest

from model_approval.adapters.kubernetes.diagnosis import has_ended, image_ids, is_final, pod_failure_reason, wrong_image
from model_approval.adapters.kubernetes.objects import Json

pytestmark = pytest.mark.unit


def a_pod(*, phase: str = "Pending", **status: object) -> Json:
    resources = {"limits": {"memory": "2Gi"}, "requests": {"memory": "2Gi", "nvidia.com/gpu": "1"}}
    return {
        "metadata": {"name": "pod", "namespace": "model-validation"},
        "spec": {
            "activeDeadlineSeconds": 600,
            "initContainers": [{"name": "fetch", "resources": resources}],
            "containers": [{"name": "base", "resources": resources}],
        },
        "status": {"phase": phase, **status},
    }


def a_container(name: str = "base", *, last: Json | None = None, **state: object) -> Json:
    return {"name": name, "image": "registry/validator:1", "state": state, "lastState": last or {}}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}
CASES = {
    "image pull back-off, with the attempt's own event": (
        a_pod(containerStatuses=[a_container(waiting={"reason": "ImagePullBackOff", "message": "Back-off pulling"})]),
        [
            {"reason": "Failed", "message": "Failed to pull image: not found"},
            {"reason": "Failed", "message": "Error: ImagePullBackOff"},
        ],
        "the image registry/validator:1 cannot be pulled (ImagePullBackOff): Error: ImagePullBackOff",
    ),
    "image never pulled": (
        a_pod(
            initContainerStatuses=[a_container("fetch", waiting={"reason": "ErrImageNeverPull", "message": "not here"})]
        ),
        [],
        "the image registry/validator:1 cannot be pulled (ErrImageNeverPull): not here",
    ),
    "out of memory": (
        a_pod(phase="Failed", containerStatuses=[a_container(terminated={"reason": "OOMKilled", "exitCode": 137})]),
        [],
        "the container base used more than its memory limit of 2Gi (OOMKilled)",
    ),
    "out of memory in one container, told by another": (
        a_pod(
            phase="Failed",
            containerStatuses=[
                a_container(terminated={"reason": "Error", "exitCode": 1, "message": "the servers are gone"}),
                a_container("server", terminated={"reason": "OOMKilled", "exitCode": 0}),
            ],
        ),
        [],
        "the container server used more than its memory limit of the node (OOMKilled)",
    ),
    "two containers, of which one failed because the other had": (
        a_pod(
            phase="Failed",
            containerStatuses=[
                a_container(terminated={"exitCode": 1, "finishedAt": "2026-11-25T09:15:00Z", "message": "nobody came"}),
                a_container(
                    "server", terminated={"exitCode": 1, "finishedAt": "2026-11-25T09:00:01Z", "message": "no module"}
                ),
            ],
        ),
        [],
        "the container server ended with exit code 1: no module",
    ),
    "evicted": (
        a_pod(phase="Failed", reason="Evicted", message="The node was low on resource: ephemeral-storage."),
        [],
        "the pod was evicted from its node (Evicted): The node was low on resource: ephemeral-storage.",
    ),
    "node lost, as newer clusters say it": (
        a_pod(
            phase="Failed",
            conditions=[
                {
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByTaintManager",
                    "message": "Taint manager: NoExecute taint",
                }
            ],
            containerStatuses=[a_container(terminated={"reason": "Error", "exitCode": 137})],
        ),
        [],
        "the cluster took the pod from its node (DeletionByTaintManager): Taint manager: NoExecute taint",
    ),
    "deadline": (
        a_pod(
            phase="Failed",
            reason="DeadlineExceeded",
            containerStatuses=[a_container(terminated={"reason": "Error", "exitCode": 137})],
        ),
        [],
        "the pod did not finish within 600 s (start-up and check together) and was stopped (DeadlineExceeded)",
    ),
    "no free GPU": (
        a_pod(conditions=[UNSCHEDULABLE]),
        [],
        "no node has a free nvidia.com/gpu (Unschedulable): 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
    ),
    "no node fits": (
        a_pod(conditions=[{**UNSCHEDULABLE, "message": "0/3 nodes are available: 3 Insufficient cpu."}]),
        [],
        "no node can take the pod (Unschedulable): 0/3 nodes are available: 3 Insufficient cpu.",
    ),
    "init container's last words": (
        a_pod(
            phase="Failed",
            initContainerStatuses=[
                a_container("fetch", terminated={"exitCode": 1, "message": "model.onnx: pinned as\n a"})
            ],
            containerStatuses=[a_container(waiting={"reason": "PodInitializing"})],
        ),
        [],
        "the container fetch ended with exit code 1: model.onnx: pinned as a",
    ),
    "killed by a signal": (
        a_pod(phase="Failed", containerStatuses=[a_container(terminated={"exitCode": 139})]),
        [],
        "the container base ended with exit code 139 (signal 11)",
    ),
    "failed before its last restart": (
        a_pod(
            phase="Running",
            containerStatuses=[
                a_container(
                    last={"terminated": {"exitCode": 2, "message": "no token"}}, waiting={"reason": "CrashLoopBackOff"}
                )
            ],
        ),
        [],
        "the container base ended with exit code 2: no token",
    ),
    "missing Secret": (
        a_pod(containerStatuses=[a_container(waiting={"reason": "ContainerCreating"})]),
        [{"reason": "FailedMount", "message": 'secret "x" not found'}],
        'the pod\'s volumes or network cannot be set up: secret "x" not found',
    ),
    "configuration": (
        a_pod(
            initContainerStatuses=[
                a_container("verify", waiting={"reason": "CreateContainerConfigError", "message": "no key"})
            ]
        ),
        [],
        "the container verify cannot be started (CreateContainerConfigError): no key",
    ),
    "failed, nobody says why": (a_pod(phase="Failed"), [], "the pod failed"),
    "running": (a_pod(phase="Running", containerStatuses=[a_container(running={})]), [], ""),
    "waiting for its turn": (a_pod(), [], ""),
    "succeeded": (a_pod(phase="Succeeded", containerStatuses=[a_container(terminated={"exitCode": 0})]), [], ""),
    "no status yet": ({"metadata": {}}, [], ""),
}


@pytest.mark.parametrize(("pod", "events", "words"), CASES.values(), ids=CASES.keys())
def test_failure_is_told_in_words(pod, events, words):
    assert pod_failure_reason(pod, events) == words


def test_endless_last_words_are_cut():
    pod = a_pod(phase="Failed", containerStatuses=[a_container(terminated={"exitCode": 1, "message": "x" * 100_000})])

    assert len(pod_failure_reason(pod)) < 2000


@pytest.mark.parametrize(
    ("phase", "final"), [("Succeeded", True), ("Failed", True), ("Running", False), ("Unknown", False)]
)
def test_only_two_phases_are_final(phase, final):
    assert is_final(a_pod(phase=phase)) is final


def test_container_has_ended_however_it_did_and_only_that_one():
    pod = a_pod(
        phase="Running",
        containerStatuses=[a_container(terminated={"exitCode": 0}), a_container("server", running={})],
    )

    assert has_ended(pod, "base")
    assert not has_ended(pod, "server")
    assert not has_ended(a_pod(), "base")


def a_pod_that_ran(asked: str, ran: str) -> Json:
    return {
        "spec": {"containers": [{"name": "base", "image": asked}]},
        "status": {"containerStatuses": [{"name": "base", "image": asked, "imageID": ran}]},
    }


DIGEST, OTHER = "sha256:" + "1" * 64, "sha256:" + "2" * 64


@pytest.mark.parametrize(
    ("asked", "ran", "wrong"),
    [
        (f"registry/validator@{DIGEST}", f"registry/validator@{DIGEST}", False),
        (f"registry/validator@{DIGEST}", f"registry/validator@{OTHER}", True),
        ("registry/validator:1", f"registry/validator@{OTHER}", False),
        (f"registry/validator@{DIGEST}", OTHER, False),
        (f"registry/validator@{DIGEST}", "", False),
    ],
    ids=["the one", "another", "named by tag", "put there by hand", "not told"],
)
def test_image_that_is_not_the_one_of_its_digest_is_told(asked: str, ran: str, wrong: bool):
    pod = a_pod_that_ran(asked, ran)

    assert bool(wrong_image(pod)) is wrong
    assert image_ids(pod) == ({"base": ran} if ran else {})


def test_message_about_a_wrong_image_names_container_and_both_images():
    told = wrong_image(a_pod_that_ran(f"registry/validator@{DIGEST}", f"registry/validator@{OTHER}"))

    assert (
        told == f"the container base ran registry/validator@{OTHER}, and not registry/validator@{DIGEST} as it should"
    )
