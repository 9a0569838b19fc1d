"""Warm-up, detected and not guessed: it is over when two successive windows agree.

On a restless machine no two windows may ever agree within 2 %. When the time is up, the last half of the requests is
therefore looked at by the lower deciles of its two parts: neighbours make requests slower and hardly ever all of
them, so that a decile which still moves is a model that still warms up, and one that stays is a model that has.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from model_approval.validators.gpu_benchmark.interleave import Asked
from model_approval.validators.gpu_benchmark.statistics import percentile

_WINDOW, _SHORT_WINDOW = 20, 10
_SLOW_MS = 20.0
"""From here on windows are short: two of twenty would take longer than most warm-ups."""
_AGREEMENT, _STILL = 0.02, 0.05


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
    still = _lower_decile_is_still(samples[len(samples) // 2 :])
    return WarmedUp(previous, len(samples), settled=still, noisy=still)


def _lower_decile_is_still(samples: list[float]) -> bool:
    """Whether the lower deciles of the first and of the second part differ by less than 5 %."""
    first, second = sorted(samples[: len(samples) // 2]), sorted(samples[len(samples) // 2 :])
    if len(first) < _SHORT_WINDOW:
        return False
    one, two = percentile(first, 0.1), percentile(second, 0.1)
    return abs(one - two) <= _STILL * min(one, two)
