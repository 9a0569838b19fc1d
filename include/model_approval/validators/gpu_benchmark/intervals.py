"""Intervals and tests for proportions, paired samples and trends. Pure functions over numbers, no measurement."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

Z95 = 1.959964
_WORK = 20_000_000
"""Values that a bootstrap draws in all: what numpy does in about a second for a mean."""


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % interval of a proportion.

    Source: Wilson (1927), JASA 22, 209-212: the score test inverted; it stays inside [0, 1] and holds at 0 and at 1.

    Args:
        successes: How many of the trials.
        trials: At least one.
    """
    share, square = successes / trials, Z95**2
    centre = (share + square / (2 * trials)) / (1 + square / trials)
    reach = Z95 / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    # At 0 and 1 the formula gives the very bound, but for rounding.
    return (0.0 if successes == 0 else centre - reach), (1.0 if successes == trials else centre + reach)


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Two-sided probability of so uneven a split, were both equally often right alone.

    Source: McNemar (1947), Psychometrika 12, 153-157, with the exact binomial distribution in place of chi-square.

    Args:
        only_first: Samples that the first model alone has right.
        only_second: Samples that the second alone has right.
    """
    trials, fewer = only_first + only_second, min(only_first, only_second)
    if trials == 0:
        return 1.0
    # Summed from logarithms: the binomial coefficients of a large holdout exceed every float.
    log_half = trials * math.log(0.5)
    tail = math.fsum(
        math.exp(math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1) + log_half)
        for count in range(fewer + 1)
    )
    return min(1.0, 2 * tail)


def bootstrap_interval(
    statistic: Callable[[NDArray[Any]], float], size: int, *, seed: int
) -> tuple[float, float] | tuple[None, None]:
    """95 % interval of anything computed from samples, by resampling their positions.

    Pairs stay pairs when the statistic looks both up by position. Resamples without a value (one class alone has no
    AUC) are left out; there is no interval when more than one in ten is.

    Source: Efron & Tibshirani, An Introduction to the Bootstrap (1993), section 13.3, percentile method.

    Args:
        statistic: From positions (int array of length `size`, with repetition) to a number, or NaN.
        size: Number of samples.
        seed: The same seed gives the same interval.
    """
    import numpy as np

    rounds = max(200, min(2000, _WORK // max(size, 1)))
    generator = np.random.default_rng(seed)
    values = np.array([statistic(generator.integers(0, size, size)) for _ in range(rounds)])
    values = values[np.isfinite(values)]
    if len(values) < 0.9 * rounds:
        return None, None
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


@dataclass(frozen=True)
class Slope:
    """A trend in units of y for each unit of x, with its 95 % interval."""

    value: float
    low: float
    high: float


def theil_sen(x: NDArray[Any], y: NDArray[Any]) -> Slope:
    """The median of all pairwise slopes: up to 29 % of wild samples do not move it.

    Sources: Theil (1950), Indag. Math. 12; Sen (1968), JASA 63, 1379-1389, whose equation for the interval counts on
    Kendall's S being normal, with the correction for ties in y. It takes samples as independent; memory moves in steps,
    so the interval is rather too narrow than too wide.

    Args:
        x: Increasing, at least three values.
        y: As many.
    """
    import numpy as np

    first, second = np.triu_indices(len(x), 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    count = len(x)
    ties = np.unique(y, return_counts=True)[1].astype(float)
    variance = (count * (count - 1) * (2 * count + 5) - float((ties * (ties - 1) * (2 * ties + 5)).sum())) / 18
    reach = Z95 * math.sqrt(max(variance, 0.0))
    low = max(0, math.floor((len(slopes) - reach) / 2) - 1)
    high = min(len(slopes) - 1, math.ceil((len(slopes) + reach) / 2))
    return Slope(float(np.median(slopes)), float(slopes[low]), float(slopes[high]))
