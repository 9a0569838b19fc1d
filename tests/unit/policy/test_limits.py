"""One metric against its limit, to the word."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_approval.domain.evidence import Metric, Verdict
from model_approval.policy.limits import figure, judge_limit, limit_words
from model_approval.policy.schema import MetricLimit

pytestmark = pytest.mark.unit

VALUES = st.floats(0.001, 1e9)
PASSED, FAILED, INCONCLUSIVE, ERRORED = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.ERRORED


def a_limit(**parts: object) -> MetricLimit:
    return MetricLimit.model_validate({"metric": "latency_p99", "unit": "ms", **parts})


def a_metric(value: float, **parts: object) -> Metric:
    return Metric.model_validate({"name": "latency_p99", "value": value, "unit": "ms", **parts})


def judge(limit: MetricLimit, metric: Metric | None, *, has_champion: bool = True) -> tuple[Verdict, str]:
    judged = judge_limit(limit, metric, has_champion=has_champion)
    return judged.verdict, judged.reason


@pytest.mark.parametrize(
    ("limit", "metric", "expected"),
    [
        ({"maximum": 50}, a_metric(61.2), (FAILED, "latency p99 61.2 ms is above the limit of 50 ms")),
        ({"maximum": 50}, a_metric(50), (PASSED, "latency p99 50 ms is within the limit of at most 50 ms")),
        ({"maximum": 50}, a_metric(50.0000001), (FAILED, "latency p99 50.0000001 ms is above the limit of 50 ms")),
        ({"minimum": 20}, a_metric(6.5), (FAILED, "latency p99 6.5 ms is below the limit of 20 ms")),
        ({"minimum": 20}, a_metric(20), (PASSED, "latency p99 20 ms is within the limit of at least 20 ms")),
        (
            {"minimum": 1, "maximum": 5},
            a_metric(3),
            (
                PASSED,
                "latency p99 3 ms is within the limit of at least 1 ms; "
                "latency p99 3 ms is within the limit of at most 5 ms",
            ),
        ),
        ({"minimum": 1, "maximum": 5}, a_metric(9), (FAILED, "latency p99 9 ms is above the limit of 5 ms")),
        (
            {"max_ratio_to_champion": 1.1},
            a_metric(43, baseline=40),
            (PASSED, "latency p99 43 ms is at most 1.1 times the champion's 40 ms"),
        ),
        (
            {"max_ratio_to_champion": 1.1},
            a_metric(45, baseline=40),
            (FAILED, "latency p99 45 ms is above 1.1 times the champion's 40 ms"),
        ),
        (
            {"max_ratio_to_champion": 1.1},
            a_metric(43, low=42, high=44.9, baseline=40),
            (
                INCONCLUSIVE,
                "latency p99 43 ms is too close to 1.1 times the champion's 40 ms to tell: "
                "its 95 % interval reaches 44.9 ms",
            ),
        ),
        (
            {"min_ratio_to_champion": 0.8},
            a_metric(33, low=31, high=35, baseline=40),
            (
                INCONCLUSIVE,
                "latency p99 33 ms is too close to 0.8 times the champion's 40 ms to tell: "
                "its 95 % interval reaches 31 ms",
            ),
        ),
        (
            {"min_ratio_to_champion": 0.8},
            a_metric(33, low=32, high=99, baseline=40),
            (PASSED, "latency p99 33 ms is at least 0.8 times the champion's 40 ms"),
        ),
        (
            {"max_ratio_to_champion": 1.1},
            a_metric(43),
            (
                INCONCLUSIVE,
                "latency p99 cannot be compared: the champion's was not measured in the same run",
            ),
        ),
        (
            {"max_ratio_to_champion": 1.1},
            a_metric(43, baseline=0),
            (INCONCLUSIVE, "latency p99 cannot be compared: the champion's is 0 ms in the same run"),
        ),
        (
            {"maximum": 50, "max_ratio_to_champion": 1.1},
            a_metric(60, baseline=40),
            (
                FAILED,
                "latency p99 60 ms is above the limit of 50 ms; "
                "latency p99 60 ms is above 1.1 times the champion's 40 ms",
            ),
        ),
        (
            {"maximum": 50, "max_ratio_to_champion": 1.1},
            a_metric(45, baseline=40),
            (FAILED, "latency p99 45 ms is above 1.1 times the champion's 40 ms"),
        ),
        (
            {"maximum": 0.05},
            a_metric(61.2, unit="s"),
            (ERRORED, "latency_p99 was reported in s, the policy asks for ms"),
        ),
        ({"maximum": 50}, None, (ERRORED, "the evidence holds no metric latency_p99")),
    ],
)
def test_a_limit_is_judged_with_value_unit_and_limit_in_words(limit, metric, expected):
    assert judge(a_limit(**limit), metric) == expected


@pytest.mark.parametrize(
    ("without_champion", "expected"),
    [
        ("pass", (PASSED, "there is no champion yet to compare with")),
        ("inconclusive", (INCONCLUSIVE, "there is no champion to compare with, and the policy asks for one")),
    ],
)
def test_without_a_champion_the_policy_says_what_a_relative_limit_means(without_champion, expected):
    limit = a_limit(max_ratio_to_champion=1.1, without_champion=without_champion)
    assert judge(limit, a_metric(43), has_champion=False) == expected


def test_without_a_champion_an_absolute_limit_still_holds():
    limit = a_limit(maximum=50, max_ratio_to_champion=1.1)
    assert judge(limit, a_metric(60), has_champion=False)[0] is FAILED


@given(VALUES, VALUES)
def test_a_maximum_passes_exactly_up_to_itself(value, maximum):
    assert (judge(a_limit(maximum=maximum), a_metric(value))[0] is PASSED) == (value <= maximum)


@given(VALUES, VALUES)
def test_a_minimum_passes_exactly_from_itself(value, minimum):
    assert (judge(a_limit(minimum=minimum), a_metric(value))[0] is PASSED) == (value >= minimum)


@given(VALUES, VALUES, VALUES, st.floats(0.1, 10))
def test_a_relative_limit_passes_only_when_value_and_interval_satisfy_it(value, high, baseline, ratio):
    assume(high >= value)
    verdict, _ = judge(a_limit(max_ratio_to_champion=ratio), a_metric(value, high=high, baseline=baseline))
    if value > ratio * baseline:
        assert verdict is FAILED
    else:
        assert verdict is (PASSED if high <= ratio * baseline else INCONCLUSIVE)


@given(VALUES, VALUES)
def test_two_different_numbers_never_read_the_same(one, two):
    assume(one != two)
    assert figure(one, unlike=two) != figure(two)


@pytest.mark.parametrize(
    ("value", "text"), [(50.0, "50"), (41.23456, "41.2346"), (0.001, "0.001"), (123_456_789, "123,456,789")]
)
def test_figures_are_short(value, text):
    assert figure(value) == text


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"maximum": 50}, "<= 50 ms"),
        ({"minimum": 1, "maximum": 5}, ">= 1 ms and <= 5 ms"),
        ({"max_ratio_to_champion": 1.1}, "<= 1.1 x champion"),
        ({"minimum": 2, "min_ratio_to_champion": 0.8}, ">= 2 ms and >= 0.8 x champion"),
    ],
)
def test_a_limit_is_short_in_a_table(parts, words):
    assert limit_words(a_limit(**parts)) == words


@pytest.mark.parametrize(
    ("parts", "complaint"),
    [
        ({}, "give minimum, maximum"),
        ({"minimum": 2, "maximum": 1}, "nothing can pass"),
        ({"max_ratio_to_champion": 0}, "greater"),
    ],
)
def test_a_limit_that_says_nothing_or_forbids_everything_is_refused(parts, complaint):
    with pytest.raises(ValidationError, match=complaint):
        a_limit(**parts)
