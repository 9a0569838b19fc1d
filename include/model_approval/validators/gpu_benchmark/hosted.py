"""Model servers that run in a container of their own, as the measuring program sees them.

The same interfaces as servers, GPU and launcher of our own process (`server_process.py`, `gpu.py`, `cold_start.py`),
over the one connection to `server_host.py`. It is made before this process is confined, and works on afterwards.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import parse_record
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.gpu import GpuSample
from model_approval.validators.gpu_benchmark.host_wire import MAX_LINE_BYTES, Answer, Command, ServerName
from model_approval.validators.gpu_benchmark.launcher import Started

_POLL_S = 0.01
_LOOK_S = 0.5
_PATIENCE_S = 60.0
"""Longest wait for one answer: it is a look into /proc or the start of a process."""


class ServerHost:
    """The connection to the other container; may be used by several threads."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(_PATIENCE_S)
        self._connection, self._lines = connection, connection.makefile("rb")
        self._one_at_a_time = threading.Lock()

    @classmethod
    def connect(cls, path: Path, longest_s: float) -> ServerHost:
        """Connect as soon as the other container listens.

        Raises:
            EvidenceError: It does not, in time.
        """
        start = time.monotonic()
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                connection.connect(str(path))
                return cls(connection)
            except OSError as err:
                connection.close()
                if time.monotonic() - start > longest_s:
                    raise EvidenceError(
                        f"the container of the model servers did not come up within {longest_s:g} s ({err.strerror})"
                    ) from err
            time.sleep(_POLL_S)

    def ask(self, command: Command) -> Answer:
        """Have something done.

        Raises:
            EvidenceError: The container has ended, most likely for lack of memory, or does not answer.
        """
        with self._one_at_a_time:
            try:
                self._connection.sendall(command.model_dump_json().encode() + b"\n")
                line = self._lines.readline(MAX_LINE_BYTES)
            except ConnectionError:
                line = b""
            except OSError as err:
                raise EvidenceError(f"the container of the model servers does not answer: {err}") from err
        if not line.endswith(b"\n"):
            raise EvidenceError(
                "the container of the model servers has ended, most likely out of memory",
                hint="raise the check's memory",
            )
        return parse_record(Answer, line, what="the container of the model servers")

    def close(self) -> None:
        """Hang up: the other container ends its servers and itself."""
        self._lines.close()
        self._connection.close()


@dataclass
class HostedServer:
    """One model's server in the other container.

    Attributes:
        model: Whose server it is.
        host: Who runs it.
        socket: Where it listens, in the folder that both containers see.
        started: When, on the clock of `time.perf_counter`.
        threads: Of one inference, as the other container's quota grants.
        load_s: Seconds from its start until it could be asked; 0 until `wait_ready`.
        number: Which of the model's processes it is.
    """

    model: ServerName
    host: ServerHost
    socket: str
    started: float
    threads: int
    load_s: float = 0.0
    number: int = 1

    @classmethod
    def start(cls, model: ServerName, host: ServerHost, number: int = 1) -> HostedServer:
        """Have it started. Raises EvidenceError when it cannot be."""
        answer = host.ask(Command(do="start", server=model, number=number))
        if answer.error:
            raise EvidenceError(answer.error)
        return cls(model, host, answer.socket, answer.at_s, answer.threads, number=number)

    @property
    def name(self) -> str:
        """How messages name it."""
        return self.model if self.number == 1 else f"{self.model} {self.number}"

    def endpoint(self, *, model: str = "model", timeout_s: float = 60.0) -> Endpoint:
        """A connection to it."""
        return Endpoint(self.socket, self.name, model, timeout_s)

    def wait_ready(self, longest_s: float) -> float:
        """Wait until the model can be asked; returns the seconds since the start.

        Raises:
            EvidenceError: It ended, or is not ready in time.
        """
        endpoint, looked = self.endpoint(timeout_s=longest_s), time.perf_counter()
        while time.perf_counter() - self.started < longest_s:
            if os.path.exists(self.socket) and endpoint.ready():
                self.load_s = time.perf_counter() - self.started
                endpoint.close()
                return self.load_s
            if time.perf_counter() - looked > _LOOK_S:
                looked = time.perf_counter()
                if not self.is_alive():
                    raise self.gone()
            time.sleep(_POLL_S)
        raise EvidenceError(f"{self.name}: the model's server was not ready within {longest_s:g} s")

    def is_alive(self) -> bool:
        """Whether its process runs."""
        return self._look().alive

    def memory_bytes(self) -> int:
        """Resident memory now, by the kernel's account; 0 when the process has ended."""
        return self._look().memory_bytes

    def peak_memory_bytes(self) -> int:
        """Largest resident memory so far, by the kernel's account; 0 when the process has ended."""
        return self._look().peak_memory_bytes

    def gone(self) -> EvidenceError:
        """Why it ended, in words."""
        return EvidenceError(self._look().error or f"{self.name}: the model's server ended")

    def free_memory_bytes(self) -> int:
        """What its container has left."""
        return self._look().free_bytes

    def place(self, processor: int | None) -> None:
        """Have its threads run on one processor alone; None: on any."""
        self.host.ask(Command(do="place", server=self.model, number=self.number, processor=processor))

    def close(self) -> None:
        """Have it ended."""
        self.host.ask(Command(do="stop", server=self.model, number=self.number))

    def _look(self) -> Answer:
        return self.host.ask(Command(do="look", server=self.model, number=self.number))


@dataclass(frozen=True)
class HostedPlacement:
    """`Placement` for a server whose threads only the other container can move."""

    server: HostedServer

    @contextmanager
    def together(self, choice: float) -> Iterator[None]:
        """As `Placement.together`: client and server on one processor, where both containers may use it."""
        everywhere = os.sched_getaffinity(0)
        one = sorted(everywhere)[int(choice * len(everywhere))]
        self.server.place(one)
        os.sched_setaffinity(0, {one})
        try:
            yield
        finally:
            os.sched_setaffinity(0, everywhere)
            self.server.place(None)


class HostedGpu:
    """The other container's GPU."""

    def __init__(self, host: ServerHost) -> None:
        self._host = host

    @classmethod
    def of(cls, host: ServerHost) -> HostedGpu | None:
        """None when that container sees none."""
        return cls(host) if host.ask(Command(do="gpu")).gpu else None

    def describe(self) -> dict[str, str]:
        """Name, driver, clocks, ECC, MIG, power limit."""
        return self._host.ask(Command(do="describe_gpu")).gpu_facts

    def sample(self) -> GpuSample:
        """How it is now."""
        seen = self._host.ask(Command(do="gpu")).gpu
        if seen is None:
            raise EvidenceError("the GPU vanished during the measurement")
        return GpuSample(
            seen.memory_bytes,
            seen.utilisation_percent,
            seen.power_w,
            seen.temperature_c,
            None if seen.slowdowns is None else frozenset(seen.slowdowns),
        )


@dataclass(frozen=True)
class HostedStarts:
    """Cold starts of the candidate in the other container."""

    host: ServerHost

    def start(self) -> Started:
        """Start one. Raises EvidenceError when it cannot be."""
        server = HostedServer.start("cold start", self.host)
        return Started(socket=server.socket, at_s=server.started)

    def look(self) -> None:
        """Raises EvidenceError when it has ended by itself."""
        answer = self.host.ask(Command(do="look", server="cold start"))
        if answer.error:
            raise EvidenceError(answer.error)

    def stop(self) -> None:
        """End it."""
        self.host.ask(Command(do="stop", server="cold start"))
