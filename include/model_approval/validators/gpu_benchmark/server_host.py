"""The container of the model servers: starts them for the measuring program in the container beside it.

    python -m model_approval.validators.gpu_benchmark.server_host --work DIR --folder DIR

Runs from the image that will serve, on the GPU, without a capability. It takes one connection, on `FOLDER/host.sock`,
before anything of the model runs, and then closes the door: a model that gets out of its server finds nobody to talk
to. What to start it knows from the check's own `input.json`. It reads no byte of the artifact and no answer of a
server, so what it tells of a server's memory is the kernel's word and not the model's. The servers end with the
connection.
"""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from model_approval.domain.errors import EvidenceError, ModelApprovalError
from model_approval.domain.evidence import ValidatorInput
from model_approval.validators import contract
from model_approval.validators.contract import parse_record, plain_line, read_record
from model_approval.validators.gpu_benchmark.copies import free_memory_bytes
from model_approval.validators.gpu_benchmark.gpu import Gpu, open_gpu
from model_approval.validators.gpu_benchmark.host_wire import MAX_LINE_BYTES, Answer, Command, GpuLook
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.placement import put_threads
from model_approval.validators.gpu_benchmark.server_process import SERVER, ServerProcess, server_options
from model_approval.validators.processors import usable_cpus

SOCKET_NAME = "host.sock"
_AWAITED_S = 1200.0
"""How long the other container may take to come: it starts right after or before this one, once its image is there."""
_FOLDERS = {
    "candidate": contract.ARTIFACT_DIR,
    "champion": contract.CHAMPION_DIR,
    "cold start": contract.ARTIFACT_DIR,
}


@dataclass
class Host:
    """Starts, watches and ends the servers of one check.

    Attributes:
        work: The check's work folder; only read.
        folder: Where sockets and logs of the servers go.
        parameters: The check's.
        gpu: The GPU of this container, if it has one.
        command: The server's program.
    """

    work: Path
    folder: Path
    parameters: Parameters
    gpu: Gpu | None = None
    command: Sequence[str] = SERVER
    _servers: dict[tuple[str, int], ServerProcess] = field(default_factory=dict)

    def obey(self, command: Command) -> Answer:
        """Do one thing. What fails is told, never raised: the other side decides what it means."""
        actions: Mapping[str, Callable[[Command], Answer]] = {
            "start": self._start,
            "stop": self._stop,
            "look": self._look,
            "place": self._place,
            "gpu": self._look_at_gpu,
            "describe_gpu": self._describe_gpu,
        }
        try:
            return actions[command.do](command)
        except (OSError, EvidenceError) as err:
            return Answer(error=f"{command.server}: {err}"[:4000])

    def close(self) -> None:
        """End whatever still runs."""
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    def _start(self, command: Command) -> Answer:
        self._stop(command)
        threads = self.parameters.threads or usable_cpus()
        # GPU drivers need Unix sockets, so seccomp leaves them open beside a GPU. A model that may list no folder finds
        # no way to the other model's server, to slow it down, unless it can guess the name.
        folder = self.folder / secrets.token_hex(8)
        server = ServerProcess.start(
            command.server if command.number == 1 else f"{command.server} {command.number}",
            self.work / _FOLDERS[command.server],
            folder,
            server_options(self.parameters, threads),
            self.command,
        )
        self._servers[command.server, command.number] = server
        # The other container sees this folder under the same path, but has another working directory.
        return Answer(socket=str(folder / "server.sock"), at_s=server.started, threads=threads, alive=True)

    def _stop(self, command: Command) -> Answer:
        server = self._servers.pop((command.server, command.number), None)
        if server is not None:
            server.close()
        return Answer()

    def _look(self, command: Command) -> Answer:
        server = self._servers.get((command.server, command.number))
        if server is None:
            return Answer(error=f"{command.server}: no such server was started")
        if not server.is_alive():
            return Answer(error=str(server.gone())[:4000])
        return Answer(
            alive=True,
            memory_bytes=server.memory_bytes(),
            peak_memory_bytes=server.peak_memory_bytes(),
            free_bytes=free_memory_bytes(),
        )

    def _place(self, command: Command) -> Answer:
        server = self._servers.get((command.server, command.number))
        if server is not None:
            everywhere = os.sched_getaffinity(0)
            put_threads(server.tasks_fd, everywhere if command.processor is None else {command.processor})
        return Answer()

    def _look_at_gpu(self, _: Command) -> Answer:
        if self.gpu is None:
            return Answer()
        seen = self.gpu.sample()
        return Answer(
            gpu=GpuLook(
                memory_bytes=seen.memory_bytes,
                utilisation_percent=seen.utilisation_percent,
                power_w=seen.power_w,
                temperature_c=seen.temperature_c,
                slowdowns=None if seen.slowdowns is None else tuple(sorted(seen.slowdowns)),
            )
        )

    def _describe_gpu(self, _: Command) -> Answer:
        return Answer(gpu_facts=self.gpu.describe() if self.gpu else {})


def take_one_connection(path: Path, longest_s: float = _AWAITED_S) -> socket.socket:
    """Wait for the measuring program, then leave nobody else a way in.

    Raises:
        EvidenceError: Nobody came.
    """
    path.unlink(missing_ok=True)
    # Bound beside its name and moved there: whoever sees the name can connect.
    beside = path.with_suffix(".new")
    beside.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.bind(str(beside))
        door.listen(1)
        door.settimeout(longest_s)
        beside.rename(path)
        try:
            connection, _ = door.accept()
        except TimeoutError:
            raise EvidenceError(f"no measuring program came within {longest_s:g} s") from None
        finally:
            path.unlink(missing_ok=True)
    connection.settimeout(None)
    return connection


def serve(host: Host, connection: socket.socket) -> None:
    """Obey until the other side hangs up; then end the servers.

    Raises:
        EvidenceError: The other side does not keep the protocol.
    """
    try:
        with connection, connection.makefile("rb") as lines:
            while line := lines.readline(MAX_LINE_BYTES):
                answer = host.obey(parse_record(Command, line, what="the measuring program's command"))
                with suppress(BrokenPipeError):
                    connection.sendall(answer.model_dump_json().encode() + b"\n")
    except ConnectionResetError:
        return
    finally:
        host.close()


def _stop(*_: object) -> None:
    sys.exit(0)


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code. 0: the other side has finished, whatever it found."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.gpu_benchmark.server_host", description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args(argv)
    # As a container's first process it would otherwise be deaf to it.
    signal.signal(signal.SIGTERM, _stop)
    os.umask(0o077)
    try:
        given.folder.mkdir(parents=True, exist_ok=True)
        parameters = Parameters.model_validate(read_record(ValidatorInput, given.work / contract.INPUT_FILE).parameters)
        host = Host(given.work, given.folder, parameters, open_gpu())
        serve(host, take_one_connection(given.folder / SOCKET_NAME))
    except (ModelApprovalError, OSError, ValidationError) as err:
        said = plain_line(str(err))
        sys.stderr.write(f"model servers: {said}\n")
        with suppress(OSError):  # so that nobody waits for a socket in vain
            (given.folder / contract.SERVERS_ERROR_FILE).write_text(said, encoding="utf-8")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
