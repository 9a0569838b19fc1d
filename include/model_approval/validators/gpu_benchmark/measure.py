"""The measurement, part by part: warm-up, the champion against itself, candidate and champion in turn, LoadGen."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from model_approval.validators import progress
from model_approval.validators.gpu_benchmark import loadgen
from model_approval.validators.gpu_benchmark.figures import Samples, samples_of
from model_approval.validators.gpu_benchmark.interleave import Comparison, Plan, block_size, compare
from model_approval.validators.gpu_benchmark.loadgen import Result, Scenario, Settings
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.stream import Stream
from model_approval.validators.gpu_benchmark.warm_up import WarmedUp, warm_up

_FEWEST_COMPARED = 200
_NULLS = 300
_FLOOR = 1.4
"""How much coarser the noise floor may be known than the ratio: only its size against the margin matters."""
_OFFLINE_SLACK = 1.5
"""Offline asks for as many samples as fill its time; of a model faster than its bursts told they would be too few."""


@dataclass
class Measured:
    """All that was measured."""

    candidate: Samples
    champion: Samples | None = None
    noise: Comparison | None = None
    """The champion against itself: one half of its processes against the other."""
    comparison: Comparison | None = None
    noise_scale: float = 1.0
    """From the distance of the champion's halves to what the comparison, with all processes, is to be held against."""
    warm_ups: dict[str, WarmedUp] = field(default_factory=dict)
    runs: list[Result] = field(default_factory=list)
    champion_runs: list[Result] = field(default_factory=list)

    @property
    def has_settled(self) -> bool:
        """Whether every warm-up ended because two windows agreed."""
        return all(one.settled for one in self.warm_ups.values())


def measure(
    candidates: Sequence[Stream], champions: Sequence[Stream], parameters: Parameters, seed: int, folder: Path
) -> Measured:
    """Measure the candidate, and the champion beside it.

    Args:
        candidates: The candidate's processes, at least one, each asked over its own connections. What is not compared
            is measured of the first alone.
        champions: The champion's; empty if there is none.
        parameters: How long and what.
        seed: Decides every random order.
        folder: For LoadGen's logs.

    Raises:
        EvidenceError: A model fails on a request.
    """
    candidate = candidates[0]
    with _undisturbed():
        warm_ups = _warm(candidates, parameters) | _warm(champions, parameters)
        p50_ms = max(one.p50_ms for one in warm_ups.values())
        if not champions:
            found = Measured(_alone(candidate, parameters, p50_ms), warm_ups=warm_ups)
        else:
            found = _side_by_side(candidates, champions, parameters, seed, p50_ms)
            found.warm_ups = warm_ups
        found.runs = _loadgen_runs(candidate, parameters, seed, found.candidate, folder)
        if found.champion is not None:
            only = parameters.model_copy(update={"scenarios": ("single_stream",), "server_target_qps": None})
            found.champion_runs = _loadgen_runs(champions[0], only, seed, found.champion, folder)
    if not champions:
        single = [result.latencies_ms for result in found.runs if result.latencies_ms]
        found.candidate.blocks_ms.extend(single)
    return found


@contextmanager
def _undisturbed() -> Iterator[None]:
    """No garbage collection while a clock runs."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _warm(streams: Sequence[Stream], parameters: Parameters) -> dict[str, WarmedUp]:
    """Detected with the first process; the others of the same model are asked as often."""
    if not streams:
        return {}
    progress.report(f"warming up the {streams[0].name}")
    found = warm_up(streams[0], parameters.warm_up_s)
    for stream in streams[1:]:
        stream.block(found.queries)
    return {streams[0].name: found}


def _alone(candidate: Stream, parameters: Parameters, p50_ms: float) -> Samples:
    """Blocks and bursts without anything to compare with."""
    block, start, found = block_size(p50_ms), time.monotonic(), Samples([], [])
    while (elapsed := time.monotonic() - start) < parameters.max_duration_s:
        enough = len(found.rates) * block >= _FEWEST_COMPARED and len(found.rates) >= 3
        if enough and elapsed >= parameters.duration_s / 2:
            break
        found.blocks_ms.append(candidate.block(block))
        found.rates.append(candidate.burst(max(4, block)))
    return found


def _side_by_side(
    candidates: Sequence[Stream], champions: Sequence[Stream], parameters: Parameters, seed: int, p50_ms: float
) -> Measured:
    """The noise floor first, then the comparison."""
    longest = parameters.max_duration_s
    block, precision = block_size(p50_ms), (parameters.precision("latency_p50"), parameters.precision("throughput"))
    coarse = (_FLOOR * precision[0], _FLOOR * precision[1])
    floor = Plan(parameters.duration_s / 2, longest / 2, 0, coarse, block)
    progress.report("the champion against itself")
    noise = _against_itself(champions, floor, seed)
    plan = Plan(parameters.duration_s, longest, _FEWEST_COMPARED, precision, block)
    progress.report("candidate and champion in turn")
    comparison = compare(candidates, champions, plan, seed + 1, tell=_tell("requests compared"))
    first, second = samples_of(comparison)
    return Measured(first, second, noise, comparison, noise_scale(len(candidates), len(champions)))


def noise_scale(candidates: int, champions: int) -> float:
    """How much less the means of all processes differ by chance than those of the champion's two halves.

    The variance of a difference of means of m and n processes goes with 1/m + 1/n.
    """
    if champions == 1:
        return 1.0
    half = champions // 2
    return math.sqrt((1 / candidates + 1 / champions) / (1 / half + 1 / (champions - half)))


def _against_itself(champions: Sequence[Stream], plan: Plan, seed: int) -> Comparison:
    """Half of its processes against the other half, so that what sets processes apart is in it.

    With one process it is two streams to that one.
    """
    if len(champions) > 1:
        half = len(champions) // 2
        return compare(champions[:half], champions[half:], plan, seed)
    again = champions[0].again("champion (again)")
    try:
        return compare(champions, [again], plan, seed)
    finally:
        again.close()


def _tell(what: str) -> Callable[[int, int], None]:
    return lambda done, wanted: progress.report(f"{done:,} of at least {wanted:,} {what}")


def _loadgen_runs(stream: Stream, parameters: Parameters, seed: int, samples: Samples, folder: Path) -> list[Result]:
    wanted = [Scenario(name) for name in parameters.scenarios]
    if parameters.server_target_qps is not None:
        wanted.append(Scenario.SERVER)
    runs = []
    for scenario in wanted:
        progress.report(f"LoadGen {scenario} of the {stream.name}")
        settings = _settings(scenario, parameters, seed, samples)
        runs.append(loadgen.run(stream, settings, folder / f"{stream.name}-{scenario}"))
    return runs


def _settings(scenario: Scenario, parameters: Parameters, seed: int, samples: Samples) -> Settings:
    rate = median(samples.rates)
    return Settings(
        scenario=scenario,
        min_s=parameters.duration_s / 2,
        max_s=parameters.max_duration_s,
        min_queries=1 if scenario is Scenario.OFFLINE else parameters.min_queries,
        seed=seed,
        expected_ms=median(samples.latencies_ms),
        expected_qps=parameters.server_target_qps or 1.0 if scenario is Scenario.SERVER else rate * _OFFLINE_SLACK,
        latency_bound_ms=parameters.server_latency_ms or 0.0,
        samples_per_query=parameters.samples_per_query,
    )


def harness_overhead_ms(stream: Stream) -> float:
    """What a request costs that runs no model: client, socket and the server's HTTP, median of some hundred."""
    request = stream.endpoint.render("GET", "/v2/health/live")
    times = []
    for _ in range(_NULLS):
        start = time.perf_counter_ns()
        stream.endpoint.exchange(request)
        times.append((time.perf_counter_ns() - start) / 1e6)
    return median(times)
