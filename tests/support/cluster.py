"""A real Kubernetes for the cluster tests: whatever `KUBECONFIG` names, with our namespaces, images and object store.

    cluster         admin's client, the test's own target, and what a pod needs to reach the store
    airflow_login   a kubeconfig of the service account `model-approval`: tests act with exactly its rights

Images are loaded by a helper beside the repository (`../shared/cluster/cluster`) where there is one; elsewhere set
`TEST_VALIDATOR_IMAGE` and `TEST_SERVER_IMAGE` to images that the nodes have, and `TEST_HOST_FOR_PODS` to the address
at which pods reach this machine.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import socket
import socketserver
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from model_approval.adapters.kubernetes.client import KubernetesClient, connect
from model_approval.adapters.kubernetes.objects import Json
from model_approval.domain.deployment import Target
from model_approval.embedded.seaweedfs import SeaweedFs
from tests.support.builders import a_kubernetes_target

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = ROOT / "include" / "targets" / "kubernetes"
_HELPER = ROOT.parent / "shared" / "cluster" / "cluster"
_IMAGES = {"validator": "TEST_VALIDATOR_IMAGE", "server": "TEST_SERVER_IMAGE"}
_READER_SECRET = "test-store-reader"


@dataclass(frozen=True)
class Cluster:
    """What a test needs to know of the cluster."""

    kubeconfig: Path
    client: KubernetesClient
    """With the administrator's rights: to look and to arrange, never to act for the system."""
    target: Target
    store_url: str
    """The object store as pods see it."""

    def pods_of(self, request_id: str) -> list[Json]:
        """The pods of one request."""
        return self.client.find("Pod", "model-validation", labels={"model-approval/request": request_id})

    def kubectl(self, *arguments: str) -> str:
        """Output of kubectl, as the administrator."""
        command = ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def unique(prefix: str) -> str:
    """A name that no other test on this cluster has."""
    return f"{prefix}-{secrets.token_hex(3)}"


@pytest.fixture(scope="session")
def cluster(s3_store) -> Iterator[Cluster]:
    """The cluster with our objects, images and a way to the session's store."""
    kubeconfig = os.environ.get("KUBECONFIG")
    if not kubeconfig:
        pytest.skip("no KUBECONFIG: cluster tests need a Kubernetes cluster")
    images = {name: _image(name, variable) for name, variable in _IMAGES.items()}
    client = connect(Path(kubeconfig))
    with reachable_from_pods(s3_store) as store_url:
        target = a_kubernetes_target(
            kubernetes={
                "validator_image": images["validator"],
                "server_image": images["server"],
                "image_pull_policy": "IfNotPresent",
                "store_endpoint_url": store_url,
                "store_reader_secret": _READER_SECRET,
                "startup_timeout_s": 30,
            }
        )
        found = Cluster(Path(kubeconfig), client, target, store_url)
        found.kubectl("apply", "-f", str(OBJECTS))
        put_reader_secret(client, s3_store, _READER_SECRET)
        yield found


@pytest.fixture(scope="session")
def airflow_login(cluster, tmp_path_factory) -> Path:
    """A kubeconfig of the service account `model-approval`, so that missing rights fail tests."""
    path = "/api/v1/namespaces/model-validation/serviceaccounts/model-approval/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    answer = cluster.client.request("POST", path, body=request)
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"] = [{"name": "model-approval", "user": {"token": answer["status"]["token"]}}]
    context = {"cluster": config["clusters"][0]["name"], "user": "model-approval"}
    config.update({"contexts": [{"name": "test", "context": context}], "current-context": "test"})
    file: Path = tmp_path_factory.mktemp("login") / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


@contextmanager
def gpus(cluster: Cluster, count: int) -> Iterator[None]:
    """Advertise GPUs on the node: schedulable, with no device behind them."""
    node = cluster.client.request("GET", "/api/v1/nodes")["items"][0]["metadata"]["name"]
    place = "/status/capacity/nvidia.com~1gpu"

    def patch(change: Json) -> None:
        cluster.client.request(
            "PATCH", f"/api/v1/nodes/{node}/status", body=[change], content_type="application/json-patch+json"
        )

    patch({"op": "add", "path": place, "value": str(count)})
    try:
        yield
    finally:
        patch({"op": "remove", "path": place})


def image_on_cluster(name: str) -> str:
    """The tag of our image `validator` or `server`, known to the cluster's nodes."""
    return _image(name, _IMAGES[name])


def built_on_cluster(
    name: str, container_file: str, *, arguments: Mapping[str, str] | None = None, also: tuple[str, ...] = ()
) -> str:
    """The tag of an image that tests make of a Containerfile, known to the nodes.

    Args:
        name: Part of its tag.
        container_file: How it is made.
        arguments: The build's; `BASE` for an image to build on.
        also: The files that it copies.
    """
    if not os.access(_HELPER, os.X_OK):
        pytest.skip("there is no helper that builds and loads images for this cluster")
    given = [f"{key}={value}" for key, value in (arguments or {}).items()]
    hasher = hashlib.sha256(" ".join(given).encode())
    for path in (container_file, *also):
        hasher.update((ROOT / path).read_bytes())
    tag = f"localhost/model-approval-{name}:test-{hasher.hexdigest()[:12]}"
    if tag not in _images_on_nodes():
        # A context of its own: the repository's leaves tests out.
        with tempfile.TemporaryDirectory() as context:
            for path in (container_file, *also):
                copy = Path(context) / path
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, copy)
            build = [str(_HELPER), "build", tag, context, "-f", str(Path(context) / container_file)]
            _run([*build, *(word for one in given for word in ("--build-arg", one))])
        _run([str(_HELPER), "load", tag])
    return tag


def _image(name: str, variable: str) -> str:
    """An image that the node has; built and loaded here when the helper is at hand."""
    if variable in os.environ:
        return os.environ[variable]
    if not os.access(_HELPER, os.X_OK):
        pytest.skip(f"set {variable} to an image that the cluster's nodes have")
    container_file = ROOT / "include" / "images" / f"{name}.Containerfile"
    tag = f"localhost/model-approval-{name}:test-{_content_hash(container_file)}"
    if tag not in _images_on_nodes():
        _run([str(_HELPER), "build", tag, str(ROOT), "-f", str(container_file)])
        _run([str(_HELPER), "load", tag])
    return tag


def _content_hash(container_file: Path) -> str:
    """Changes with anything that goes into the image."""
    package = ROOT / "include" / "model_approval"
    locks = [ROOT / "include" / "environments" / f"{name}.txt" for name in ("server", "validators")]
    files = [container_file, ROOT / "pyproject.toml", *locks]
    files += sorted(path for part in ("domain", "validators") for path in (package / part).rglob("*.py"))
    hasher = hashlib.sha256()
    for path in files:
        hasher.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return hasher.hexdigest()[:12]


def _images_on_nodes() -> set[str]:
    command = ["kubectl", "get", "nodes", "-o", "jsonpath={.items[*].status.images[*].names[*]}"]
    return set(_run(command).split())


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=1000, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.stdout


def put_reader_secret(client: KubernetesClient, store: SeaweedFs, name: str) -> None:
    """The store's read-only credentials for serving pods; each store has its own, so the Secret is replaced."""
    client.delete("Secret", "model-serving", name)
    client.create(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "model-serving"},
            "stringData": {"access_key": store.reader.access_key, "secret_key": store.reader.secret_key},
        }
    )


@contextmanager
def reachable_from_pods(store: SeaweedFs) -> Iterator[str]:
    """Forward the store's loopback port to an address that pods can reach."""
    host = os.environ.get("TEST_HOST_FOR_PODS", "10.99.0.1")
    port = urlsplit(store.endpoint_url).port
    assert port is not None
    server = _Forwarder((host, 0), port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Forwarder(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], to_port: int) -> None:
        super().__init__(address, _Forwarding)
        self.to_port = to_port


class _Forwarding(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Forwarder)
        with socket.create_connection(("127.0.0.1", self.server.to_port)) as upstream:
            back = threading.Thread(target=_pump, args=(upstream, self.request), daemon=True)
            back.start()
            _pump(self.request, upstream)
            back.join()


def _pump(source: socket.socket, destination: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            destination.sendall(block)
    with suppress(OSError):
        destination.shutdown(socket.SHUT_WR)
