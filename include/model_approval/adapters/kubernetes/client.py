"""One small client for the few calls we make: plain JSON in, plain JSON out, errors in our words.

Raw paths instead of the generated API classes: server-side apply needs its own content type, and plain objects are
what the manifests are made of. Credentials come from a kubeconfig or, inside a cluster, from the service account.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_approval.adapters.kubernetes.objects import FIELD_MANAGER, Json
from model_approval.domain.errors import NotFoundError, OutsideSystemError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_TIMEOUT_S = 30
_PLURALS = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Event": ("/api/v1", "events"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
}


def connect(kubeconfig: Path | None = None, *, context: str | None = None) -> KubernetesClient:
    """Open the cluster of a kubeconfig; without one, of the pod we run in, else of `KUBECONFIG` or `~/.kube/config`.

    Args:
        kubeconfig: Path of the file.
        context: Name of the context to use when the file has several. A single context is used whatever its name.

    Raises:
        OutsideSystemError: No configuration, or several contexts and none of that name: guessing could deploy to
            the wrong cluster.
    """
    from kubernetes import client, config

    configuration = client.Configuration()
    try:
        if kubeconfig is None and _inside_a_pod():
            config.load_incluster_config(client_configuration=configuration)
        else:
            path = str(kubeconfig) if kubeconfig else None
            chosen = _choose_context(config.list_kube_config_contexts(config_file=path)[0], context)
            config.load_kube_config(config_file=path, context=chosen, client_configuration=configuration)
    except config.ConfigException as err:
        raise OutsideSystemError(
            "Kubernetes", f"no usable configuration: {err}", retryable=False, hint="set MODEL_APPROVAL_KUBECONFIG"
        ) from err
    return KubernetesClient(client.ApiClient(configuration))


class KubernetesClient:
    """Reads and writes plain objects of the kinds we use."""

    def __init__(self, api: ApiClient) -> None:
        self.api = api

    def apply(self, body: Json) -> Json:
        """Server-side apply: make exactly our fields so. Force: the approved object wins over a hand edit."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        path = _path(body["kind"], body["metadata"]["namespace"], body["metadata"]["name"])
        return self.request("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")

    def create(self, body: Json) -> Json | None:
        """Create an object; None when one of that name exists already."""
        try:
            return self.request("POST", _path(body["kind"], body["metadata"]["namespace"]), body=body)
        except OutsideSystemError as err:
            if getattr(err.__cause__, "status", None) == 409:
                return None
            raise

    def get(self, kind: str, namespace: str, name: str) -> Json | None:
        """The object, or None."""
        try:
            return self.request("GET", _path(kind, namespace, name))
        except NotFoundError:
            return None

    def find(
        self, kind: str, namespace: str, *, labels: Mapping[str, str] | None = None, fields: str = ""
    ) -> list[Json]:
        """Objects by label and field selector."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        query = {key: text for key, text in (("labelSelector", selector), ("fieldSelector", fields)) if text}
        items: list[Json] = self.request("GET", _path(kind, namespace), query=query)["items"]
        return items

    def merge(self, kind: str, namespace: str, name: str, changes: Json) -> None:
        """Change some fields of an object (JSON merge patch)."""
        self.request("PATCH", _path(kind, namespace, name), body=changes, content_type="application/merge-patch+json")

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object and, in the background, what it owns. Idempotent."""
        try:
            self.request("DELETE", _path(kind, namespace, name), body={"propagationPolicy": "Background"})
        except NotFoundError:
            return

    def events_of(self, pod: Json) -> list[Json]:
        """A pod's events, oldest first; none when they may not be read: they only explain."""
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        try:
            events = self.find("Event", namespace, fields=f"involvedObject.name={name}")
        except OutsideSystemError:
            return []
        return sorted(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | list[Json] | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """One call to the API server; the methods above are made of it.

        Raises:
            NotFoundError: The API server says 404.
            OutsideSystemError: It says anything else but yes, or cannot be reached.
        """
        headers = {"Accept": "application/json", "Content-Type": content_type}
        with translated(f"{method} {path}"):
            response: Any = self.api.call_api(
                path,
                method,
                query_params=list((query or {}).items()),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                _preload_content=False,
                _request_timeout=_TIMEOUT_S,
            )
            found: Json = json.loads(response.data or b"{}")
            return found


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the SDK's and the transport's errors into ours.

    Raises:
        NotFoundError: The API server says 404.
        OutsideSystemError: Anything else; retryable unless the server understood and refused.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as err:
        if err.status == 404:
            raise NotFoundError(f"Kubernetes: {what}: {_words(err)}") from err
        retryable = err.status in (None, 0, 408, 409, 429) or err.status >= 500
        hint = "see include/targets/kubernetes for the rights that are needed" if err.status in (401, 403) else ""
        raise OutsideSystemError("Kubernetes", f"{what}: {_words(err)}", retryable=retryable, hint=hint) from err
    except HTTPError as err:
        raise OutsideSystemError("Kubernetes", f"{what}: cannot be reached: {err}") from err


def _words(err: Any) -> str:  # noqa: ANN401  (the SDK ships no types)
    try:
        return f"{err.status} {json.loads(err.body)['message']}"
    except (ValueError, KeyError, TypeError):
        return f"{err.status} {err.reason}"


def _path(kind: str, namespace: str, name: str = "") -> str:
    group, plural = _PLURALS[kind]
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


def _inside_a_pod() -> bool:
    return Path("/var/run/secrets/kubernetes.io/serviceaccount/token").exists()


def _choose_context(contexts: list[Json], wanted: str | None) -> str:
    names = [str(context["name"]) for context in contexts]
    if wanted in names:
        return str(wanted)
    if len(names) == 1:
        return names[0]
    raise OutsideSystemError(
        "Kubernetes",
        f"the kubeconfig has the contexts {', '.join(sorted(names))} and none is named {wanted!r}",
        retryable=False,
        hint="name the context like the target's connection_id",
    )
