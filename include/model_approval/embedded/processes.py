"""Starts programs, waits until each is ready, starts one again that died, and stops them all.

Rules: each program leads its own session, so that Ctrl-C reaches us alone and we stop them in order; each writes to its
own log; nothing that we did not start is ever signalled; and should we be killed, the reaper ends what we leave.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_approval.domain.errors import ModelApprovalError
from model_approval.embedded import reaper

log = logging.getLogger(__name__)

_POLL_S = 0.2
_RESTARTS = 5
"""How often a program is started again after it ended by itself; one that dies more often has a cause to be mended."""
_NOT_INHERITED = ("AIRFLOW", "MODEL_APPROVAL_", "AWS_", "MLFLOW_", "PYTHONPATH", "_MLFLOW")
"""What the caller's shell holds for other installations must not reach this one."""


class ProgramError(ModelApprovalError):
    """A program ended, or was not ready in time. The message holds the end of its log."""

    code = "MA-8001"


@dataclass(frozen=True)
class Program:
    """Something to run."""

    name: str
    command: tuple[str, ...]
    cwd: Path
    ready: Callable[[], bool]
    """Asked again and again until true; must return within seconds and never raise."""
    environment: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float = 300.0
    """Until ready. Airflow needs 10 to 60 s on two cores, and has needed 120 s on ones that ten others used as well."""


class Supervisor:
    """All programs of one stack."""

    def __init__(self, stack_id: str, logs: Path) -> None:
        self.stack_id = stack_id
        self._logs = logs
        self._running: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}
        self._restarts: dict[str, int] = {}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._reaper = _start_reaper(stack_id)

    def log_of(self, name: str) -> Path:
        """Where a program writes."""
        return self._logs / f"{name}.log"

    def start(self, program: Program) -> None:
        """Start a program and return when it is ready.

        Raises:
            ProgramError: It ended, was not ready in time, or the stack is being stopped.
        """
        process = self._launch(program)
        deadline = time.monotonic() + program.deadline_s
        while not program.ready():
            if process.poll() is not None:
                raise self._failure(program, f"ended with exit code {process.returncode} while it started")
            if time.monotonic() > deadline:
                raise self._failure(program, f"was not ready within {program.deadline_s:g} s")
            if self._stopping.wait(_POLL_S):
                raise ProgramError(f"{program.name}: the start was interrupted")

    def run(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], *, timeout_s: float = 300.0
    ) -> None:
        """Run a program to its end.

        Raises:
            ProgramError: Another exit code than 0, or it took longer.
        """
        program = Program(name, tuple(command), Path.cwd(), ready=lambda: False, environment=environment)
        process = self._launch(program)
        deadline = time.monotonic() + timeout_s
        while process.poll() is None:
            if time.monotonic() > deadline:
                raise self._failure(program, f"did not finish within {timeout_s:.0f} s")
            if self._stopping.wait(_POLL_S):
                raise ProgramError(f"{name}: interrupted")
        self._forget(name)
        if process.returncode != 0:
            raise self._failure(program, f"ended with exit code {process.returncode}")

    def adopt(self, process_id: int) -> None:
        """Let the reaper also end a process group that somebody else of this stack started."""
        self._tell_reaper(f"add {process_id}")

    def pid_of(self, name: str) -> int:
        """The process id of a program that was started."""
        return self._running[name][1].pid

    def restart_dead(self) -> list[str]:
        """Start programs again that ended by themselves; one line in words for each.

        Raises:
            ProgramError: One died more than five times.
        """
        said = []
        for name, (program, process) in list(self._running.items()):
            if process.poll() is None:
                continue
            self._restarts[name] = self._restarts.get(name, 0) + 1
            if self._restarts[name] > _RESTARTS:
                raise self._failure(program, f"died {self._restarts[name]} times")
            said.append(f"{name} ended with exit code {process.returncode}; started again, see {self.log_of(name)}")
            self._launch(program)
        return said

    def stop(self, *, grace_s: float = reaper.GRACE_S) -> list[int]:
        """Stop everything. Returns the ids of processes that would not go, as a rule none. Safe to call twice."""
        self._stopping.set()
        with self._lock:
            running, self._running = self._running, {}
        groups = [process.pid for _, process in running.values()]
        left = reaper.end_all(self.stack_id, groups, grace_s=grace_s)
        for _, process in running.values():
            if process.pid not in left:
                process.wait()
        if self._reaper.stdin and not self._reaper.stdin.closed:
            self._reaper.stdin.close()
            self._reaper.wait()
        return left

    def _launch(self, program: Program) -> subprocess.Popen[bytes]:
        path = self.log_of(program.name)
        if program.name not in self._running and path.exists():
            path.replace(path.with_suffix(".log.old"))
        with self._lock, path.open("ab") as output:
            if self._stopping.is_set():
                raise ProgramError(f"{program.name}: the stack is being stopped")
            process = subprocess.Popen(
                program.command,
                cwd=program.cwd,
                env={**clean_environment(), **program.environment, reaper.MARK: self.stack_id},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._running[program.name] = (program, process)
            self._tell_reaper(f"add {process.pid}")
        return process

    def _forget(self, name: str) -> None:
        with self._lock:
            _, process = self._running.pop(name)
            self._tell_reaper(f"drop {process.pid}")

    def _tell_reaper(self, line: str) -> None:
        if self._reaper.stdin is None or self._reaper.poll() is not None:
            log.warning("the reaper is gone: should this process be killed, programs stay until the next start")
            return
        self._reaper.stdin.write(f"{line}\n".encode())
        self._reaper.stdin.flush()

    def _failure(self, program: Program, what: str) -> ProgramError:
        path = self.log_of(program.name)
        return ProgramError(f"{program.name} {what}; the end of its log:\n{tail(path)}", hint=f"the whole log: {path}")


def clean_environment() -> dict[str, str]:
    """Our environment without what belongs to other installations of the same programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)}
    # Without this, setproctitle writes over the memory that /proc/<pid>/environ shows, and with it our mark.
    return {
        **kept,
        "SPT_NOENV": "1",
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": "localhost,127.0.0.1",
        "no_proxy": "localhost,127.0.0.1",
    }


def tail(path: Path, *, lines: int = 15) -> str:
    """The last lines of a log, indented for a message."""
    if not path.exists():
        return "  (no log)"
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 16_384))
        text = stream.read().decode(errors="replace")
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (empty)"


def _start_reaper(stack_id: str) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != reaper.MARK}
    return subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(reaper.__file__)), stack_id],
        env=environment,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
