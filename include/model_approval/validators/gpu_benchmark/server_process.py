"""One model server, started as a process of its own: the measuring program never loads the model itself.

Started before the measuring program is confined; the server confines itself before it reads the model. What has to be
known of the process later (its memory) is read through files of /proc that are opened now, since a confined process
can open none. It ends when its standard input does, so with its owner even where nobody could say goodbye.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import plain_line
from model_approval.validators.gpu_benchmark.copies import free_memory_bytes
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.parameters import Parameters

SERVER = (sys.executable, "-I", "-m", "model_approval.validators.model_server")
_POLL_S = 0.01
_STARTED_IN_S = 600.0
_LOG_BYTES = 64 * 1024


def server_options(parameters: Parameters, threads: int) -> list[str]:
    """The server's options that follow from a check's parameters."""
    options = ["--threads", str(threads), "--memory-mib", str(parameters.memory_mib)]
    if parameters.model is not None:
        options += ["--model", parameters.model]
    if parameters.allow_code:
        options.append("--allow-code")
    return options


@dataclass
class ServerProcess:
    """A started server.

    Attributes:
        name: How messages name it: `candidate`, `champion`.
        socket: Where it listens; relative to the working folder when that is shorter (a socket's path may have 107
            bytes).
        load_s: Seconds from its start until it could be asked; 0 until `wait_ready`.
    """

    name: str
    socket: str
    process: subprocess.Popen[bytes]
    log: Path
    started: float
    status_fd: int
    tasks_fd: int
    """The folder of /proc that lists its threads."""
    load_s: float = 0.0

    @classmethod
    def start(
        cls, name: str, artifact: Path, folder: Path, options: Sequence[str] = (), command: Sequence[str] = SERVER
    ) -> ServerProcess:
        """Start a server for an artifact.

        Args:
            name: How messages name it.
            artifact: The artifact's folder or single file.
            folder: Where its socket and log go; made here.
            options: More options of the server's command line, for example `--threads 2`.
            command: The server's program.
        """
        folder.mkdir(parents=True, exist_ok=True)
        log = folder / "server.log"
        socket = folder / "server.sock"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--until-input-ends", "--artifact", str(artifact), "--socket", str(socket), *options],
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=stream,
                cwd=folder,
            )
        status_fd = os.open(f"/proc/{process.pid}/status", os.O_RDONLY | os.O_CLOEXEC)
        tasks_fd = os.open(f"/proc/{process.pid}/task", os.O_RDONLY | os.O_CLOEXEC)
        return cls(name, _short(socket), process, log, time.perf_counter(), status_fd, tasks_fd)

    def endpoint(self, *, model: str = "model", timeout_s: float = 60.0) -> Endpoint:
        """A connection to it."""
        return Endpoint(self.socket, self.name, model, timeout_s)

    def wait_ready(self, longest_s: float = _STARTED_IN_S) -> float:
        """Wait until the model can be asked; returns the seconds since the start.

        Raises:
            EvidenceError: It ended, or is not ready in time; with the last line of its log.
        """
        endpoint = self.endpoint(timeout_s=longest_s)
        while time.perf_counter() - self.started < longest_s:
            if os.path.exists(self.socket) and endpoint.ready():
                self.load_s = time.perf_counter() - self.started
                endpoint.close()
                return self.load_s
            if self.process.poll() is not None:
                raise self.gone()
            time.sleep(_POLL_S)
        raise EvidenceError(
            f"{self.name}: the model's server was not ready within {longest_s:g} s: {self.last_words()}"
        )

    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    def memory_bytes(self) -> int:
        """Resident memory now; 0 when the process has ended."""
        return self._status("VmRSS")

    def peak_memory_bytes(self) -> int:
        """Largest resident memory so far: model, runtime and interpreter; 0 when the process has ended."""
        return self._status("VmHWM")

    def _status(self, field: str) -> int:
        try:
            text = os.pread(self.status_fd, 8192, 0)
        except ProcessLookupError:
            return 0
        found = re.search(rb"^%s:\s+(\d+) kB" % field.encode(), text, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def free_memory_bytes(self) -> int:
        """What its container or machine has left, which is ours, too."""
        return free_memory_bytes()

    def gone(self) -> EvidenceError:
        """Why it ended, in words."""
        code = self.process.wait()
        if code == -signal.SIGKILL:
            return EvidenceError(
                f"{self.name}: killed from outside, most likely out of memory", hint="raise the check's memory"
            )
        how = f"with {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        said = self.last_words()
        return EvidenceError(
            f"{self.name}: {said}" if code > 0 and said else f"{self.name}: the model's server ended {how}"
        )

    def last_words(self) -> str:
        """The last line of its log."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _LOG_BYTES))
                lines = stream.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return plain_line(lines[-1]).removeprefix("model server: ") if lines else ""

    def close(self) -> None:
        """End it: its standard input ends, then, where that is allowed, the process is killed."""
        if self.process.stdin:
            self.process.stdin.close()
        with contextlib.suppress(PermissionError):  # this process is confined already; the server ends by itself
            self.process.kill()
            self.process.wait()
        os.close(self.status_fd)
        os.close(self.tasks_fd)


def _short(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)
