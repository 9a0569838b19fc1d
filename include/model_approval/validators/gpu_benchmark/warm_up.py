"""Warm-up, detected and not guessed: it is over when two successive windows agree.

On a restless machine no two windows may ever agree within 2 %. When the time is up, the last half of the requests is
therefore looked at as a whole: if the p50 of its first and its second part cannot be told apart, what is left is noise
and no warm-up, which the comparison's interval accounts for.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from model_approval.validators.gpu_benchmark.interleave import Asked
from model_approval.validators.gpu_benchmark.statistics import percentile_interval

_WINDOW, _SHORT_WINDOW = 20, 10
_SLOW_MS = 20.0
"""From here on windows are short: two of twenty would take longer than most warm-ups."""
_AGREEMENT = 0.02


@dataclass(frozen=True)
class WarmedUp:
    """How a model was found after its warm-up."""

    p50_ms: float
    queries: int
    settled: bool
    """Whether two windows agreed, or differed by no more than the noise does."""
    noisy: bool = False
    """Whether it was the latter."""

    @property
    def words(self) -> str:
        """For the evidence."""
        how = "settled, as far as the noise tells," if self.noisy else "settled" if self.settled else "not settled"
        return f"{how} after {self.queries} queries, p50 {self.p50_ms:.4g} ms"


def warm_up(model: Asked, longest_s: float, clock: Callable[[], float] = time.monotonic) -> WarmedUp:
    """Ask until the p50 of two successive windows differs by less than 2 %, at least 20 queries in all.

    Args:
        model: What is asked.
        longest_s: Given up after that, but never before three windows.
        clock: Seconds.
    """
    start, samples = clock(), model.block(_SHORT_WINDOW)
    size = _SHORT_WINDOW if median(samples) > _SLOW_MS else _WINDOW
    previous, windows = median(samples), 1
    while windows < 3 or clock() - start < longest_s:
        window = model.block(size)
        samples, windows, current = samples + window, windows + 1, median(window)
        if abs(current - previous) <= _AGREEMENT * previous:
            return WarmedUp(current, len(samples), settled=True)
        previous = current
    only_noise = _cannot_be_told_apart(samples[len(samples) // 2 :])
    return WarmedUp(previous, len(samples), settled=only_noise, noisy=only_noise)


def _cannot_be_told_apart(samples: list[float]) -> bool:
    """Whether the 95 % intervals of the p50 of the first and of the second part overlap."""
    parts = sorted(samples[: len(samples) // 2]), sorted(samples[len(samples) // 2 :])
    if len(parts[0]) < _WINDOW:
        return False
    lows, highs = zip(*(percentile_interval(part, 0.5) for part in parts), strict=True)
    return max(low or 0.0 for low in lows) <= min(high or math.inf for high in highs)
