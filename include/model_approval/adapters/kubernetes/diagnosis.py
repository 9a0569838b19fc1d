"""Why a pod failed, in words; pure.

Takes pod and events as plain API JSON (camelCase). The most specific cause wins: a container's own last words say
more than the phase of its pod.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from model_approval.adapters.kubernetes.objects import Json

_PULL_REASONS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable"}
)
_CONFIG_REASONS = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_MESSAGE_LIMIT = 1500


def pod_failure_reason(pod: Mapping[str, object], events: Sequence[Mapping[str, object]] = ()) -> str:
    """Say why a pod failed or does not get on.

    Returns:
        One or two sentences naming container, cause and, where the pod left one, its own message. Empty when nothing
        is wrong with the pod: it is running, succeeded, or on its way.
    """
    plain: Json = dict(pod)
    status: Json = plain.get("status") or {}
    if status.get("phase") == "Succeeded":
        return ""
    finders = (
        _eviction,
        _disruption,
        _deadline,
        _image,
        _container_config,
        _out_of_memory,
        _terminated,
        _unschedulable,
        _mount,
    )
    for found in (finder(plain, status, events) for finder in finders):
        if found:
            return found
    if status.get("phase") == "Failed":
        return _sentence("the pod failed", status.get("reason"), status.get("message"))
    return ""


def is_final(pod: Mapping[str, object]) -> bool:
    """Whether the pod's phase can no longer change."""
    status = pod.get("status")
    return isinstance(status, Mapping) and status.get("phase") in ("Succeeded", "Failed")


def has_ended(pod: Mapping[str, object], container: str) -> bool:
    """Whether one of the pod's containers has ended for good, however."""
    status = pod.get("status")
    found = status.get("containerStatuses") or () if isinstance(status, Mapping) else ()
    return any(one.get("name") == container and "terminated" in (one.get("state") or {}) for one in found)


def not_ended(pod: Mapping[str, object]) -> list[str]:
    """The pod's containers that still run."""
    status = pod.get("status")
    found = status.get("containerStatuses") or () if isinstance(status, Mapping) else ()
    return [str(one.get("name")) for one in found if "running" in (one.get("state") or {})]


def image_ids(pod: Mapping[str, object]) -> dict[str, str]:
    """Which image each container really ran, as the node tells it; container name -> `name@sha256:...` or its like."""
    status = pod.get("status")
    found = _statuses(dict(status)) if isinstance(status, Mapping) else ()
    return {str(one.get("name")): str(one["imageID"]) for one in found if one.get("imageID")}


def wrong_image(pod: Mapping[str, object]) -> str:
    """Say which container ran another image than the one that its digest names; empty when none did.

    An image that was put on the node by hand has no digest of a registry, and one that is named by a tag alone promises
    none: neither can be compared.
    """
    spec, ran = pod.get("spec"), image_ids(pod)
    parts: Json = dict(spec) if isinstance(spec, Mapping) else {}
    for container in (*(parts.get("initContainers") or ()), *(parts.get("containers") or ())):
        name, asked = container.get("name"), str(container.get("image"))
        found = ran.get(str(name), "")
        if "@" in asked and "@" in found and asked.rpartition("@")[2] != found.rpartition("@")[2]:
            return f"the container {name} ran {found}, and not {asked} as it should"
    return ""


def _eviction(_: Json, status: Json, __: Sequence[Mapping[str, object]]) -> str:
    if status.get("reason") not in ("Evicted", "Preempting", "Shutdown", "NodeShutdown", "NodeLost"):
        return ""
    return _sentence("the pod was evicted from its node", status["reason"], status.get("message"))


def _disruption(_: Json, status: Json, __: Sequence[Mapping[str, object]]) -> str:
    """Clusters since 1.26 say in a condition that they ended a pod: lost node, drain, preemption."""
    if status.get("phase") != "Failed":
        return ""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _sentence(
                "the cluster took the pod from its node", condition.get("reason"), condition.get("message")
            )
    return ""


def _deadline(pod: Json, status: Json, _: Sequence[Mapping[str, object]]) -> str:
    if status.get("reason") != "DeadlineExceeded":
        return ""
    limit = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    return f"the pod did not finish within {limit} s (start-up and check together) and was stopped (DeadlineExceeded)"


def _image(_: Json, status: Json, events: Sequence[Mapping[str, object]]) -> str:
    for container in _statuses(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _PULL_REASONS:
            # The back-off's own message names no cause; the event of the attempt does.
            told = _event_message(events, "Failed", containing="pull") or waiting.get("message")
            return _sentence(f"the image {container.get('image')} cannot be pulled", waiting["reason"], told)
    return ""


def _container_config(_: Json, status: Json, __: Sequence[Mapping[str, object]]) -> str:
    for container in _statuses(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _CONFIG_REASONS:
            what = f"the container {container.get('name')} cannot be started"
            return _sentence(what, waiting["reason"], waiting.get("message"))
    return ""


def _out_of_memory(pod: Json, status: Json, _: Sequence[Mapping[str, object]]) -> str:
    """Before any exit code: a container that loses a process this way may end in order, and another one for it."""
    for container in _statuses(status):
        ended = ((container.get("state") or {}).get("terminated"), (container.get("lastState") or {}).get("terminated"))
        if any(end and end.get("reason") == "OOMKilled" for end in ended):
            name = container.get("name")
            return f"the container {name} used more than its memory limit of {_memory_limit(pod, name)} (OOMKilled)"
    return ""


def _terminated(_: Json, status: Json, __: Sequence[Mapping[str, object]]) -> str:
    """The container that failed first: when another one fails for it, that is no cause."""
    ends = [(container, ended) for container in _statuses(status) if (ended := _failed_end(container))]
    if not ends:
        return ""
    container, ended = min(ends, key=lambda pair: str(pair[1].get("finishedAt") or ""))
    code = ended.get("exitCode")
    signal = f" (signal {code - 128})" if isinstance(code, int) and code > 128 else ""
    what = f"the container {container.get('name')} ended with exit code {code}{signal}"
    return _sentence(what, None, ended.get("message"))


def _unschedulable(pod: Json, status: Json, _: Sequence[Mapping[str, object]]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "Unschedulable":
            message = str(condition.get("message") or "")
            lacking = next((name for name in _extended_resources(pod) if name in message), None)
            what = f"no node has a free {lacking}" if lacking else "no node can take the pod"
            return _sentence(what, "Unschedulable", message)
    return ""


def _mount(_: Json, status: Json, events: Sequence[Mapping[str, object]]) -> str:
    if status.get("phase") != "Pending" or any(_started(container) for container in _statuses(status)):
        return ""
    told = _event_message(events, "FailedMount") or _event_message(events, "FailedCreatePodSandBox")
    return _sentence("the pod's volumes or network cannot be set up", None, told) if told else ""


def _statuses(status: Json) -> Iterator[Json]:
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _failed_end(container: Json) -> Json:
    """How the container ended badly, now or before its last restart."""
    for when in ("state", "lastState"):
        ended: Json = (container.get(when) or {}).get("terminated") or {}
        if ended and ended.get("exitCode") != 0:
            return ended
    return {}


def _started(container: Json) -> bool:
    state = container.get("state") or {}
    return "running" in state or "terminated" in state


def _memory_limit(pod: Json, container: object) -> str:
    spec = pod.get("spec") or {}
    for part in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        if part.get("name") == container:
            return str(((part.get("resources") or {}).get("limits") or {}).get("memory", "the node"))
    return "the node"


def _extended_resources(pod: Json) -> list[str]:
    spec = pod.get("spec") or {}
    asked = [(part.get("resources") or {}).get("requests") or {} for part in spec.get("containers") or ()]
    return [name for amounts in asked for name in amounts if "/" in name]


def _event_message(events: Sequence[Mapping[str, object]], reason: str, *, containing: str = "") -> str:
    for event in reversed(events):
        message = str(event.get("message") or "")
        if event.get("reason") == reason and containing in message.lower():
            return message
    return ""


def _sentence(what: str, reason: object, message: object) -> str:
    text = " ".join(str(message or "").split())[:_MESSAGE_LIMIT]
    named = f"{what} ({reason})" if reason else what
    return f"{named}: {text}" if text else named
