"""One HTTP request to one pod, through the API server's port forwarding.

Not through its service proxy: that removes the Authorization header and adds headers of its own, so neither
authentication nor the promised security headers could be checked on what a caller really gets.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

from model_approval.adapters.kubernetes.client import KubernetesClient, translated
from model_approval.domain.errors import DeploymentError
from model_approval.ports import HttpReply

_TIMEOUT_S = 30.0
_MAX_BODY_BYTES = 10_000_000


def request_pod(
    client: KubernetesClient,
    pod: tuple[str, str],
    port: int,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpReply:
    """Send GET, or POST when there is a body, to a pod.

    Args:
        client: The cluster.
        pod: Namespace and name.
        port: The container's port.
        path: Path with query.
        body: JSON to post.
        headers: Further request headers.

    Raises:
        OutsideSystemError: The API server does not forward.
        DeploymentError: The pod does not answer HTTP, or not in time.
    """
    from kubernetes.client import CoreV1Api
    from kubernetes.stream import portforward

    namespace, name = pod
    # `portforward` swaps the request method of the client that it is given, so it gets one of its own.
    api = CoreV1Api(type(client.api)(client.api.configuration))
    with translated(f"port-forward {namespace}/{name}"):
        tunnel = portforward(api.connect_get_namespaced_pod_portforward, name, namespace, ports=str(port))
    try:
        return _exchange(tunnel.socket(port), path, body, dict(headers or {}))
    except (HTTPException, OSError) as err:
        told = tunnel.error(port) or str(err) or type(err).__name__
        raise DeploymentError(f"{namespace}/{name} does not answer on port {port}: {told}") from err
    finally:
        tunnel.close()


def _exchange(sock: socket.socket, path: str, body: bytes | None, headers: dict[str, str]) -> HttpReply:
    sock.settimeout(_TIMEOUT_S)
    connection = HTTPConnection("model-server")
    connection.sock = sock
    content = {"Content-Type": "application/json"} if body is not None else {}
    connection.request("GET" if body is None else "POST", path, body=body, headers={**content, **headers})
    response = connection.getresponse()
    return HttpReply(
        status=response.status,
        headers={name.lower(): value for name, value in response.getheaders()},
        body=response.read(_MAX_BODY_BYTES),
    )
