"""Running model servers in tests, and raw HTTP over their Unix sockets."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers import wait_until
from tests.support.validation import PYTHON

INFER = "/v2/models/model/infer"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON; of an answer with binary tensors, its header."""
        length = self.headers.get("inference-header-content-length")
        return json.loads(self.body[: int(length)] if length else self.body)

    @property
    def binary(self) -> bytes:
        """What follows the JSON header."""
        return self.body[int(self.headers["inference-header-content-length"]) :]


@dataclass(frozen=True)
class UnixServer:
    """A running model server on a Unix socket."""

    path: Path
    pid: int
    events_file: Path

    def connect(self) -> socket.socket:
        """A new connection."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(30)
        try:
            client.connect(str(self.path))
        except OSError:
            client.close()
            raise
        return client

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """One request on a connection of its own; header names with `_` for `-`."""
        with self.connect() as client:
            client.sendall(request(method, path, body, **headers))
            return read_answer(client)

    def infer(self, document: object, binary: bytes | None = None, **headers: str) -> Answer:
        """One inference, with tensors in binary form behind the JSON if given."""
        header = json.dumps(document).encode()
        if binary is not None:
            headers.setdefault("Inference_Header_Content_Length", str(len(header)))
        return self.ask("POST", INFER, header + (binary or b""), **headers)

    def ready(self) -> bool:
        """Whether the model is loaded."""
        try:
            return self.ask("GET", "/v2/health/ready").status == 200
        except OSError:
            return False

    def resident_bytes(self) -> int:
        """Memory that its process holds."""
        return int(self.ask("GET", "/v2").document["parameters"]["memory_bytes"]["resident"])


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of a request."""
    fields = {"Host": "x", "Content-Length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def read_answer(client: socket.socket) -> Answer:
    """The next answer on a connection."""
    with client.makefile("rb") as stream:
        first = stream.readline()
        if not first:
            raise ConnectionResetError("the server closed the connection without an answer")
        status = int(first.split()[1])
        headers = {}
        while (line := stream.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return Answer(status, headers, stream.read(int(headers["content-length"])))


@contextmanager
def unix_server(folder: Path, artifact: Path, *arguments: str, python: Path = PYTHON) -> Iterator[UnixServer]:
    """A model server over an artifact, ended at the end; fails with its log when it does not start."""
    command = [
        *(str(python), "-I", "-m", "model_approval.validators.model_server"),
        *("--artifact", str(artifact), "--socket", str(folder / "socket"), "--events-file", str(folder / "events")),
        *arguments,
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    server = UnixServer(folder / "socket", process.pid, folder / "events")

    def ready() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        return server.ready()

    try:
        wait_until(ready, timeout_s=120, what="the model server")
        yield server
        assert process.poll() is None, (folder / "log").read_text()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
