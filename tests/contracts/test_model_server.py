"""The model server as a process: what it refuses, what it promises on every answer, what it cannot do."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from model_approval.domain.digests import canonical_json
from model_approval.domain.manifest import manifest_of_folder
from tests.support.models import an_onnx_model, write_folder
from tests.support.servers import alive, wait_until
from tests.support.validation import PYTHON

pytestmark = pytest.mark.contract

_TOKEN = "0123456789abcdef0123456789abcdef"
_SERVING = {
    "headers": {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'"},
    "authentication": "bearer",
    "max_body_bytes": 5_000,
}
_GOOD = {"inputs": {"x": [[1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0]]}}


@dataclass
class Answer:
    """One HTTP answer."""

    status: int
    headers: Mapping[str, str]
    content: object


@dataclass
class Server:
    """A running model server."""

    port: int
    pid: int
    digest: str

    def ask(
        self, method: str, path: str, body: bytes | None = None, *, token: str | None = _TOKEN, **headers: str
    ) -> Answer:
        """One request."""
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, json.loads(data) if data else None)
        finally:
            connection.close()

    def predict(self, content: object, *, token: str | None = _TOKEN) -> Answer:
        """One inference."""
        return self.ask("POST", "/v1/predict", json.dumps(content).encode(), token=token)


def _command(folder: Path, *more: str) -> list[str]:
    return [
        *(str(PYTHON), "-I", "-m", "model_approval.validators.model_server"),
        *("--artifact", str(folder / "artifact"), "--serving", str(folder / "serving.json")),
        *("--port", "0", "--port-file", str(folder / "port"), *more),
    ]


def _prepare(folder: Path, files: Mapping[str, bytes]) -> str:
    artifact = write_folder(folder / "artifact", files)
    (folder / "serving.json").write_text(json.dumps(_SERVING))
    (folder / "token").write_text(_TOKEN)
    manifest = manifest_of_folder(artifact)
    (folder / "manifest.json").write_bytes(canonical_json(manifest))
    return manifest.artifact_digest


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for a token."""
    folder = tmp_path_factory.mktemp("server")
    digest = _prepare(folder, {"model.onnx": an_onnx_model()})
    command = _command(folder, "--expect-digest", digest, "--token-file", str(folder / "token"))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    running = Server(0, process.pid, digest)

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            running.port = int((folder / "port").read_text())
            return running.ask("GET", "/healthz").status == 200
        except (OSError, ValueError):
            return False

    wait_until(ready, timeout_s=60, what="the model server")
    yield running
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) in (0, -signal.SIGTERM)


def test_health_needs_no_token_and_names_the_bytes(server: Server) -> None:
    answer = server.ask("GET", "/healthz", token=None)
    assert (answer.status, answer.content) == (
        200, {"status": "ready", "artifact_digest": server.digest, "device": "cpu"}
    )  # fmt: skip


def test_an_inference_answers_with_one_row_for_each_input(server: Server) -> None:
    answer = server.predict(_GOOD)
    assert answer.status == 200
    assert isinstance(answer.content, dict)
    assert answer.content["artifact_digest"] == server.digest
    first, second = answer.content["outputs"]["y"]
    assert len(first) == 2
    assert second == [0.0, 0.0]


@pytest.mark.parametrize("token", [None, "", "wrong", _TOKEN[:-1], _TOKEN + "0", "\u00fc"])
def test_without_the_right_token_there_is_no_answer(server: Server, token: str | None) -> None:
    answer = server.predict(_GOOD, token=token)
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_token_in_another_scheme_is_refused(server: Server) -> None:
    body = json.dumps(_GOOD).encode()
    assert server.ask("POST", "/v1/predict", body, token=None, Authorization=f"Basic {_TOKEN}").status == 401


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b"\xff\xfe", 400, "the body is no JSON"),
        (b"[" * 4000, 400, "the body is no JSON"),
        (b"[]", 400, "the body must be"),
        (b'{"inputs": {}, "more": 1}', 400, "the body must be"),
        (b'{"inputs": {}}', 422, "input 'x' is missing"),
        (b'{"inputs": {"x": [[1,2,3,4]], "z": 1}}', 422, "input 'z' is unknown"),
        (b'{"inputs": {"x": [[NaN,2,3,4]]}}', 400, "NaN is not JSON"),
        (b'{"inputs": {"x": [[Infinity,2,3,4]]}}', 400, "Infinity is not JSON"),
        (b'{"inputs": {"x": [[1e999,2,3,4]]}}', 422, "not a finite float32"),
        (b'{"inputs": {"x": [[1e39,2,3,4]]}}', 422, "not a finite float32"),
        (b'{"inputs": {"x": [[1,2,3]]}}', 422, "shape [1, 3], wanted ['any', 4]"),
        (b'{"inputs": {"x": [1,2,3,4]}}', 422, "shape [4], wanted ['any', 4]"),
        (b'{"inputs": {"x": [[1,2,3,4],[1]]}}', 422, "lists of unequal length"),
        (b'{"inputs": {"x": [["a","b","c","d"]]}}', 422, "values must be float32"),
        (b'{"inputs": {"x": [[null,2,3,4]]}}', 422, "values must be float32"),
        (b'{"inputs": {"x": []}}', 422, "at least one"),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(server: Server, body: bytes, status: int, words: str) -> None:
    answer = server.ask("POST", "/v1/predict", body)
    assert answer.status == status
    assert isinstance(answer.content, dict)
    assert words in answer.content["error"]["message"]


def test_a_body_beyond_the_limit_is_refused_by_its_length_and_by_its_bytes(server: Server) -> None:
    assert server.ask("POST", "/v1/predict", b" " * 5_001).status == 413
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        head = f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {_TOKEN}\r\n"
        head += "Transfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head.encode() + (b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 2 + b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/healthz", 200), ("GET", "/", 404), ("GET", "/v1/predict", 405), ("POST", "/v1/predict", 400)],
)
@pytest.mark.parametrize("token", [_TOKEN, None])
def test_the_promised_headers_are_on_every_answer(
    server: Server, method: str, path: str, status: int, token: str | None
) -> None:
    answer = server.ask(method, path, b"{" if method == "POST" else None, token=token)
    assert answer.status == (401 if method == "POST" and token is None else status)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "default-src 'none'"
    assert answer.headers["content-type"] == "application/json"
    assert "server" not in answer.headers


def test_the_process_holds_no_capability_and_runs_under_a_filter(server: Server) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{server.pid}/status").read_text().splitlines())
    assert int(status["CapEff"], 16) == 0
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--expect-digest", "sha256:" + "0" * 64], "expected is sha256:0000"),
        ([], "what is to be served must be named"),
        (["--manifest", "{folder}/manifest.json"], "there is no token of at least 16 characters"),
    ],
)
def test_it_does_not_start_without_the_expected_bytes_and_token(
    tmp_path: Path, arguments: list[str], words: str
) -> None:
    _prepare(tmp_path, {"model.onnx": an_onnx_model()})
    command = _command(tmp_path, *(argument.format(folder=tmp_path) for argument in arguments))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert words in ended.stderr


def test_it_ends_with_the_process_that_started_it_however_that_ended(tmp_path: Path) -> None:
    artifact = write_folder(tmp_path / "artifact", {"model.onnx": an_onnx_model()})
    owner = (
        "import os, signal\nfrom pathlib import Path\n"
        "from model_approval.validators.gpu_benchmark.server_process import ServerProcess\n"
        f"server = ServerProcess.start('candidate', Path({str(artifact)!r}), Path({str(tmp_path / 'server')!r}))\n"
        "server.wait_ready()\nprint(server.process.pid, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    started = subprocess.run([PYTHON, "-I", "-c", owner], capture_output=True, text=True, timeout=60, check=False)
    assert started.returncode == -signal.SIGKILL, started.stderr
    wait_until(lambda: not alive(int(started.stdout)), timeout_s=30, what="the end of the server")
    assert not alive(int(started.stdout))


def test_a_changed_file_is_named_with_both_digests(tmp_path: Path) -> None:
    _prepare(tmp_path, {"model.onnx": an_onnx_model()})
    (tmp_path / "artifact/model.onnx").write_bytes(an_onnx_model(seed=1))
    command = _command(tmp_path, "--manifest", str(tmp_path / "manifest.json"))
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "model.onnx: pinned as sha256:" in ended.stderr
    assert ", now sha256:" in ended.stderr
