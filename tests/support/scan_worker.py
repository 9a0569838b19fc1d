"""Scans what it is sent, in one process of the validators' interpreter: for fuzzing, where a start each time is slow.

On standard input: a line of JSON `{"name": ..., "size": ...}`, then so many bytes. On standard output: a line of JSON
with `verdict`, or `error` when something escaped that a scanner must not raise; processor seconds and peak of memory.
The process bounds its own memory, since a scanner that wants more has a bug.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from select import select
from typing import IO

from tests.support.corpus.judge import ours
from tests.support.corpus.places import REPOSITORY, VALIDATORS

MEMORY_BYTES = 2 * 1024**3
"""Of address space: libraries map files and reserve more than they use."""


def serve(source: IO[bytes], answers: IO[str]) -> None:
    """Answer until the input ends."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    while line := source.readline():
        order = json.loads(line)
        answers.write(json.dumps(_answer(order["name"], source.read(order["size"]))) + "\n")
        answers.flush()


def _answer(name: str, data: bytes) -> dict[str, object]:
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "artifact", name)
        path.parent.mkdir()
        path.write_bytes(data)
        try:
            judgement = ours(path.parent)
        except BaseException:  # noqa: BLE001  # what escaped is the answer, a MemoryError or SystemExit too
            return {"error": traceback.format_exc()[-3000:]}
    used = {"cpu_s": time.process_time() - begun, "peak_mib": _peak_mib()}
    return {"verdict": judgement.verdict, "said": judgement.said, **used}


def _peak_mib() -> int:
    """Of this program alone; what `getrusage` tells begins with the peak of the process that started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) // 1024


@dataclass(frozen=True)
class Answer:
    """What the worker said.

    Attributes:
        verdict: `failed`, `inconclusive`, `passed`; empty when it did not come to one.
        error: What escaped, or that it took too long or died.
        cpu_s: Processor seconds, which do not depend on what else the machine does.
        peak_mib: The most memory that the worker has had until then.
    """

    verdict: str = ""
    error: str = ""
    cpu_s: float = 0.0
    peak_mib: int = 0
    said: tuple[str, ...] = ()


class Worker:
    """The other side: starts the worker, and again when it died or hung."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def scan(self, name: str, data: bytes, *, timeout_s: float) -> Answer:
        """What the scan says about a file."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"name": name, "size": len(data)}).encode() + b"\n" + data)
        process.stdin.flush()
        ready, _, _ = select([process.stdout], [], [], timeout_s)
        line = process.stdout.readline() if ready else b""
        if not line:
            self.stop()
            return Answer(error="the scanning process died" if ready else f"not done after {timeout_s} s")
        return Answer(**json.loads(line))

    def stop(self) -> None:
        """End the worker."""
        if self._process:
            self._process.kill()
            self._process.communicate()
        self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(VALIDATORS), "-m", "tests.support.scan_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=REPOSITORY,
            env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )


if __name__ == "__main__":
    real, sys.stdout = sys.stdout, sys.stderr
    serve(sys.stdin.buffer, real)
