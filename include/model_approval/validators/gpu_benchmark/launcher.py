"""Starts model servers for a measuring program that is confined already and can start nothing itself.

    python -I -m model_approval.validators.gpu_benchmark.launcher JSON

The launcher reads no byte of the artifact and no answer of a server. It takes three commands of one byte each and knows
what to start from its own command line, written before the confined program saw anything untrusted: whoever takes that
program over can have the same servers started and ended, and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.base import Record
from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import parse_record
from model_approval.validators.gpu_benchmark.server_process import SERVER, ServerProcess

_COMMAND = (sys.executable, "-I", "-m", "model_approval.validators.gpu_benchmark.launcher")
_START, _STOP, _LOOK = b"+", b"-", b"?"
_STARTED_LINE_BYTES = 4096


class Order(Record):
    """What to start; fixed for the launcher's life."""

    artifact: str
    folder: str
    """Each start has a folder of its own in it."""
    options: tuple[str, ...] = ()
    command: tuple[str, ...] = SERVER


class Started(Record):
    """One start."""

    socket: str = ""
    at_s: float = 0.0
    """When, on the clock of `time.perf_counter`, which all processes of a Linux machine share."""
    error: str = ""


@dataclass
class Launcher:
    """The confined program's hold on it."""

    process: subprocess.Popen[bytes]

    @classmethod
    def begin(
        cls, artifact: Path, folder: Path, options: Sequence[str] = (), command: Sequence[str] = SERVER
    ) -> Launcher:
        """Start the launcher; must be done before this process is confined. Arguments as of `ServerProcess.start`."""
        order = Order(artifact=str(artifact), folder=str(folder), options=tuple(options), command=tuple(command))
        process = subprocess.Popen(
            [*_COMMAND, order.model_dump_json()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        return cls(process)

    def start(self) -> Started:
        """Have a server started. Raises EvidenceError when it cannot be."""
        started = parse_record(Started, self._command(_START), what="the launcher of servers")
        if started.error:
            raise EvidenceError(started.error)
        return started

    def look(self) -> None:
        """Raises EvidenceError when the last server has ended; with its reason."""
        started = parse_record(Started, self._command(_LOOK), what="the launcher of servers")
        if started.error:
            raise EvidenceError(started.error)

    def stop(self) -> None:
        """Have the last server ended; returns once it has."""
        self._command(_STOP)

    def close(self) -> None:
        """End the launcher, and with it what it started."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _command(self, command: bytes) -> bytes:
        assert self.process.stdin
        assert self.process.stdout
        try:
            self.process.stdin.write(command)
            line = self.process.stdout.readline(_STARTED_LINE_BYTES)
        except BrokenPipeError:
            line = b""
        if not line.endswith(b"\n"):
            raise EvidenceError("the launcher of servers has ended")
        return line


def serve(order: Order) -> None:
    """Obey until the other side closes its pipe."""
    current: ServerProcess | None = None
    number = 0
    while command := os.read(0, 1):
        if command == _LOOK:
            ended = current is not None and not current.is_alive()
            _say(Started(error=str(current.gone()) if ended and current else ""))
            continue
        if current is not None:
            current.close()
            current = None
        answer = Started()
        if command == _START:
            number += 1
            at_s = time.perf_counter()
            try:
                current = ServerProcess.start(
                    "cold start", Path(order.artifact), Path(order.folder) / str(number), order.options, order.command
                )
                answer = Started(socket=current.socket, at_s=at_s)
            except OSError as err:
                answer = Started(error=f"cold start: {err}")
        _say(answer)
    if current is not None:
        current.close()


def _say(answer: Started) -> None:
    os.write(1, answer.model_dump_json().encode() + b"\n")


def main() -> int:
    """The program; returns its exit code."""
    serve(Order.model_validate_json(sys.argv[1]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
