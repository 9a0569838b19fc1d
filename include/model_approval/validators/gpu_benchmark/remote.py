"""A running server behind a URL, measured in place of ours: the same interface as a server process of our own.

What answers there cannot be proven to be the artifact, unless the server says which artifact it serves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device
from model_approval.validators.contract import plain_line
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import RemoteParameters
from model_approval.validators.gpu_benchmark.open_inference import json_object
from model_approval.validators.gpu_benchmark.relay import RelayOrder

_RELAY = (sys.executable, "-I", "-m", "model_approval.validators.gpu_benchmark.relay")


@dataclass
class RemoteEndpoint(Endpoint):
    """An endpoint reached through the relay: its requests name the server's own host and path."""

    prefix: str = ""

    def render(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
        """As `Endpoint.render`, under the URL's path."""
        return super().render(method, self.prefix + path, body, headers)

    def another(self) -> RemoteEndpoint:
        """A second connection to the same server."""
        return RemoteEndpoint(self.where, self.who, self.model, self.timeout_s, self.headers, prefix=self.prefix)


@dataclass
class RemoteServer:
    """The server as the validator sees it.

    Attributes:
        name: How messages name it.
        wanted: Where it is.
        socket: The relay's socket.
        process: The relay.
        confinement: What confines the relay; filled by `wait_ready`.
    """

    name: str
    wanted: RemoteParameters
    socket: str
    process: subprocess.Popen[bytes]
    log: Path
    load_s: float = 0.0
    """Unknown."""
    confinement: dict[str, str] = field(default_factory=dict)

    @classmethod
    def start(cls, name: str, wanted: RemoteParameters, folder: Path) -> RemoteServer:
        """Start the relay; must be done before this process is confined.

        Args:
            name: How messages name the server.
            wanted: Where it is.
            folder: Where the relay's socket and log go; made here.
        """
        folder.mkdir(parents=True, exist_ok=True)
        log, where = folder / "relay.log", str(folder / "relay.sock")
        where = min(where, os.path.relpath(where), key=len)  # a socket's path may have 107 bytes
        order = RelayOrder(url=wanted.url, socket=where)
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*_RELAY, order.model_dump_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stream,
                bufsize=0,
            )
        return cls(name, wanted, where, process, log)

    def wait_ready(self, longest_s: float = 60.0) -> float:
        """Wait until the relay listens and the server answers; returns 0, since its start was not seen.

        Raises:
            EvidenceError: It does not; names the host and the reason.
        """
        assert self.process.stdout
        line = self.process.stdout.readline(64 * 1024)
        if not line:
            raise EvidenceError(f"{self.name}: {self.last_words() or 'the relay to the server ended'}")
        self.confinement = {f"relay.{lock}": str(state) for lock, state in json.loads(line).items()}
        if self.wanted.protocol == "v2":
            endpoint = self.endpoint(timeout_s=longest_s)
            is_ready = endpoint.ready()
            endpoint.close()
            if not is_ready:
                said = self.last_words()
                raise EvidenceError(
                    f"{self.name}: model {self.wanted.model!r} is not ready at {self.wanted.url}"
                    + (f": {said}" if "cannot be reached" in said else ""),
                    hint="mend the check's parameter `endpoint`, or start the server",
                )
        return 0.0

    def endpoint(self, *, timeout_s: float = 60.0) -> RemoteEndpoint:
        """A connection to it."""
        parts = urlsplit(self.wanted.url)
        headers = (("Host", parts.netloc),)
        prefix = parts.path.rstrip("/")
        return RemoteEndpoint(self.socket, self.name, self.wanted.model, timeout_s, headers, prefix=prefix)

    def is_alive(self) -> bool:
        """Always: its process cannot be seen, and a server that ended is told by its silence."""
        return True

    def gone(self) -> EvidenceError:
        """Why it does not answer any more, as far as the relay can tell."""
        return EvidenceError(f"{self.name}: the server at {self.wanted.url} is gone: {self.last_words()}")

    def memory_bytes(self) -> int:
        """0: it cannot be seen."""
        return 0

    def peak_memory_bytes(self) -> int:
        """0: it cannot be seen."""
        return 0

    def last_words(self) -> str:
        """The last line of the relay's log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return plain_line(lines[-1], limit=500) if lines else ""

    def close(self) -> None:
        """End the relay, by the end of its standard input."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def remote_device(wanted: RemoteParameters, told: str) -> Device:
    """What the policy's author says it runs on, else what the server says of itself."""
    if wanted.device is not Device.NONE:
        return wanted.device
    return Device(told) if told in set(Device) else Device.NONE


def told_digest(server: RemoteServer) -> str:
    """Which artifact the server says it serves; empty when it does not say. Ours tells it at `GET /v2`."""
    if server.wanted.protocol != "v2":
        return ""
    endpoint = server.endpoint()
    try:
        answer = endpoint.exchange(endpoint.render("GET", "/v2"))
        told = json_object(answer.body, who=server.name).get("parameters")
    except EvidenceError:
        return ""
    finally:
        endpoint.close()
    return plain_line(str(told.get("artifact_digest") or ""), limit=80) if isinstance(told, dict) else ""


def provenance(wanted: RemoteParameters, told: str, artifact_digest: str) -> tuple[str, ...]:
    """Why the figures may be another model's; empty when the server says that it serves this very artifact."""
    if told == artifact_digest:
        return ()
    if told:
        return (f"the server at {wanted.url} says that it serves {told}, not {artifact_digest}",)
    unproven = f"nothing proves that it is {artifact_digest}"
    return (f"the server at {wanted.url} does not say which artifact it serves: {unproven}",)
