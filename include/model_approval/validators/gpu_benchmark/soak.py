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
_REQUESTS_A_CONNECTION = 100
"""Then a new one is made: what a server keeps of each connection would not show on a single one."""


@dataclass(frozen=True)
class Sample:
    """The server at one moment."""

    at_s: float
    requests: int
    memory_bytes: int
    gpu_bytes: int | None = 0
    """Memory in use on the GPU, by whomever; None: NVML does not tell."""


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
    *,
    gpu_bytes: Callable[[], int | None] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Soak:
    """Ask without a pause for the wanted time, and look at the server's memory in between.

    Args:
        endpoint: The server.
        inputs: Requests, asked in turn.
        memory_bytes: The server's resident memory now.
        wanted: How long.
        gpu_bytes: Memory in use on the GPU now, where there is one; the champion's server is idle meanwhile.
        clock: Seconds.

    Raises:
        EvidenceError: The server fails on the way.
    """
    requests = cycle([endpoint.prepare(one) for one in inputs])
    start, count, samples = clock(), 0, list[Sample]()
    while (now := clock() - start) < wanted.duration_s:
        if now >= len(samples) * wanted.duration_s / _SAMPLES:
            samples.append(Sample(now, count, memory_bytes(), gpu_bytes() if gpu_bytes else 0))
        endpoint.infer(next(requests))
        count += 1
        if count % _REQUESTS_A_CONNECTION == 0:
            endpoint.close()
    return growth(samples)


def growth(samples: Sequence[Sample]) -> Soak:
    """The trend of the memory after the transient, or why none can be told."""
    if samples and not any(sample.memory_bytes for sample in samples):
        return Soak(limitations=("memory growth was not measured: the server's process cannot be seen",))
    lasted = samples[-1].at_s if samples else 0.0
    settled = [sample for sample in samples if sample.at_s >= _TRANSIENT * lasted]
    if len(settled) < _FEWEST or lasted < _SHORTEST_S or settled[-1].requests < settled[0].requests + 2:
        reason = f"the soak of {lasted:.3g} s and {len(settled)} samples after its start is too short to tell"
        wish = f"memory growth: {reason}; it takes {_SHORTEST_S:g} s and {_FEWEST} samples (parameter `soak`)"
        return Soak(limitations=(wish,))
    host = [sample.memory_bytes for sample in settled]
    minutes = [sample.at_s / 60 for sample in settled]
    thousands = [sample.requests / 1000 for sample in settled]
    metrics = [
        _trend("memory_growth", "MiB/min", minutes, host),
        _trend("memory_growth_by_request", "MiB/1000 requests", thousands, host),
    ]
    gpu = [sample.gpu_bytes for sample in settled if sample.gpu_bytes is not None]
    if len(gpu) < len(settled):
        silent = len(settled) - len(gpu)
        reason = f"in {silent} of {len(settled)} looks NVML did not tell the GPU's memory in use"
        return Soak(tuple(metrics), (f"the growth of the GPU's memory was not measured: {reason}",))
    if any(gpu):
        metrics.append(_trend("gpu_memory_growth", "MiB/min", minutes, gpu))
    return Soak(tuple(metrics))


def _trend(name: str, unit: str, along: Sequence[float], memory_bytes: Sequence[int]) -> Metric:
    import numpy as np

    # Of a model that takes seconds, several samples may fall on one request: the first counts.
    x, first = np.unique(np.array(along), return_index=True)
    slope = theil_sen(x, np.array(memory_bytes)[first] / 1024**2)
    return Metric(name=name, value=slope.value, unit=unit, low=slope.low, high=slope.high, samples=len(x))
