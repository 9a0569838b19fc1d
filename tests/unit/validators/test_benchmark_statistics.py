"""Percentiles and their intervals, held against numpy and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.validators.gpu_benchmark.statistics import bears, percentile, percentile_interval, told

pytestmark = pytest.mark.unit

_SAMPLES = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)


@given(_SAMPLES, st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_numpys_default(samples: list[float], fraction: float) -> None:
    assert percentile(sorted(samples), fraction) == pytest.approx(np.percentile(samples, fraction * 100))


@given(_SAMPLES, st.sampled_from([0.5, 0.9, 0.99]))
def test_an_interval_holds_its_percentile(samples: list[float], fraction: float) -> None:
    ordered = sorted(samples)
    low, high = percentile_interval(ordered, fraction)
    assert low is None or low <= percentile(ordered, fraction)
    assert high is None or high >= percentile(ordered, fraction)


@pytest.mark.parametrize("fraction", [0.5, 0.9])
def test_about_95_of_100_intervals_hold_the_truth(fraction: float) -> None:
    generator, truth = np.random.default_rng(5), -np.log(1 - fraction)
    held = 0
    for _ in range(1000):
        low, high = percentile_interval(sorted(generator.exponential(size=400).tolist()), fraction)
        assert low is not None
        assert high is not None
        held += low <= truth <= high
    assert 930 <= held <= 985


def test_a_p99_of_200_samples_has_no_upper_bound() -> None:
    low, high = percentile_interval([float(number) for number in range(200)], 0.99)
    assert low is not None
    assert high is None


@pytest.mark.parametrize(
    ("count", "allowed"), [(1, (50,)), (60, (50, 90)), (600, (50, 90, 99)), (6000, (50, 90, 99, 99.9))]
)
def test_so_many_samples_tell_such_percentiles(count: int, allowed: tuple[float, ...]) -> None:
    ordered = [float(number) for number in range(count)]
    assert tuple(percent for percent in (50, 90, 99, 99.9) if bears(ordered, percent)) == allowed


def test_which_percentiles_there_are_is_told_in_words() -> None:
    ordered = [float(number) for number in range(60)]
    assert told(ordered, (50, 90, 99.9)) == "60 requests allow p50, p90; they are too few for p99.9"
    assert told(ordered, (50, 90)) == "60 requests allow p50, p90"
