"""One child process, from start to report: bounded in time and in what is read from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import MAX_REPORT_BYTES, Task, plain_line
from model_approval.validators.progress import PREFIX

_BLOCK_BYTES = 64 * 1024
_STDERR_BYTES = 4096
_PROGRESS = PREFIX.encode()
_MAX_PROGRESS_LINES = 5000
"""Seven hours of them; more would be a flood."""


_PARSER_CRASHES = frozenset(
    {signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL, signal.SIGPROF}
)
"""What a native parser dies of; SIGPROF: of the processor time that the validator gave it."""


class _Crash(EvidenceError):
    """The process died of a parser."""


def end_on_sigterm() -> None:
    """Let SIGTERM end this program through its `finally` clauses: the child has a session of its own and would stay."""
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))


def run_child(
    command: Sequence[str], task: Task, *, again: bool = False, offer: Callable[[], int] | None = None
) -> bytes:
    """Run the confined process over a task.

    Args:
        command: Starts it; `--report-fd N` is added.
        task: What it is told.
        again: Whether to run it once more, cautiously, when a parser crashes: what is found elsewhere in the artifact
            must not be lost with it.
        offer: Gives each run a descriptor of its own that the manifest can be read from (`Task.manifest_fd`).

    Returns:
        The bytes of its report, at most `MAX_REPORT_BYTES`.

    Raises:
        EvidenceError: Crash, timeout, out of memory, a report too long or none; in words for the reviewer.
    """
    begin = time.monotonic()
    try:
        return _run_offering(command, task, offer)
    except _Crash:
        left_s = int(task.timeout_s - (time.monotonic() - begin))
        if not again or left_s < 1:
            raise
        return _run_offering(command, task.model_copy(update={"cautious": True, "timeout_s": left_s}), offer)


def _run_offering(command: Sequence[str], task: Task, offer: Callable[[], int] | None) -> bytes:
    if offer is None:
        return _run_once(command, task)
    descriptor = offer()
    try:
        return _run_once(command, task.model_copy(update={"manifest_fd": descriptor}))
    finally:
        os.close(descriptor)


def _run_once(command: Sequence[str], task: Task) -> bytes:
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as task_file, os.fdopen(reading, "rb") as report_pipe:
        task_file.write(task.model_dump_json().encode())
        task_file.seek(0)
        try:
            child = subprocess.Popen(
                [*command, "--report-fd", str(writing)],
                stdin=task_file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=(writing,) if task.manifest_fd is None else (writing, task.manifest_fd),
                env=_bare_environment(task),
                cwd=task.scratch,
                start_new_session=True,  # so that its helpers end with it
            )
        finally:
            os.close(writing)
        assert child.stderr is not None
        try:
            report, errors = _Reader(report_pipe, MAX_REPORT_BYTES), _Listener(child.stderr)
            timed_out = _wait(child, task.timeout_s, report)
        except BaseException:  # told to end, perhaps before the waiting began
            _end_group(child)
            raise
        report.join()
        errors.join()
        child.stderr.close()
    _raise_unless_reported(child, task, report, errors, timed_out=timed_out)
    return bytes(report.data)


def _bare_environment(task: Task) -> dict[str, str]:
    """Nothing of ours: whatever credentials the supervisor was started with end here."""
    return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": task.scratch, "TMPDIR": task.scratch}


class _Reader(threading.Thread):
    """Reads a pipe to its end, or to a limit."""

    def __init__(self, pipe: IO[bytes], limit_bytes: int) -> None:
        super().__init__(daemon=True)
        self.data, self.overflow = bytearray(), threading.Event()
        self._pipe, self._limit = pipe, limit_bytes
        self.start()

    def run(self) -> None:
        descriptor = self._pipe.fileno()
        while block := os.read(descriptor, _BLOCK_BYTES):
            self.data += block
            if len(self.data) > self._limit:
                self.overflow.set()
                return


class _Listener(threading.Thread):
    """Reads standard error: passes progress on, and keeps the last few kilobytes of all the rest."""

    def __init__(self, pipe: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self.data = bytearray()
        self._pipe, self._passed_on = pipe, 0
        self.start()

    def run(self) -> None:
        descriptor, pending = self._pipe.fileno(), b""
        while block := os.read(descriptor, _BLOCK_BYTES):
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                self._take(line)
            if len(pending) > _STDERR_BYTES:  # no line of ours is that long
                self._take(pending)
                pending = b""
        self._take(pending)

    def _take(self, line: bytes) -> None:
        if line.startswith(_PROGRESS) and self._passed_on < _MAX_PROGRESS_LINES:
            self._passed_on += 1
            sys.stderr.write(plain_line(line.decode("utf-8", "replace"), limit=200) + "\n")
            sys.stderr.flush()
        elif line:
            self.data += line + b"\n"
            del self.data[:-_STDERR_BYTES]


def _wait(child: subprocess.Popen[bytes], timeout_s: int, report: _Reader) -> bool:
    """Wait for the end, then end the whole group. Returns whether the time ran out."""
    timed_out = False
    watcher = threading.Thread(target=_kill_on_overflow, args=(child, report), daemon=True)
    watcher.start()
    try:
        child.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        timed_out = True
    finally:
        _end_group(child)
    return timed_out


def _end_group(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _kill_on_overflow(child: subprocess.Popen[bytes], report: _Reader) -> None:
    report.join()
    if report.overflow.is_set():
        child.kill()


def _raise_unless_reported(
    child: subprocess.Popen[bytes], task: Task, report: _Reader, errors: _Listener, *, timed_out: bool
) -> None:
    said = plain_line(errors.data.decode("utf-8", "replace"))
    if timed_out:
        raise EvidenceError(
            f"stopped after {task.timeout_s} s", hint="raise the check's timeout_s, or make the artifact smaller"
        )
    if report.overflow.is_set():
        raise EvidenceError(f"the report is longer than {MAX_REPORT_BYTES} bytes")
    if child.returncode == -signal.SIGKILL:
        raise EvidenceError("killed from outside, most likely out of memory", hint="raise the check's memory")
    if child.returncode < 0:
        kind = _Crash if -child.returncode in _PARSER_CRASHES else EvidenceError
        raise kind(f"crashed with {signal.Signals(-child.returncode).name}{f': {said}' if said else ''}")
    if child.returncode > 0:
        raise EvidenceError(said or f"ended with code {child.returncode} and said nothing")
    if not report.data:
        raise EvidenceError("ended without a report")
