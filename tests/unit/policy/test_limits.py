"""One metric against its limit, to the word."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_approval.domain.evidence import Metric, Ratio, Verdict
from model_approval.policy.limits import figure, judge_limit, limit_words, ratio_limits
from model_approval.policy.schema import Check, MetricLimit

pytestmark = pytest.mark.unit

VALUES = st.floats(0.001, 1e9)
RATIOS = st.floats(0.01, 10)
PASSED, FAILED, INCONCLUSIVE, ERRORED = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE, Verdict.ERRORED


def a_limit(**parts: object) -> MetricLimit:
    relative = any("ratio" in part for part in parts)
    return MetricLimit.model_validate({"metric": "latency_p50" if relative else "latency_p99", "unit": "ms", **parts})


def a_metric(value: float, **parts: object) -> Metric:
    return Metric.model_validate({"name": "latency_p99", "value": value, "unit": "ms", **parts})


def a_ratio(value: float, low: float, high: float, noise: float = 0.0) -> Metric:
    ratio = Ratio(value=value, low=low, high=high, noise=noise)
    return a_metric(40 * value, name="latency_p50", baseline=40.0, samples=900, ratio=ratio)


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
            a_metric(43, low=42, high=43.5, baseline=40),
            (INCONCLUSIVE, "latency p99 cannot be compared: the evidence holds no interval of the ratio"),
        ),
        (
            {"max_ratio_to_champion": 1.05},
            a_ratio(1.01, 0.99, 1.05),
            (
                PASSED,
                "latency p50 is 1.01 times the champion's (95 % interval 0.99 to 1.05), "
                "within the limit of at most 1.05",
            ),
        ),
        (
            {"max_ratio_to_champion": 1.05},
            a_ratio(1.01, 0.99, 1.06),
            (
                INCONCLUSIVE,
                "latency p50 is 1.01 times the champion's (95 % interval 0.99 to 1.06), "
                "too close to tell by the limit of at most 1.05",
            ),
        ),
        (
            {"max_ratio_to_champion": 1.05},
            a_ratio(1.15, 1.12, 1.18),
            (
                FAILED,
                "latency p50 is 1.15 times the champion's (95 % interval 1.12 to 1.18), "
                "beyond the limit of at most 1.05",
            ),
        ),
        (
            {"min_ratio_to_champion": 0.8},
            a_ratio(0.7, 0.65, 0.79),
            (
                FAILED,
                "latency p50 is 0.7 times the champion's (95 % interval 0.65 to 0.79), "
                "beyond the limit of at least 0.8",
            ),
        ),
        (
            {"max_ratio_to_champion": 1.05},
            a_ratio(1.0, 0.99, 1.01, noise=0.08),
            (
                INCONCLUSIVE,
                "latency p50 is 1 times the champion's (95 % interval 0.99 to 1.01); the champion against itself "
                "differed by 8.0%, so nothing can be told by the limit of at most 1.05",
            ),
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


@given(RATIOS, RATIOS, RATIOS)
def test_a_relative_limit_is_decided_only_by_a_whole_interval(low, high, bound):
    assume(low <= high and bound != 1)
    metric = a_ratio((low * high) ** 0.5, low, high)
    verdict, _ = judge(a_limit(max_ratio_to_champion=bound), metric)
    assert verdict is (PASSED if high <= bound else FAILED if low > bound else INCONCLUSIVE)
    verdict, _ = judge(a_limit(min_ratio_to_champion=bound), metric)
    assert verdict is (PASSED if low >= bound else FAILED if high < bound else INCONCLUSIVE)


@given(RATIOS, RATIOS, RATIOS, st.floats(0.001, 2))
def test_nothing_passes_that_the_champion_itself_might_have_failed(one, other, bound, more):
    low, high, noise = min(one, other), max(one, other), abs(bound - 1) + more
    metric = a_ratio((low * high) ** 0.5, low, high, noise)
    for limit in (a_limit(max_ratio_to_champion=bound), a_limit(min_ratio_to_champion=bound)):
        assert judge(limit, metric)[0] is not PASSED


def test_a_slowdown_far_beyond_the_noise_fails_even_on_a_restless_machine():
    assert judge(a_limit(max_ratio_to_champion=1.05), a_ratio(1.4, 1.35, 1.45, noise=0.1))[0] is FAILED
    assert judge(a_limit(max_ratio_to_champion=1.05), a_ratio(1.1, 1.08, 1.12, noise=0.1))[0] is INCONCLUSIVE


@given(VALUES, VALUES, st.floats(0.1, 10))
def test_a_figure_that_is_read_off_is_compared_as_it_is(value, baseline, ratio):
    metric = a_metric(value, baseline=baseline)
    verdict, _ = judge(a_limit(max_ratio_to_champion=ratio), metric)
    assert verdict is (FAILED if value > ratio * baseline else PASSED)


@pytest.mark.parametrize("metric", ["latency_p90", "latency_p95", "latency_p99", "latency_p99.9", "ttft_p99"])
def test_a_policy_cannot_compare_tails(metric):
    for bound in ("max_ratio_to_champion", "min_ratio_to_champion"):
        with pytest.raises(ValidationError, match=f"{metric} cannot be compared .* compare the p50 or the throughput"):
            MetricLimit.model_validate({"metric": metric, "unit": "ms", bound: 1.1})


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


def a_check(*limits: dict[str, object], validator: str = "gpu_benchmark") -> Check:
    rules = [{"id": f"rule-{n}", "title": "t", "limit": {"unit": "u", **limit}} for n, limit in enumerate(limits)]
    return Check.model_validate({"name": "check", "validator": validator, "rules": rules})


def test_a_benchmark_is_told_how_exactly_the_policy_must_know_a_ratio():
    check = a_check(
        {"metric": "latency_p50", "max_ratio_to_champion": 1.2},
        {"metric": "latency_p50", "max_ratio_to_champion": 1.05},
        {"metric": "throughput", "min_ratio_to_champion": 0.8},
        {"metric": "peak_memory", "max_ratio_to_champion": 1.5},
        {"metric": "latency_p99", "maximum": 50},
    )
    assert ratio_limits(check) == {"ratio_limits": {"latency_p50": 1.05, "throughput": 0.8}}
    assert ratio_limits(a_check({"metric": "latency_p99", "maximum": 50})) == {"ratio_limits": {}}


def test_other_validators_are_told_nothing_of_it():
    check = a_check({"metric": "x", "max_ratio_to_champion": 1.2}, validator="security_scan")
    assert ratio_limits(check) == {}
