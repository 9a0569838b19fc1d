"""A validator that misbehaves, for the tests of confinement and supervisor; run by the validators' interpreter.

Called like the supervisor it is a supervisor that knows this validator; called with `--report-fd` it is the child. In
the image of `tests/support/hostile_image` it stands in place of the security scan, as if an artifact had taken over the
process that reads it. What it tries is the input's parameter `attempts` (`NAME` or `NAME ARGUMENT`), what came of each
is in the evidence's environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from model_approval.domain.evidence import FileCoverage
from model_approval.validators import child, supervisor
from model_approval.validators.contract import MAX_REPORT_BYTES, Bounds, Report, Task
from model_approval.validators.registry import Entry


class Hostile:
    """Tries what the parameters say."""

    def bounds(self, task: Task) -> Bounds:
        return Bounds(memory_bytes=512 * 1024**2, file_bytes=1024**2)

    def prepare(self, task: Task) -> None:
        pass

    def run(self, task: Task) -> Report:
        attempts: Any = task.input.parameters["attempts"]
        outcome = {said: tried(attempt(task, said, value)) for said, value in attempts.items()}
        covered = (
            task.input.manifest.files[1:] if task.input.parameters.get("forget_a_file") else task.input.manifest.files
        )
        coverage = tuple(FileCoverage(path=entry.path, covered=True) for entry in covered)
        return Report(coverage=coverage, environment=outcome)


def attempt(task: Task, said: str, value: Any) -> Callable[[], object]:
    """What `said` names (`NAME` or `NAME ARGUMENT`), ready to be tried."""
    name, _, argument = said.partition(" ")
    return partial(_ATTEMPTS[name], task, argument or value)


def tried(attempt: Callable[[], object]) -> str:
    """What came of an attempt: `done: ...`, or `refused: ` with the kind of error."""
    try:
        result = attempt()
    except (OSError, MemoryError, RuntimeError) as err:
        return f"refused: {type(err).__name__}: {err}"
    return f"done: {str(result)[:200]}"


def _connect(task: Task, to: Any) -> object:
    host, port = to.split(":") if isinstance(to, str) else ("127.0.0.1", to)
    return socket.create_connection((host, int(port)), timeout=5)


def _unix_socket(task: Task, value: Any) -> object:
    return socket.socket(socket.AF_UNIX)


def _read(task: Task, path: Any) -> object:
    return Path(path).read_bytes()[:20]


def _write(task: Task, path: Any) -> object:
    return Path(path).write_bytes(b"x")


def _write_beside_artifact(task: Task, value: Any) -> object:
    return (task.artifact_path / "planted.py").write_bytes(b"x")


def _change_artifact(task: Task, value: Any) -> object:
    return next(task.artifact_path.iterdir()).open("r+b")


def _write_scratch(task: Task, value: Any) -> object:
    return (Path(task.scratch) / "note").write_bytes(b"x" * 1000)


def _fill_disk(task: Task, value: Any) -> object:
    return (Path(task.scratch) / "flood").write_bytes(b"x" * 50 * 1024**2)


def _fork(task: Task, value: Any) -> object:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return pid


def _fork_bomb(task: Task, count: Any) -> object:
    born = 0
    for _ in range(int(count)):
        with contextlib.suppress(OSError):
            if os.fork() == 0:
                time.sleep(5)
                os._exit(0)
            born += 1
    return f"{born} processes"


def _flood(task: Task, gib: Any) -> object:
    """Fill the scratch folder, then wait for whoever stops it."""
    block, written = bytes(16 * 1024**2), 0
    for number in range(int(gib) * 64):
        with contextlib.suppress(OSError), (Path(task.scratch) / f"flood-{number}").open("wb") as stream:
            written += stream.write(block)
    time.sleep(600)
    return f"{written} bytes"


def _execute(task: Task, value: Any) -> object:
    return subprocess.run(["/bin/true"], check=True)


def _environment_of_supervisor(task: Task, value: Any) -> object:
    return Path(f"/proc/{os.getppid()}/environ").read_bytes()[:20]


def _memory_of_supervisor(task: Task, value: Any) -> object:
    return Path(f"/proc/{os.getppid()}/mem").open("rb")


def _kill_supervisor(task: Task, value: Any) -> object:
    os.kill(os.getppid(), signal.SIGKILL)
    return "killed"


def _eat_memory(task: Task, value: Any) -> object:
    return len(bytearray(2 * 1024**3))


def _thread(task: Task, value: Any) -> object:
    thread = threading.Thread(target=time.monotonic)
    thread.start()
    thread.join()
    return "a thread ran"


def _own_environment(task: Task, value: Any) -> object:
    return sorted(os.environ)


def _crash(task: Task, value: Any) -> object:
    os.abort()


def _killed(task: Task, value: Any) -> object:
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(60)
    return "woke up"


def _hang(task: Task, value: Any) -> object:
    time.sleep(600)
    return "woke up"


def _end_silently(task: Task, value: Any) -> object:
    os._exit(0)


def _flood_report(task: Task, value: Any) -> object:
    block = b"[" * 1024**2
    for _ in range(MAX_REPORT_BYTES // len(block) + 2):
        os.write(_report_fd(), block)
    time.sleep(600)
    return "woke up"


def _forge_report(task: Task, text: Any) -> object:
    os.write(_report_fd(), text.encode())
    os._exit(0)


def _chatter(task: Task, value: Any) -> object:
    os.write(2, b"noise \x1b[31m\n" * 100_000)
    os._exit(7)


def _report_fd() -> int:
    return int(sys.argv[sys.argv.index("--report-fd") + 1])


_ATTEMPTS: dict[str, Callable[[Task, Any], object]] = {
    "connect": _connect,
    "unix_socket": _unix_socket,
    "read": _read,
    "write": _write,
    "write_beside_artifact": _write_beside_artifact,
    "change_artifact": _change_artifact,
    "write_scratch": _write_scratch,
    "fill_disk": _fill_disk,
    "fork": _fork,
    "fork_bomb": _fork_bomb,
    "flood": _flood,
    "execute": _execute,
    "environment_of_supervisor": _environment_of_supervisor,
    "memory_of_supervisor": _memory_of_supervisor,
    "kill_supervisor": _kill_supervisor,
    "eat_memory": _eat_memory,
    "thread": _thread,
    "own_environment": _own_environment,
    "crash": _crash,
    "killed": _killed,
    "hang": _hang,
    "end_silently": _end_silently,
    "flood_report": _flood_report,
    "forge_report": _forge_report,
    "chatter": _chatter,
}
_REGISTRY = {"hostile": Entry(version="0", covers_every_file=True, make=Hostile)}

if __name__ == "__main__":
    if "--report-fd" in sys.argv:
        sys.exit(child.main(registry=_REGISTRY))
    sys.exit(supervisor.main(supervisor=supervisor.Supervisor(_REGISTRY, (sys.executable, "-I", __file__))))
