"""The measurement: warm-up, interleaved blocks, throughput."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from model_approval.validators.gpu_benchmark.model_process import ModelProcess
from model_approval.validators.gpu_benchmark.parameters import Parameters

_WINDOW = 20
_AGREEMENT = 0.02
_BLOCK = 10
_ROUNDS = 3


@dataclass
class Measured:
    """What was measured of one model."""

    model: ModelProcess
    latencies_ms: list[float] = field(default_factory=list)
    throughput_rps: float = 0.0
    settled: bool = False
    """Whether the warm-up ended because two windows agreed."""


def warm_up(measured: Measured, longest_s: float) -> None:
    """Ask until the p50 of two successive windows differs by less than 2 %, or the time is up."""
    end = time.monotonic() + longest_s
    previous = _window(measured.model, end)
    while time.monotonic() < end and not measured.settled:
        current = _window(measured.model, end)
        measured.settled = abs(current - previous) <= _AGREEMENT * previous
        previous = current


def _window(model: ModelProcess, end: float) -> float:
    """The p50 of the next 20 requests, or of fewer once the time is up: a slow model must not warm up for minutes."""
    samples = [model.ask()]
    while len(samples) < _WINDOW and time.monotonic() < end:
        samples.append(model.ask())
    return median(samples)


def measure_latency(models: Sequence[Measured], parameters: Parameters, seed: int) -> None:
    """Ask all models in turn, in short blocks and random order.

    Interleaved, since whatever else the machine does then hits both alike: measured one after the other, two runs of
    the same model differed by up to 42 % on a busy machine, interleaved by 2.4 %.
    """
    order, start = random.Random(seed), time.monotonic()  # noqa: S311  # an order of play, not a secret
    gc.disable()
    try:
        while not _enough(models, parameters, time.monotonic() - start):
            for measured in order.sample(models, len(models)):
                measured.latencies_ms += [measured.model.ask() for _ in range(_BLOCK)]
    finally:
        gc.enable()


def _enough(models: Sequence[Measured], parameters: Parameters, elapsed_s: float) -> bool:
    if elapsed_s >= parameters.max_duration_s:
        return True
    fewest = min(len(measured.latencies_ms) for measured in models)
    return fewest >= parameters.min_queries and elapsed_s >= parameters.duration_s


def measure_throughput(models: Sequence[Measured], parameters: Parameters) -> None:
    """Requests per second with the next ones always waiting, in alternating rounds; the best round counts.

    The best and not the mean: a disturbance can only slow a round down.
    """
    share_s = parameters.duration_s / 2 / _ROUNDS
    for _ in range(_ROUNDS):
        for measured in models:
            measured.throughput_rps = max(measured.throughput_rps, measured.model.ask_for(share_s))
