"""Two models asked in turn, in short blocks and random order, until the ratio between them is known well enough.

Interleaved, since whatever else the machine does then hits both alike: measured one after the other, two runs of the
same model differed by up to 42 % on a busy machine, interleaved by 2.4 %.

Each model may have several processes: the rounds go over all pairs of a process of one model with one of the other.
Nobody is asked beside the two of a round, and a server that is not asked sleeps.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from model_approval.validators.gpu_benchmark.ratio import FEWEST_ROUNDS, Estimate, ratio_interval

_BLOCK_MS = 5.0
_FEWEST, _MOST = 2, 50
_FEWEST_IN_BURST = 4
_DRAWS_TO_LOOK, _DRAWS = 200, 1000
_NEXT_LOOK = 1.25
"""The interval is looked at again after a quarter more rounds: looking at every round would stop at lucky moments."""
_LITTLE_TO_GAIN = 1.1
"""Once the processes' part makes up so much of an interval, more rounds would narrow it by a tenth at most."""
_ROUNDS_SHARE = 0.7
"""Most of the wanted half width that the rounds may take of several processes: their spread must be seen beyond it."""


class Asked(Protocol):
    """One stream of requests to a model."""

    name: str

    def start(self, choice: float) -> None:
        """Ask once without counting, since caches hold the other model; `choice` (0 up to 1) decides the processor."""
        ...

    def block(self, queries: int) -> list[float]:
        """Ask one after the other; milliseconds each."""
        ...

    def burst(self, queries: int) -> float:
        """Ask with the next ones always waiting; requests per second."""
        ...


@dataclass(frozen=True)
class Plan:
    """How long to go on.

    Attributes:
        min_s, max_s: Time, at least and at most.
        min_queries: Requests to each stream, at least.
        precision: Wanted half width of the 95 % intervals of the p50 ratio and of the throughput ratio, as fractions:
            0.02 is two percent either way.
        block: Requests to a stream in a row.
    """

    min_s: float
    max_s: float
    min_queries: int
    precision: tuple[float, float]
    block: int


@dataclass(frozen=True)
class Block:
    """One stream's part in a round."""

    latencies_ms: list[float]
    rate: float
    """Requests per second of its burst."""


@dataclass
class Comparison:
    """The rounds of two models; `first` is divided by `second`."""

    first: str
    second: str
    seed: int
    rounds: list[tuple[Block, Block]] = field(default_factory=list)
    processes: list[tuple[int, int]] = field(default_factory=list)
    """Which process of either model each round asked, from 0."""
    latency: Estimate | None = None
    throughput: Estimate | None = None

    def estimate(self, draws: int) -> None:
        """Compute both ratios from the rounds so far."""
        processes = self.processes or None
        medians = [(median(one.latencies_ms), median(two.latencies_ms)) for one, two in self.rounds]
        self.latency = ratio_interval(medians, self.seed, draws=draws, processes=processes)
        rates = [(one.rate, two.rate) for one, two in self.rounds]
        self.throughput = ratio_interval(rates, self.seed + 1, draws=draws, processes=processes)

    def is_settled(self, precision: tuple[float, float]) -> bool:
        """Whether both intervals are narrow enough, or as narrow as these processes allow."""
        found = zip((self.latency, self.throughput), precision, strict=True)
        return all(one is not None and _is_narrow(one, wanted) for one, wanted in found)

    @property
    def queries(self) -> int:
        """Timed requests to each stream."""
        return len(self.rounds) * len(self.rounds[0][0].latencies_ms) if self.rounds else 0


def _is_narrow(found: Estimate, wanted: float) -> bool:
    by_rounds = math.sqrt(max(0.0, found.half_width**2 - found.process_reach**2))
    if found.process_spread is not None and by_rounds > _ROUNDS_SHARE * wanted:
        return False
    return found.half_width <= max(wanted, _LITTLE_TO_GAIN * found.process_reach)


def block_size(p50_ms: float) -> int:
    """Requests in a row: about five milliseconds, since what disturbs a machine mostly lasts longer."""
    return max(_FEWEST, min(_MOST, round(_BLOCK_MS / max(p50_ms, 1e-3))))


def compare(
    first: Sequence[Asked],
    second: Sequence[Asked],
    plan: Plan,
    seed: int,
    *,
    clock: Callable[[], float] = time.monotonic,
    tell: Callable[[int, int], None] = lambda done, wanted: None,
) -> Comparison:
    """Ask both in turn until the plan is fulfilled.

    Args:
        first: What is compared, the candidate: its processes, at least one.
        second: What it is compared with, the champion's processes (or more of the champion's, for the noise floor).
        plan: How long.
        seed: Decides the order within rounds, and the bootstrap.
        clock: Seconds.
        tell: Called after each round with the requests done and wanted.
    """
    order, start = random.Random(seed), clock()  # noqa: S311  # an order of play, not a secret
    found, look = Comparison(first[0].name, second[0].name, seed), _fewest_rounds(first, second)
    pairs = _all_pairs(len(first), len(second), order)
    while (elapsed := clock() - start) < plan.max_s:
        enough = elapsed >= plan.min_s and found.queries >= plan.min_queries
        if enough and len(found.rounds) >= look:
            found.estimate(_DRAWS_TO_LOOK)
            if found.is_settled(plan.precision):
                break
            look = int(len(found.rounds) * _NEXT_LOOK) + 1
        one, two = next(pairs)
        found.rounds.append(_round(first[one], second[two], plan.block, order))
        found.processes.append((one, two))
        tell(found.queries, plan.min_queries)
    found.estimate(_DRAWS)
    return found


def _fewest_rounds(first: Sequence[Asked], second: Sequence[Asked]) -> int:
    """Each process at least four times."""
    return max(FEWEST_ROUNDS, 4 * max(len(first), len(second)))


def _all_pairs(first: int, second: int, order: random.Random) -> Iterator[tuple[int, int]]:
    """Every pair of processes once, in random order and every process early, and again without end."""
    while True:
        for shift in order.sample(range(second), second):
            for one in order.sample(range(first), first):
                yield one, (one + shift) % second


def _round(first: Asked, second: Asked, block: int, order: random.Random) -> tuple[Block, Block]:
    """Blocks beside blocks and bursts beside bursts: the shorter the time between the two, the more they have alike."""
    streams = (first, second)
    latencies, rates = [[0.0], [0.0]], [0.0, 0.0]
    place = order.random()
    for number in order.sample((0, 1), 2):
        streams[number].start(place)
        latencies[number] = streams[number].block(block)
    for number in order.sample((0, 1), 2):
        streams[number].start(place)
        rates[number] = streams[number].burst(max(_FEWEST_IN_BURST, block))
    return Block(latencies[0], rates[0]), Block(latencies[1], rates[1])
