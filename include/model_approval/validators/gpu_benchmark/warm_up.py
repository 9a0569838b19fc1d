"""Warm-up, detected and not guessed: it is over when two successive windows agree."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

from model_approval.validators.gpu_benchmark.interleave import Asked

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
    """Whether it ended because two windows agreed."""

    @property
    def words(self) -> str:
        """For the evidence."""
        how = f"settled after {self.queries} queries" if self.settled else f"not settled within {self.queries} queries"
        return f"{how}, p50 {self.p50_ms:.4g} ms"


def warm_up(model: Asked, longest_s: float, clock: Callable[[], float] = time.monotonic) -> WarmedUp:
    """Ask until the p50 of two successive windows differs by less than 2 %, at least 20 queries in all.

    Args:
        model: What is asked.
        longest_s: Given up after that, but never before three windows.
        clock: Seconds.
    """
    start, first = clock(), model.block(_SHORT_WINDOW)
    size = _SHORT_WINDOW if median(first) > _SLOW_MS else _WINDOW
    queries, previous, windows = _SHORT_WINDOW, median(first), 1
    while windows < 3 or clock() - start < longest_s:
        current = median(model.block(size))
        queries, windows = queries + size, windows + 1
        if abs(current - previous) <= _AGREEMENT * previous:
            return WarmedUp(current, queries, settled=True)
        previous = current
    return WarmedUp(previous, queries, settled=False)
