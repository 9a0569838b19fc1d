"""Percentiles with intervals that assume nothing about the distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from model_approval.validators.gpu_benchmark.intervals import Z95


def percentile(ordered: Sequence[float], fraction: float) -> float:
    """A percentile of sorted samples.

    Source: linear interpolation, Hyndman & Fan (1996) type 7, numpy's default.
    """
    position = (len(ordered) - 1) * fraction
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def percentile_interval(ordered: Sequence[float], fraction: float) -> tuple[float | None, float | None]:
    """95 % interval of a percentile by order statistics; None on a side where the sample does not reach.

    The number of samples below a percentile is binomial, whatever the latencies look like; its normal approximation
    gives the ranks. Source: Hahn & Meeker, Statistical Intervals (1991), section 5.2. Latencies of one run are not
    quite independent, so take the interval as a lower bound of the uncertainty.
    """
    count = len(ordered)
    middle, spread = count * fraction, Z95 * math.sqrt(count * fraction * (1 - fraction))
    low, high = math.floor(middle - spread), math.ceil(middle + spread)
    return (ordered[low - 1] if low >= 1 else None, ordered[high] if high < count else None)
