"""Intervals, tests and slopes, held against scipy and against simulation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from model_approval.validators.gpu_benchmark.intervals import (
    bootstrap_interval,
    mcnemar_exact,
    theil_sen,
    wilson_interval,
)

pytestmark = pytest.mark.unit


@given(st.integers(1, 5000), st.floats(0, 1))
@settings(deadline=None)  # a busy machine is no failure
def test_the_interval_of_a_proportion_is_wilsons(trials: int, share: float) -> None:
    successes = round(share * trials)
    expected = stats.binomtest(successes, trials).proportion_ci(method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((expected.low, expected.high), abs=1e-6)


@given(st.integers(0, 400), st.integers(0, 400))
@settings(deadline=None)  # a busy machine is no failure
def test_mcnemars_test_is_a_fair_coin_over_the_discordant_pairs(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_exact(first, second) == pytest.approx(expected, rel=1e-9)


def test_mcnemars_test_takes_a_large_holdout() -> None:
    assert mcnemar_exact(50_000, 50_000) == 1.0
    assert mcnemar_exact(49_000, 51_000) < 1e-9


def _mean_of(sample: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda at: float(sample[at].mean())


def test_about_95_of_100_bootstrap_intervals_hold_the_true_mean() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(150):
        low, high = bootstrap_interval(_mean_of(generator.exponential(size=200)), 200, seed=seed)
        assert low is not None
        assert high is not None
        held += low <= 1.0 <= high
    assert held >= 132  # 95 % of 150 is 142; fewer than 132 would be a chance of one in ten thousand


def test_a_statistic_that_mostly_has_no_value_has_no_interval() -> None:
    assert bootstrap_interval(lambda at: float("nan") if at[0] % 2 else 1.0, 100, seed=1) == (None, None)


@given(st.lists(st.floats(-1000, 1000), min_size=3, max_size=60))
@settings(deadline=None)  # a busy machine is no failure
def test_the_slope_and_its_interval_are_scipys(values: list[float]) -> None:
    x, y = np.arange(len(values), dtype=float), np.array(values)
    slope, expected = theil_sen(x, y), stats.theilslopes(y, x)
    assert slope.value == pytest.approx(expected.slope)
    assert slope.low <= expected.low_slope + 1e-9
    assert slope.high >= expected.high_slope - 1e-9


def test_a_trend_is_found_under_wild_samples() -> None:
    generator = np.random.default_rng(4)
    x = np.arange(100.0)
    y = 0.5 * x + generator.normal(size=100)
    y[generator.choice(100, 20, replace=False)] += 1000
    slope = theil_sen(x, y)
    assert slope.low < 0.5 < slope.high
    assert slope.low > 0.3
