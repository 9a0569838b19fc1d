"""The ratio to the champion on simulated machines: quiet, drifting, bursty, shared; hundreds of runs, no real clock.

Latencies are what a two-core machine with neighbours was seen to give: a log-normal spread, a slow drift, minutes and
fractions of seconds in which everything takes one and a half to three times as long, single requests that wait for a
time slice. The measuring code is the real one; only the clock and the models are simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from model_approval.domain.evidence import Metric, Ratio, Verdict
from model_approval.policy.limits import judge_limit
from model_approval.policy.schema import MetricLimit
from model_approval.validators.gpu_benchmark.interleave import Comparison, Plan, block_size, compare
from model_approval.validators.gpu_benchmark.ratio import FEWEST_ROUNDS, ratio_interval

pytestmark = pytest.mark.unit

_PLAN = Plan(min_s=1.0, max_s=20.0, min_queries=200, precision=(0.02, 0.02), block=5)


@dataclass
class Machine:
    """A machine whose speed changes with time, on a grid of milliseconds."""

    seed: int
    spread: float = 0.05
    drift: float = 0.0
    busy_share: float = 0.0
    busy_ms: float = 100.0
    stalls: float = 0.0
    now_ms: float = 0.0
    generator: np.random.Generator = field(init=False)
    slowness: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)
        count = 40_000
        walk = np.cumsum(self.generator.normal(0, self.drift / np.sqrt(1000), count))
        self.slowness = np.exp(walk - walk.mean())
        if self.busy_share:
            quiet_ms = self.busy_ms * (1 - self.busy_share) / self.busy_share
            lengths = self.generator.exponential((quiet_ms, self.busy_ms), (count // 10, 2)).ravel() + 1
            factors = np.stack([np.ones(count // 10), self.generator.uniform(1.3, 3.0, count // 10)], axis=1).ravel()
            until = int(np.searchsorted(np.cumsum(lengths), count)) + 1
            self.slowness *= np.repeat(factors[:until], lengths[:until].astype(int) + 1)[:count]

    def clock(self) -> float:
        return self.now_ms / 1000

    def take(self, base_ms: float, count: int) -> np.ndarray:
        """Latencies of requests one after the other; time goes on by them."""
        speed = self.slowness[min(int(self.now_ms), len(self.slowness) - 1)]
        found: np.ndarray = base_ms * speed * np.exp(self.generator.normal(0, self.spread, count))
        found += self.generator.exponential(8.0, count) * (self.generator.random(count) < self.stalls)
        self.now_ms += float(found.sum())
        return found


@dataclass
class Model:
    """A simulated stream."""

    name: str
    machine: Machine
    base_ms: float

    def start(self, choice: float) -> None:
        self.block(1)

    def block(self, queries: int) -> list[float]:
        return [float(took) for took in self.machine.take(self.base_ms, queries)]

    def burst(self, queries: int) -> float:
        return 1000 * queries / float(self.machine.take(self.base_ms * 0.8, queries).sum())


MACHINES = {
    "quiet": {"spread": 0.03},
    "drifting": {"spread": 0.08, "drift": 0.1},
    "bursts of 30 ms": {"spread": 0.08, "busy_share": 0.3, "busy_ms": 30.0, "stalls": 0.01},
    "busy seconds": {"spread": 0.1, "drift": 0.05, "busy_share": 0.5, "busy_ms": 1500.0, "stalls": 0.02},
    "overloaded": {"spread": 0.2, "drift": 0.1, "busy_share": 0.5, "busy_ms": 60.0, "stalls": 0.03},
}


@cache
def run(machine: str, seed: int, ratio: float, base_ms: float = 1.0) -> Comparison:
    simulated = Machine(seed, **MACHINES[machine])
    candidate, champion = Model("candidate", simulated, base_ms * ratio), Model("champion", simulated, base_ms)
    return compare([candidate], [champion], _PLAN, seed, clock=simulated.clock)


def verdicts(machine: str, ratio: float, seeds: range) -> dict[str, int]:
    """How often 'no slower than 1.05 times the champion' passed, failed or could not tell, p50 and noise floor told."""
    limit = MetricLimit(metric="latency_p50", unit="ms", max_ratio_to_champion=1.05)
    counts = {verdict.value: 0 for verdict in (Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE)}
    for seed in seeds:
        noise = run(machine, seed + 1, 1.0).latency
        found = run(machine, seed, ratio).latency
        assert found is not None
        assert noise is not None
        ratio_found = Ratio(value=found.value, low=found.low, high=found.high, noise=noise.distance)
        metric = Metric(name="latency_p50", value=1, baseline=1, unit="ms", samples=1000, ratio=ratio_found)
        counts[judge_limit(limit, metric, has_champion=True).verdict.value] += 1
    return counts


@pytest.mark.parametrize("machine", MACHINES)
def test_a_model_passes_against_itself_in_95_of_100_runs(machine: str) -> None:
    assert verdicts(machine, 1.0, range(100))["passed"] >= 95


@pytest.mark.parametrize("machine", MACHINES)
def test_a_slowdown_of_15_percent_fails_in_95_of_100_runs(machine: str) -> None:
    assert verdicts(machine, 1.15, range(60))["failed"] >= 57


def test_about_95_of_100_intervals_hold_the_truth() -> None:
    held = 0
    for seed in range(150):
        for found in (run("bursts of 30 ms", seed, 1.05).latency, run("busy seconds", seed, 1.05).latency):
            assert found is not None
            held += found.low <= 1.05 <= found.high
    assert 0.91 * 300 <= held <= 0.985 * 300


def test_the_throughput_ratio_is_the_inverse_of_the_slowdown() -> None:
    found = run("bursts of 30 ms", 3, 1.25).throughput
    assert found is not None
    assert found.low <= 1 / 1.25 <= found.high


def test_measured_one_after_the_other_the_same_machine_raises_false_alarms() -> None:
    """Why it is interleaved: the same rounds, but all of one model first."""
    wrong = 0
    for seed in range(50):
        machine = Machine(seed, **MACHINES["busy seconds"])
        first = [np.median(machine.take(1.0, 10)) for _ in range(150)]
        second = [np.median(machine.take(1.0, 10)) for _ in range(150)]
        found = ratio_interval(list(zip(first, second, strict=True)), seed)
        assert found is not None
        wrong += not found.low <= 1 <= found.high
    assert wrong >= 20


def test_an_interval_too_wide_is_extended_until_it_is_narrow_enough_or_the_time_is_up() -> None:
    quiet, overloaded = run("quiet", 1, 1.0), run("overloaded", 1, 1.0)
    assert len(overloaded.rounds) > 1.5 * len(quiet.rounds)
    slow = run("overloaded", 1, 1.0, base_ms=60.0)
    assert not slow.is_settled(_PLAN.precision)


def test_with_few_rounds_there_is_no_interval() -> None:
    assert ratio_interval([(1.0, 1.0)] * (FEWEST_ROUNDS - 1), 0) is None
    assert ratio_interval([(2.0, 1.0)] * FEWEST_ROUNDS, 0) is not None


def test_the_same_rounds_and_seed_give_the_same_interval() -> None:
    pairs = [tuple(pair) for pair in np.random.default_rng(1).lognormal(0, 0.1, (50, 2)).tolist()]
    assert ratio_interval(pairs, 5) == ratio_interval(pairs, 5)
    assert ratio_interval(pairs, 5) != ratio_interval(pairs, 6)


@pytest.mark.parametrize(("p50_ms", "queries"), [(0.01, 50), (1.0, 5), (2.0, 2), (400.0, 2)])
def test_a_block_takes_about_five_milliseconds(p50_ms: float, queries: int) -> None:
    assert block_size(p50_ms) == queries
