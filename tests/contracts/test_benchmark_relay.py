"""The benchmark's one way out, with real processes, sockets and kernel locks."""

from __future__ import annotations

import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark import remote
from model_approval.validators.gpu_benchmark.extra_parameters import RemoteParameters
from model_approval.validators.gpu_benchmark.remote import RemoteServer
from tests.support.v2_server import METADATA
from tests.support.validation import PYTHON

pytestmark = pytest.mark.contract


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]] = []

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Host"]))
        ready = self.path == "/served/v2/models/small/ready"
        self._answer(200 if ready or self.path == "/served/v2/models/small" else 404, json.dumps(METADATA).encode())

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(200, json.dumps({"outputs": [], "bytes": len(data)}).encode() + b" " * len(data))

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # its name in the base class
        """Silent."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def _remote(folder: Path, url: str, **wanted: object) -> Iterator[RemoteServer]:
    parameters = RemoteParameters.model_validate({"url": url, "model": "small", **wanted})
    with pytest.MonkeyPatch.context() as patch:  # the interpreter of the validators has the libraries of the locks
        patch.setattr(remote, "_RELAY", (str(PYTHON), *remote._RELAY[1:]))
        server = RemoteServer.start("candidate", parameters, folder)
    try:
        yield server
    finally:
        server.close()


def test_requests_reach_the_named_server_under_its_own_host_and_path(tmp_path: Path, port: int) -> None:
    _Handler.seen.clear()
    with _remote(tmp_path, f"http://127.0.0.1:{port}/served/") as server:
        server.wait_ready()
        with closing(server.endpoint()) as endpoint, closing(endpoint.another()) as other:
            assert endpoint.metadata().platform == "fake"
            assert other.metadata().platform == "fake"
            big = endpoint.prepare({"x": np.zeros(500_000, np.float32)})
            assert len(endpoint.exchange(big.data).body) > 2_000_000
    assert set(_Handler.seen) == {
        ("/served/v2/models/small/ready", f"127.0.0.1:{port}"),
        ("/served/v2/models/small", f"127.0.0.1:{port}"),
    }


@pytest.fixture
def tls_port(tmp_path: Path) -> Iterator[int]:
    """The same server over TLS; its certificate for 127.0.0.1 is signed by nobody but itself (`tls.pem`)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (tmp_path / "tls.pem").write_bytes(certificate.public_bytes(pem))
    (tmp_path / "tls.key").write_bytes(private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.pem", tmp_path / "tls.key")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that does not trust it leaves
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_a_certificate_that_nobody_vouches_for_is_no_server(tmp_path: Path, tls_port: int) -> None:
    with (
        _remote(tmp_path / "relay", f"https://127.0.0.1:{tls_port}/served") as server,
        pytest.raises(EvidenceError, match=r"cannot be reached: .*certificate verify failed"),
    ):
        server.wait_ready()


def test_a_trusted_server_is_reached_over_tls(tmp_path: Path, tls_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "tls.pem"))
    with _remote(tmp_path / "relay", f"https://127.0.0.1:{tls_port}/served") as server:
        server.wait_ready()
        with closing(server.endpoint()) as endpoint:
            assert endpoint.metadata().platform == "fake"
            big = endpoint.prepare({"x": np.zeros(500_000, np.float32)})
            assert len(endpoint.exchange(big.data).body) > 2_000_000


def test_the_relay_is_confined_to_the_one_port(tmp_path: Path, port: int) -> None:
    with _remote(tmp_path, f"http://127.0.0.1:{port}/served") as server:
        server.wait_ready()
        state = server.confinement
    assert state["relay.confinement.ports"] == f"in force: TCP port {port} alone"
    assert state["relay.confinement.seccomp"].startswith("in force: TCP and Unix sockets only")
    assert state["relay.confinement.landlock"].startswith("in force")


def test_the_locks_hold(port: int) -> None:
    program = """
import json, socket
from model_approval.validators.confinement import Reach, confine
from model_approval.validators.gpu_benchmark.relay import _BOUNDS
from model_approval.validators.port_lock import connect_only_to
def attempt(what):
    try: what(); return "works"
    except OSError as err: return type(err).__name__
import sys
port = int(sys.argv[1])
confine(_BOUNDS, Reach((), ()), cpu_s=None); connect_only_to(port)
tcp = socket.SOCK_STREAM
print(json.dumps({
    "named port": attempt(lambda: socket.create_connection(("127.0.0.1", port)).close()),
    "other port": attempt(lambda: socket.create_connection(("127.0.0.1", port + 1))),
    "listening": attempt(lambda: socket.create_server(("127.0.0.1", 0))),
    "udp": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "raw": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW)),
    "mptcp": attempt(lambda: socket.socket(socket.AF_INET, tcp, 262)),
    "netlink": attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    "file": attempt(lambda: open("/etc/passwd")),
}))
"""
    done = subprocess.run([PYTHON, "-I", "-c", program, str(port)], check=True, capture_output=True, text=True)
    refused = dict.fromkeys(("other port", "listening", "udp", "raw", "mptcp", "netlink", "file"), "PermissionError")
    assert json.loads(done.stdout) == {"named port": "works", **refused}


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://no-such-host.invalid", "no-such-host.invalid cannot be resolved"),
        ("http://127.0.0.1:1", "is not ready at http://127.0.0.1:1: 127.0.0.1 cannot be reached"),
    ],
)
def test_a_server_that_is_not_there_is_told(tmp_path: Path, url: str, words: str) -> None:
    with _remote(tmp_path, url) as server, pytest.raises(EvidenceError, match=words):
        server.wait_ready()


def test_a_model_that_is_not_served_there_is_told(tmp_path: Path, port: int) -> None:
    url = f"http://127.0.0.1:{port}/served"
    with (
        _remote(tmp_path, url, model="other") as server,
        pytest.raises(EvidenceError, match="model 'other' is not ready"),
    ):
        server.wait_ready()
