"""The process that runs one model. It knows no clock that counts: it answers requests, the other side measures.

Started before the validator is confined, it confines itself before it reads a byte of the model. It reads commands on
one pipe and answers on another: set-up commands are lines of JSON, requests are single bytes, so that the harness costs
microseconds.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_approval.domain.base import Record
from model_approval.domain.errors import EvidenceError
from model_approval.validators.confinement import Reach, confine
from model_approval.validators.contract import Bounds, parse_record, plain_line
from model_approval.validators.onnx_session import (
    OpenModel,
    concrete_shape,
    find_model,
    import_runtime,
    made_up_input,
    open_model,
)

RUN, NOTHING, MEMORY = b"r", b"n", b"m"
DONE, FAILED = b".", b"!"
_INPUTS = 8
"""Different inputs, asked in turn: one alone would live in the processor's cache."""


class LockOrder(Record):
    """First line: how to lock itself in."""

    artifact: str
    scratch: str
    memory_bytes: int
    cpu_s: int


class Locked(Record):
    """The answer, once the runtime is imported too: what is in force."""

    runtime: str
    confinement: dict[str, str]


class LoadOrder(Record):
    """Second line: what to load."""

    artifact: str
    model: str | None
    threads: int
    batch_size: int
    dimensions: dict[str, int]
    seed: int


class Loaded(Record):
    """The answer: what was loaded, or why not."""

    error: str = ""
    device: str = "none"
    inputs: str = ""


class MemoryUse(Record):
    """Answer to `MEMORY`."""

    peak_bytes: int


@dataclass
class _Worker:
    commands: int
    answers: int
    model: OpenModel | None = None
    feeds: list[dict[str, Any]] = field(default_factory=list)

    def serve(self) -> None:
        self._say(_lock(parse_record(LockOrder, self._line(), what="lock order")))
        self._say(self._load(parse_record(LoadOrder, self._line(), what="load order")))
        turn = 0
        while command := os.read(self.commands, 1):
            if command == RUN:
                self._answer(turn)
                turn += 1
            elif command == NOTHING:
                os.write(self.answers, DONE)
            elif command == MEMORY:
                peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                self._say(MemoryUse(peak_bytes=peak_kib * 1024))

    def _load(self, order: LoadOrder) -> Loaded:
        try:
            self.model = open_model(find_model(Path(order.artifact), order.model), threads=order.threads)
            import numpy as np

            generator = np.random.default_rng(order.seed)
            shapes = {
                spec.name: concrete_shape(spec, batch_size=order.batch_size, dimensions=order.dimensions)
                for spec in self.model.inputs
            }
            for _ in range(_INPUTS):
                self.feeds.append({s.name: made_up_input(s, shapes[s.name], generator) for s in self.model.inputs})
            self.model.session.run(None, self.feeds[0])
        except EvidenceError as err:
            return Loaded(error=plain_line(str(err)))
        except Exception as err:  # noqa: BLE001  # onnxruntime's errors share no base class
            return Loaded(error=plain_line(f"the model fails on an input made up by its signature: {err}"))
        return Loaded(
            device=self.model.device,
            inputs=", ".join(f"{spec.name}: {spec.dtype}{list(shapes[spec.name])}" for spec in self.model.inputs),
        )

    def _answer(self, turn: int) -> None:
        assert self.model is not None
        try:
            self.model.session.run(None, self.feeds[turn % len(self.feeds)])
        except Exception as err:  # noqa: BLE001  # onnxruntime's errors share no base class
            os.write(self.answers, FAILED + plain_line(str(err)).encode() + b"\n")
        else:
            os.write(self.answers, DONE)

    def _say(self, record: Record) -> None:
        os.write(self.answers, record.model_dump_json().encode() + b"\n")

    def _line(self) -> bytes:
        line = bytearray()
        while (byte := os.read(self.commands, 1)) and byte != b"\n":
            line += byte
        return bytes(line)


def _lock(order: LockOrder) -> Locked:
    bounds = Bounds(memory_bytes=order.memory_bytes, file_bytes=64 * 1024**2, unix_sockets=True)
    reach = Reach(readable=(Path(order.artifact),), writable=(Path(order.scratch),))
    confinement = confine(bounds, reach, cpu_s=order.cpu_s)
    return Locked(runtime=f"onnxruntime {import_runtime().__version__}", confinement=confinement)


def main(argv: list[str] | None = None) -> int:
    """Serve until the other side closes its pipe."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.gpu_benchmark.worker", description=__doc__)
    parser.add_argument("--commands-fd", type=int, required=True)
    parser.add_argument("--answers-fd", type=int, required=True)
    given = parser.parse_args(argv)
    _Worker(given.commands_fd, given.answers_fd).serve()
    return 0


if __name__ == "__main__":
    sys.exit(main())
