"""The measuring side's hold on one worker: start it, load the model, ask, and keep the time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from model_approval.domain.base import Record
from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import RecordT, parse_record, plain_line
from model_approval.validators.gpu_benchmark.worker import (
    DONE,
    MEMORY,
    NOTHING,
    RUN,
    Loaded,
    LoadOrder,
    Locked,
    LockOrder,
    MemoryUse,
)

_COMMAND = (sys.executable, "-I", "-m", "model_approval.validators.gpu_benchmark.worker")


class ModelProcess:
    """A worker, started; the model is loaded by `load`."""

    def __init__(self, name: str, scratch: Path) -> None:
        """Start the process. Must be done before this process is confined."""
        self.name = name
        self.scratch = scratch / name
        self.scratch.mkdir()
        commands_read, self._commands = os.pipe()
        self._answers, answers_write = os.pipe()
        self._process = subprocess.Popen(
            [*_COMMAND, "--commands-fd", str(commands_read), "--answers-fd", str(answers_write)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(commands_read, answers_write),
            cwd=self.scratch,
        )
        os.close(commands_read)
        os.close(answers_write)

    def lock(self, order: LockOrder) -> Locked:
        """Have the process lock itself in and import its runtime."""
        return self._order(order, Locked)

    def load(self, order: LoadOrder) -> tuple[Loaded, float]:
        """Have the model loaded; returns what was loaded and the seconds from order to first answer.

        Raises:
            EvidenceError: It cannot be loaded; names the model and the reason.
        """
        start = time.perf_counter()
        loaded = self._order(order, Loaded)
        seconds = time.perf_counter() - start
        if loaded.error:
            raise EvidenceError(f"{self.name}: {loaded.error}")
        return loaded, seconds

    def ask(self) -> float:
        """One request; milliseconds from the question to the answer.

        Raises:
            EvidenceError: The model fails on it, or its process is gone.
        """
        return self._timed(RUN)

    def ask_nothing(self) -> float:
        """A request that runs no model: what the harness itself costs, in milliseconds."""
        return self._timed(NOTHING)

    def ask_for(self, seconds: float) -> float:
        """Ask back to back, the next request always waiting so that the model is never idle.

        Returns:
            Requests per second, from the first question to the last answer; at least two requests.
        """
        start = time.perf_counter()
        os.write(self._commands, RUN + RUN)
        answered = 0
        while time.perf_counter() - start < seconds:
            self._expect_done()
            answered += 1
            os.write(self._commands, RUN)
        for _ in range(2):
            self._expect_done()
        return (answered + 2) / (time.perf_counter() - start)

    def peak_memory_bytes(self) -> int:
        """Largest resident memory of the process so far: model, runtime and interpreter."""
        os.write(self._commands, MEMORY)
        return parse_record(MemoryUse, self._line(), what=self.name).peak_bytes

    def close(self) -> None:
        """End the process by closing its pipe."""
        os.close(self._commands)
        os.close(self._answers)

    def _timed(self, command: bytes) -> float:
        start = time.perf_counter_ns()
        os.write(self._commands, command)
        self._expect_done()
        return (time.perf_counter_ns() - start) / 1e6

    def _expect_done(self) -> None:
        answer = os.read(self._answers, 1)
        if answer != DONE:
            raise (
                self._gone()
                if not answer
                else EvidenceError(f"{self.name}: {plain_line(self._line().decode('utf-8', 'replace'))}")
            )

    def _order(self, order: Record, kind: type[RecordT]) -> RecordT:
        try:
            os.write(self._commands, order.model_dump_json().encode() + b"\n")
        except BrokenPipeError:
            raise self._gone() from None
        return parse_record(kind, self._line(), what=self.name)

    def _line(self) -> bytes:
        line = bytearray()
        while (byte := os.read(self._answers, 1)) != b"\n":
            if not byte:
                raise self._gone()
            line += byte
        return bytes(line)

    def _gone(self) -> EvidenceError:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return EvidenceError(
                f"{self.name}: killed from outside, most likely out of memory", hint="raise the check's memory"
            )
        how = f"with {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        return EvidenceError(f"{self.name}: the model's process ended {how}")
