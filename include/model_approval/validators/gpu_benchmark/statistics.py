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


def bears(ordered: Sequence[float], percent: float) -> bool:
    """Whether so many samples tell such a percentile: of a p99 without an upper bound nobody knows how high it is.

    A median is told of any number: half of the samples lie above it.
    """
    return percent <= 50 or percentile_interval(ordered, percent / 100)[1] is not None


def told(ordered: Sequence[float], percents: Sequence[float]) -> str:
    """Which percentiles the samples tell, and which they do not, in words."""
    allowed = [f"p{percent:g}" for percent in percents if bears(ordered, percent)]
    refused = [f"p{percent:g}" for percent in percents if not bears(ordered, percent)]
    words = f"{len(ordered)} requests allow {', '.join(allowed) or 'none'}"
    return f"{words}; they are too few for {', '.join(refused)}" if refused else words
