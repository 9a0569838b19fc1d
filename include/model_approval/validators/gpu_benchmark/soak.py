"""Whether the server's memory grows under steady load: a slope over a soak, start-up left out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle

from model_approval.domain.evidence import Metric
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import SoakParameters
from model_approval.validators.gpu_benchmark.intervals import theil_sen
from model_approval.validators.gpu_benchmark.open_inference import Arrays

_SAMPLES = 400
_TRANSIENT = 0.25
"""Leading part of the soak that does not count: pools and caches fill, then a sound server stays where it is."""
_FEWEST = 30
_SHORTEST_S = 10.0
"""In less, the first growth of an allocator looks like a leak of hundreds of MiB a minute."""


@dataclass(frozen=True)
class Sample:
    """The server at one moment."""

    at_s: float
    requests: int
    memory_bytes: int


@dataclass(frozen=True)
class Soak:
    """What the soak brought."""

    metrics: tuple[Metric, ...] = ()
    limitations: tuple[str, ...] = ()


def soak(
    endpoint: Endpoint,
    inputs: Sequence[Arrays],
    memory_bytes: Callable[[], int],
    wanted: SoakParameters,
    clock: Callable[[], float] = time.monotonic,
) -> Soak:
    """Ask without a pause for the wanted time, and look at the server's memory in between.

    Args:
        endpoint: The server.
        inputs: Requests, asked in turn.
        memory_bytes: The server's resident memory now.
        wanted: How long.
        clock: Seconds.

    Raises:
        EvidenceError: The server fails on the way.
    """
    requests = cycle([endpoint.prepare(one) for one in inputs])
    start, count, samples = clock(), 0, list[Sample]()
    while (now := clock() - start) < wanted.duration_s:
        if now >= len(samples) * wanted.duration_s / _SAMPLES:
            samples.append(Sample(now, count, memory_bytes()))
        endpoint.infer(next(requests))
        count += 1
    return growth(samples)


def growth(samples: Sequence[Sample]) -> Soak:
    """The trend of the memory after the transient, or why none can be told."""
    if samples and not any(sample.memory_bytes for sample in samples):
        return Soak(limitations=("memory growth was not measured: the server's process cannot be seen",))
    lasted = samples[-1].at_s if samples else 0.0
    settled = [sample for sample in samples if sample.at_s >= _TRANSIENT * lasted]
    if len(settled) < _FEWEST or lasted < _SHORTEST_S or settled[-1].requests == settled[0].requests:
        reason = f"the soak of {lasted:.3g} s and {len(settled)} samples after its start is too short to tell"
        wish = f"memory growth: {reason}; it takes {_SHORTEST_S:g} s and {_FEWEST} samples (parameter `soak`)"
        return Soak(limitations=(wish,))
    return Soak((_trend(settled, by_request=False), _trend(settled, by_request=True)))


def _trend(settled: Sequence[Sample], *, by_request: bool) -> Metric:
    import numpy as np

    memory = np.array([sample.memory_bytes for sample in settled]) / 1024**2
    if by_request:
        name, unit = "memory_growth_by_request", "MiB/1000 requests"
        x = np.array([sample.requests for sample in settled]) / 1000
        x, first = np.unique(x, return_index=True)  # a model of seconds: several samples may fall on one request
        memory = memory[first]
    else:
        name, unit = "memory_growth", "MiB/min"
        x = np.array([sample.at_s for sample in settled]) / 60
    slope = theil_sen(x, memory)
    return Metric(name=name, value=slope.value, unit=unit, low=slope.low, high=slope.high, samples=len(x))
