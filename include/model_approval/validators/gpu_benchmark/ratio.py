"""How much slower one model is than another, from interleaved rounds, with the uncertainty of that figure. Pure.

A round asks both models one after the other, so whatever else the machine does then is in both: each round gives one
ratio of two neighbours, and a drift or a busy minute cancels. The figure is the midmean of the rounds' logarithmic
ratios.

Its interval has two stages. Rounds: a block bootstrap with one round as block, drawn with replacement, always whole, so
that what is correlated within a round stays together; what a process adds to all of its rounds is taken off before.
Processes: two servers of one model differ for their whole lives (pages, caches), so each side has several, and

    S2    = variance of the processes' midmeans around their side's mean, pooled over both sides, df = m + n - 2
    tau2  = max(0, S2 - what the rounds' bootstrap gives for the variance of one process's midmean)
    reach = t(0.975, df) sqrt(tau2 (1/m + 1/n))

for m candidate and n champion processes; both stages' reaches are added in quadrature. A bootstrap over so few
processes would be too narrow by sqrt((m - 1) / m) and more, hence Student's t.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3 (percentile interval) and Kuensch
(1989), Annals of Statistics 17 (blocks); Tukey, Exploratory Data Analysis (1977): the midmean, the mean of the middle
half, which a quarter of disturbed rounds on either side does not move; Searle, Casella & McCulloch, Variance
Components (1992), section 3.5 (tau2, the analysis-of-variance estimator); Student (1908), Biometrika 6.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_approval.validators.gpu_benchmark.intervals import Z95

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEWEST_ROUNDS = 20
"""Below that a percentile bootstrap is too narrow: of 20 rounds it covers about 93 of 100 truths, of 10 about 88."""
_CELLS = 2_000_000
"""Figures held at once: 16 MB."""
_T95_OF_FEW = (12.7062, 4.30265, 3.18245, 2.77645)
"""Student's t at 97.5 % for one to four degrees of freedom, where the expansion below is off."""


@dataclass(frozen=True)
class Estimate:
    """A ratio and its 95 % interval."""

    value: float
    low: float
    high: float
    process_reach: float = 0.0
    """The processes' part of the half width; asking the same processes more often does not lessen it."""
    process_spread: float | None = None
    """How far processes of one model lie apart, as the standard deviation of their logarithms; None: one each."""

    @property
    def half_width(self) -> float:
        """Half of the interval's width, on the logarithmic scale: 0.02 is about two percent either way."""
        return (math.log(self.high) - math.log(self.low)) / 2

    @property
    def distance(self) -> float:
        """How far from 1."""
        return abs(self.value - 1)


def ratio_interval(
    pairs: Sequence[tuple[float, float]],
    seed: int,
    *,
    draws: int = 2000,
    processes: Sequence[tuple[int, int]] | None = None,
) -> Estimate | None:
    """Candidate divided by champion.

    Args:
        pairs: For each round the candidate's and the champion's figure (p50 of its block, or requests per second);
            all above zero.
        seed: The same pairs and seed give the same interval.
        draws: Bootstrap samples; 2000 hold the bounds to about a tenth of the interval's width.
        processes: For each round which process of either side was asked, from 0; None: one process each.

    Returns:
        None for fewer than `FEWEST_ROUNDS` rounds, or when a process was asked in fewer than two.
    """
    import numpy as np

    numbers = [] if processes is None else list(zip(*processes, strict=True))
    if len(pairs) < FEWEST_ROUNDS or any(min(Counter(side).values()) < 2 for side in numbers):
        return None
    figures = np.asarray(pairs, dtype=float)
    logs = np.log(figures[:, 0]) - np.log(figures[:, 1])
    value = float(_midmeans(logs[None, :])[0])
    sides = [_lives(logs, value, side) for side in numbers]
    within = logs - sum(lives[1] for lives in sides)
    drawn = _bootstrap(within, seed, draws)
    centre = float(_midmeans(within[None, :])[0])
    low, high = (float(bound) - centre for bound in np.percentile(drawn, [2.5, 97.5]))
    spread = _spread([lives[0] for lives in sides], float(drawn.var()))
    reach = 0.0
    if spread is not None:
        counts = [len(lives[0]) for lives in sides]
        reach = student_t95(sum(counts) - 2) * spread * math.sqrt(sum(1 / count for count in counts))
    below, above = math.hypot(min(low, 0.0), reach), math.hypot(max(high, 0.0), reach)
    return Estimate(math.exp(value), math.exp(value - below), math.exp(value + above), reach, spread)


def student_t95(degrees: int) -> float:
    """Student's t at 97.5 %, so that plus and minus hold 95 %.

    Source: Abramowitz & Stegun (1964), 26.7.5, within 0.1 % from five degrees of freedom on.
    """
    if degrees <= len(_T95_OF_FEW):
        return _T95_OF_FEW[degrees - 1]
    z: float = Z95
    terms: tuple[float, ...] = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + math.fsum(term / degrees**power for power, term in enumerate(terms, start=1))


def _lives(logs: NDArray[Any], value: float, numbers: Sequence[int]) -> tuple[list[float], NDArray[Any]]:
    """What each process of one side adds to its rounds: process by process, and round by round."""
    import numpy as np

    whose = np.asarray(numbers)
    added = [float(_midmeans(logs[None, whose == number])[0]) - value for number in range(int(whose.max()) + 1)]
    return added, np.asarray(added)[whose]


def _spread(sides: list[list[float]], variance: float) -> float | None:
    """The standard deviation tau between processes; None where each side has but one.

    Args:
        sides: What each process of either side adds.
        variance: Of the midmean of all rounds, by their bootstrap; one process has its share of the rounds alone.
    """
    import numpy as np

    degrees = sum(len(side) - 1 for side in sides)
    if degrees == 0:
        return None
    apart = sum(float(((np.asarray(side) - np.mean(side)) ** 2).sum()) for side in sides)
    by_rounds = sum((len(side) - 1) * len(side) for side in sides) * variance
    return math.sqrt(max(0.0, apart - by_rounds) / degrees)


def _bootstrap(logs: NDArray[Any], seed: int, draws: int) -> NDArray[Any]:
    """Midmeans of as many rounds drawn with replacement."""
    import numpy as np

    generator = np.random.default_rng(seed)
    rows = max(1, _CELLS // len(logs))
    return np.concatenate(
        [
            _midmeans(logs[generator.integers(0, len(logs), (min(rows, draws - done), len(logs)))])
            for done in range(0, draws, rows)
        ]
    )


def _midmeans(rows: NDArray[Any]) -> NDArray[Any]:
    """Mean of the middle half of each row."""
    import numpy as np

    count = rows.shape[1]
    cut = count // 4
    middle: NDArray[Any] = np.sort(rows, axis=1)[:, cut : count - cut].mean(axis=1)  # faster than to partition
    return middle
