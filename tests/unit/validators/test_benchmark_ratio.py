"""The ratio to the champion on simulated machines: quiet, drifting, bursty, shared; hundreds of runs, no real clock.

Latencies are what a two-core machine with neighbours was seen to give: a log-normal spread, a slow drift, minutes and
fractions of seconds in which everything takes one and a half to three times as long, single requests that wait for a
time slice. On top of that every process has a speed of its own, for its whole life. The measuring code is the real one;
only the clock and the models are simulated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest

from model_approval.domain.evidence import Metric, Ratio, Verdict
from model_approval.policy.limits import judge_limit
from model_approval.policy.schema import MetricLimit
from model_approval.validators.gpu_benchmark.interleave import Comparison, Plan, block_size, compare
from model_approval.validators.gpu_benchmark.measure import noise_scale
from model_approval.validators.gpu_benchmark.ratio import FEWEST_ROUNDS, ratio_interval, student_t95

pytestmark = pytest.mark.unit

_PLAN = Plan(min_s=1.0, max_s=20.0, min_queries=200, precision=(0.02, 0.02), block=5)
_FLOOR = Plan(min_s=0.5, max_s=10.0, min_queries=0, precision=(0.028, 0.028), block=5)
_SEEN = 0.01
"""Standard deviation between processes."""
_POOL = np.random.default_rng(2026)
_NORMAL, _UNIFORM = _POOL.standard_normal(200_000), _POOL.random(200_000)
_STALLED_MS = _POOL.exponential(8.0, 200_000)
"""Drawn once for all machines, each of which begins elsewhere in them: most of the time would go into drawing."""


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
    slowness: list[float] = field(init=False)
    requests: np.ndarray = field(init=False)
    delays: np.ndarray = field(init=False)
    asked: int = 0

    def __post_init__(self) -> None:
        self.generator = np.random.default_rng(self.seed)
        count = 40_000
        walk = np.cumsum(self.generator.normal(0, self.drift / np.sqrt(1000), count))
        slowness = np.exp(walk - walk.mean())
        if self.busy_share:
            quiet_ms = self.busy_ms * (1 - self.busy_share) / self.busy_share
            lengths = self.generator.exponential((quiet_ms, self.busy_ms), (count // 10, 2)).ravel() + 1
            factors = np.stack([np.ones(count // 10), self.generator.uniform(1.3, 3.0, count // 10)], axis=1).ravel()
            until = int(np.searchsorted(np.cumsum(lengths), count)) + 1
            slowness *= np.repeat(factors[:until], lengths[:until].astype(int) + 1)[:count]
        self.slowness = slowness.tolist()
        begin = int(self.generator.integers(0, 150_000))
        part = slice(begin, begin + 50_000)
        self.requests = np.exp(self.spread * _NORMAL[part])
        self.delays = _STALLED_MS[part] * (_UNIFORM[part] < self.stalls)

    def clock(self) -> float:
        return self.now_ms / 1000

    def take(self, base_ms: float, count: int) -> list[float]:
        """Latencies of requests one after the other; time goes on by them."""
        speed = self.slowness[min(int(self.now_ms), len(self.slowness) - 1)]
        begin = self.asked % (len(self.requests) - 50)
        part = slice(begin, begin + count)
        found: list[float] = (base_ms * speed * self.requests[part] + self.delays[part]).tolist()
        self.asked, self.now_ms = begin + count, self.now_ms + sum(found)
        return found


@dataclass
class Model:
    """A simulated stream to one process."""

    name: str
    machine: Machine
    base_ms: float

    def start(self, choice: float) -> None:
        self.block(1)

    def block(self, queries: int) -> list[float]:
        return self.machine.take(self.base_ms, queries)

    def burst(self, queries: int) -> float:
        return 1000 * queries / sum(self.machine.take(self.base_ms * 0.8, queries))


MACHINES: dict[str, dict[str, float]] = {
    "quiet": {"spread": 0.03},
    "drifting": {"spread": 0.08, "drift": 0.1},
    "bursts of 30 ms": {"spread": 0.08, "busy_share": 0.3, "busy_ms": 30.0, "stalls": 0.01},
    "busy seconds": {"spread": 0.1, "drift": 0.05, "busy_share": 0.5, "busy_ms": 1500.0, "stalls": 0.02},
    "overloaded": {"spread": 0.2, "drift": 0.1, "busy_share": 0.5, "busy_ms": 60.0, "stalls": 0.03},
}


def a_machine(name: str, seed: int) -> Machine:
    return Machine(seed, **MACHINES[name])  # type: ignore[arg-type]  # its numbers are all floating


@dataclass(frozen=True)
class Case:
    """One run: the machine, how much slower the candidate is, and the processes of each model."""

    machine: str
    seed: int
    ratio: float = 1.0
    processes: int = 6
    apart: float = _SEEN
    base_ms: float = 1.0


def processes_of(case: Case, machine: Machine) -> tuple[list[Model], list[Model]]:
    """Each with a speed of its own."""
    lives = np.exp(np.random.default_rng(case.seed + 10**6).normal(0, case.apart, (2, case.processes)))
    speeds = lives * np.array([[case.base_ms * case.ratio], [case.base_ms]])
    candidates, champions = ([Model("a model", machine, float(speed)) for speed in side] for side in speeds)
    return candidates, champions


@cache
def run(case: Case) -> Comparison:
    """Candidate and champion in turn."""
    machine = a_machine(case.machine, case.seed)
    return compare(*processes_of(case, machine), _PLAN, case.seed, clock=machine.clock)


@cache
def noise_of(case: Case) -> float:
    """The champion against itself, as `measure` does it."""
    machine = a_machine(case.machine, case.seed + 5000)
    champions, half = processes_of(case, machine)[1], case.processes // 2
    found = compare(champions[:half] or champions, champions[half:], _FLOOR, case.seed, clock=machine.clock).latency
    assert found is not None
    return found.distance * noise_scale(case.processes, case.processes)


def verdicts(case: Case, seeds: int) -> Counter[Verdict]:
    """How often 'no slower than 1.05 times the champion' passed, failed or could not tell, with its noise floor."""
    limit = MetricLimit(metric="latency_p50", unit="ms", max_ratio_to_champion=1.05)
    counts: Counter[Verdict] = Counter()
    for seed in range(seeds):
        one = replace(case, seed=seed)
        found = run(one).latency
        assert found is not None
        ratio = Ratio(value=found.value, low=found.low, high=found.high, noise=noise_of(replace(one, ratio=1.0)))
        metric = Metric(name="latency_p50", value=1, baseline=1, unit="ms", samples=1000, ratio=ratio)
        counts[judge_limit(limit, metric, has_champion=True).verdict] += 1
    return counts


@pytest.mark.parametrize("machine", MACHINES)
def test_a_model_passes_against_itself_in_95_of_100_runs(machine: str) -> None:
    assert verdicts(Case(machine, 0), 40)[Verdict.PASSED] >= 38


@pytest.mark.parametrize("machine", MACHINES)
def test_a_slowdown_of_15_percent_fails_in_95_of_100_runs(machine: str) -> None:
    assert verdicts(Case(machine, 0, ratio=1.15), 20)[Verdict.FAILED] >= 19


@pytest.mark.parametrize("apart", [0.03, 0.05])
def test_processes_too_far_apart_give_no_verdict_rather_than_a_wrong_one(apart: float) -> None:
    itself = verdicts(Case("bursts of 30 ms", 0, apart=apart), 40)
    slower = verdicts(Case("bursts of 30 ms", 0, ratio=1.15, apart=apart), 40)
    assert itself[Verdict.FAILED] <= 1
    assert slower[Verdict.PASSED] <= 1
    assert itself[Verdict.INCONCLUSIVE] > 5


def test_more_processes_tell_even_where_they_lie_far_apart() -> None:
    far = Case("bursts of 30 ms", 0, processes=24, apart=0.04)
    assert verdicts(far, 10)[Verdict.PASSED] >= 9
    assert verdicts(replace(far, ratio=1.15), 10)[Verdict.FAILED] >= 9


def test_with_one_process_each_a_model_is_wrongly_held_to_be_slower_than_itself() -> None:
    """Why there are several: neither the interval nor the noise floor shows what sets two processes apart."""
    assert verdicts(Case("quiet", 0, processes=1, apart=0.05), 40)[Verdict.FAILED] >= 4


@pytest.mark.parametrize(
    "case", [Case("bursts of 30 ms", 0), Case("busy seconds", 0), Case("bursts of 30 ms", 0, apart=0.05)]
)
def test_about_95_of_100_intervals_hold_the_truth(case: Case) -> None:
    held = 0
    for seed in range(40):
        found = run(replace(case, seed=seed)).latency
        assert found is not None
        held += found.low <= 1 <= found.high
    assert held >= 36


def test_the_spread_between_processes_is_told() -> None:
    spreads = [run(Case("quiet", seed, apart=0.04)).latency for seed in range(12)]
    found = [one.process_spread for one in spreads if one and one.process_spread is not None]
    assert len(found) == 12
    assert 0.03 < float(np.sqrt(np.mean(np.square(found)))) < 0.05


def test_every_pair_of_processes_is_asked_and_none_much_more_often() -> None:
    found = run(Case("busy seconds", 1))
    asked = Counter(found.processes)
    assert len(asked) == 36
    assert max(asked.values()) - min(asked.values()) <= 1
    assert len(found.processes) == len(found.rounds)


def test_asking_goes_on_no_longer_than_it_narrows_the_interval() -> None:
    far, near = run(Case("quiet", 2, apart=0.05)), run(Case("quiet", 2, apart=0.0))
    assert far.latency is not None
    assert far.latency.half_width > 0.02
    assert len(far.rounds) <= 2 * len(near.rounds)


def test_the_throughput_ratio_is_the_inverse_of_the_slowdown() -> None:
    found = run(Case("bursts of 30 ms", 3, ratio=1.25)).throughput
    assert found is not None
    assert found.low <= 1 / 1.25 <= found.high


def test_measured_one_after_the_other_the_same_machine_raises_false_alarms() -> None:
    """Why it is interleaved: the same rounds, but all of one model first."""
    wrong = 0
    for seed in range(50):
        machine = a_machine("busy seconds", seed)
        first = [float(np.median(machine.take(1.0, 10))) for _ in range(150)]
        second = [float(np.median(machine.take(1.0, 10))) for _ in range(150)]
        found = ratio_interval(list(zip(first, second, strict=True)), seed)
        assert found is not None
        wrong += not found.low <= 1 <= found.high
    assert wrong >= 20


def test_an_interval_too_wide_is_extended_until_it_is_narrow_enough_or_the_time_is_up() -> None:
    quiet, overloaded = run(Case("quiet", 1, processes=1)), run(Case("overloaded", 1, processes=1))
    assert len(overloaded.rounds) > 1.5 * len(quiet.rounds)
    slow = run(Case("overloaded", 1, processes=1, base_ms=60.0))
    assert not slow.is_settled(_PLAN.precision)


def test_with_few_rounds_there_is_no_interval() -> None:
    assert ratio_interval([(1.0, 1.0)] * (FEWEST_ROUNDS - 1), 0) is None
    assert ratio_interval([(2.0, 1.0)] * FEWEST_ROUNDS, 0) is not None


def test_with_a_process_that_was_asked_once_there_is_no_interval() -> None:
    pairs = [(1.0, 1.0)] * FEWEST_ROUNDS
    asked = [(number % 2, 0) for number in range(FEWEST_ROUNDS)]
    assert ratio_interval(pairs, 0, processes=asked) is not None
    assert ratio_interval(pairs, 0, processes=[*asked[:-1], (2, 0)]) is None


def test_the_same_rounds_and_seed_give_the_same_interval() -> None:
    pairs = [(pair[0], pair[1]) for pair in np.random.default_rng(1).lognormal(0, 0.1, (50, 2)).tolist()]
    assert ratio_interval(pairs, 5) == ratio_interval(pairs, 5)
    assert ratio_interval(pairs, 5) != ratio_interval(pairs, 6)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (10, 2.228), (46, 2.013)]
)
def test_students_t_is_as_in_the_tables(degrees: int, quantile: float) -> None:
    assert student_t95(degrees) == pytest.approx(quantile, rel=1e-3)


@pytest.mark.parametrize(("p50_ms", "queries"), [(0.01, 50), (1.0, 5), (2.0, 2), (400.0, 2)])
def test_a_block_takes_about_five_milliseconds(p50_ms: float, queries: int) -> None:
    assert block_size(p50_ms) == queries
