"""How long a server takes from the start of its process to its first answer, and how much slower that answer is.

The artifact's files lie in the page cache by then, as they do on a node that has just downloaded them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Metric
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.launcher import Started
from model_approval.validators.gpu_benchmark.open_inference import Arrays
from model_approval.validators.gpu_benchmark.statistics import percentile_interval

_POLL_S = 0.002
_LOOK_S = 0.5
"""How often it is looked whether the server has ended before it was ready."""
_LATER = 20
"""Answers after the first whose median stands for a warm one."""


class Starts(Protocol):
    """Starts servers, one at a time."""

    def start(self) -> Started:
        """Start one."""
        ...

    def look(self) -> None:
        """Raises EvidenceError when it has ended by itself."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True)
class ColdStart:
    """One start, in milliseconds."""

    ready_ms: float
    """From the start of the process until it says that it is ready."""
    answered_ms: float
    """From the start of the process until its first answer is complete."""
    penalty_ms: float
    """The first answer's latency less that of a warm one."""


def measure_cold_starts(
    launcher: Starts,
    inputs: Arrays,
    starts: int,
    endpoint_at: Callable[[str], Endpoint] = Endpoint.at,
    longest_s: float = 600.0,
) -> tuple[Metric, ...]:
    """Start the server several times.

    Returns:
        `cold_start`, `cold_start_ready` and `first_inference_penalty`, medians in ms.

    Raises:
        EvidenceError: A server is not ready in time, or fails.
    """
    measured = []
    for _ in range(starts):
        started = launcher.start()
        with closing(endpoint_at(started.socket)) as endpoint:
            _wait_ready(endpoint, launcher, started, longest_s)
            measured.append(_measure(endpoint, started, inputs))
        launcher.stop()
    return (
        _metric("cold_start", [one.answered_ms for one in measured]),
        _metric("cold_start_ready", [one.ready_ms for one in measured]),
        _metric("first_inference_penalty", [one.penalty_ms for one in measured]),
    )


def _wait_ready(endpoint: Endpoint, launcher: Starts, started: Started, longest_s: float) -> None:
    looked_s = started.at_s
    while not (os.path.exists(started.socket) and endpoint.ready()):
        now_s = time.perf_counter()
        if now_s - started.at_s > longest_s:
            raise EvidenceError(f"cold start: the server was not ready within {longest_s:g} s")
        if now_s - looked_s > _LOOK_S:
            launcher.look()
            looked_s = now_s
        time.sleep(_POLL_S)


def _measure(endpoint: Endpoint, started: Started, inputs: Arrays) -> ColdStart:
    ready_s = time.perf_counter() - started.at_s
    prepared = endpoint.prepare(inputs)
    first_ms = endpoint.time(prepared) / 1e6
    answered_s = time.perf_counter() - started.at_s
    warm_ms = median(endpoint.time(prepared) / 1e6 for _ in range(_LATER))
    return ColdStart(ready_s * 1e3, answered_s * 1e3, first_ms - warm_ms)


def _metric(name: str, values: list[float]) -> Metric:
    low, high = percentile_interval(sorted(values), 0.5)
    return Metric(name=name, value=median(values), unit="ms", low=low, high=high, samples=len(values))
