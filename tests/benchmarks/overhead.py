"""What a measured request costs beyond the bare runtime; run by `bench_benchmark.py` with the validators' interpreter.

One process holds the model in onnxruntime itself, asks it directly, and in turn the same model in our server: over the
endpoint alone, and through LoadGen. Prints one JSON object.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import numpy as np

from model_approval.validators.gpu_benchmark.loadgen import Scenario, Settings, run
from model_approval.validators.gpu_benchmark.measure import harness_overhead_ms
from model_approval.validators.gpu_benchmark.placement import Placement
from model_approval.validators.gpu_benchmark.server_process import ServerProcess
from model_approval.validators.gpu_benchmark.stream import Stream
from model_approval.validators.onnx_session import open_model

_ROUNDS, _BLOCK = 300, 5


def measure(model: Path, shape: tuple[int, int], scratch: Path) -> dict[str, float]:
    """Milliseconds: bare runtime, endpoint, between LoadGen's queries; and the ratio of the first two."""
    session = open_model(model, threads=1).session
    inputs = [{"x": np.random.default_rng(n).standard_normal(shape).astype(np.float32)} for n in range(8)]
    server = ServerProcess.start("candidate", model, scratch / "candidate", ["--threads", "1", "--cpu"])
    with closing(server):
        server.wait_ready(60)
        endpoint = server.endpoint()
        prepared = [endpoint.prepare(one) for one in inputs]
        stream = Stream("candidate", endpoint, prepared, in_flight=2, placement=Placement(server.tasks_fd))
        bare, asked = _in_turn(lambda: _bare(session, inputs), stream)
        settings = Settings(Scenario.SINGLE_STREAM, 2.0, 20.0, 700, 1, expected_ms=median(asked))
        result = run(stream, settings, scratch / "loadgen")
        overhead = harness_overhead_ms(stream)
        stream.close()
    # The lower decile: on a busy machine whoever sleeps between requests waits for its turn, the bare loop does not.
    one, two = float(np.percentile(bare, 10)), float(np.percentile(asked, 10))
    found = {"bare_ms": one, "asked_ms": two, "ratio": two / one, "no_model_ms": overhead}
    per_query = 1e3 / (result.number("result_qps_with_loadgen_overhead") or float("nan"))
    between = per_query - 1e3 / (result.number("result_qps_without_loadgen_overhead") or float("nan"))
    return {**found, "loadgen_between_queries_ms": between, "loadgen_valid": float(result.valid)}


def _bare(session: object, inputs: list[dict[str, np.ndarray]]) -> list[float]:
    times = []
    for one in inputs[:_BLOCK]:
        start = time.perf_counter_ns()
        session.run(None, one)  # type: ignore[attr-defined]  # onnxruntime ships no types
        times.append((time.perf_counter_ns() - start) / 1e6)
    return times


def _in_turn(bare: Callable[[], list[float]], stream: Stream) -> tuple[list[float], list[float]]:
    """Medians of blocks, both in random order, for the same reason as candidate and champion."""
    order = random.Random(1)  # an order of play
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(_ROUNDS):
        for which in order.sample((0, 1), 2):
            if which == 0:
                bare()
                found[0].append(median(bare()))
            else:
                stream.start(order.random())
                stream.block(_BLOCK)  # as many as of the bare runtime: its weights have to come back into the cache
                found[1].append(median(stream.block(_BLOCK)))
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(measure(Path(sys.argv[1]), (int(sys.argv[2]), int(sys.argv[3])), Path(folder))))
