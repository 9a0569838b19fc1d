"""One metric against its limit, absolute or against the champion measured in the same run. Pure.

A relative limit on a sampled metric is judged by the 95 % interval of the ratio, never by two figures side by side:
the whole interval within the limit passes, the whole interval beyond it fails, anything else is `inconclusive`. So is
a limit that is nearer to 1 than the champion came to itself. Metrics that are not sampled (memory) have no interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from model_approval.domain.evidence import Metric, Ratio, Verdict, worst
from model_approval.policy.schema import Check, MetricLimit

_MEASURED_AS_RATIO = ("latency_p50", "throughput")


@dataclass(frozen=True)
class Judgement:
    """A verdict with its reason in words."""

    verdict: Verdict
    reason: str

    def but(self, verdict: Verdict, reason: str) -> Judgement:
        """Another verdict, with a reason added."""
        return Judgement(verdict, f"{self.reason}; {reason}")


def judge_limit(limit: MetricLimit, metric: Metric | None, *, has_champion: bool) -> Judgement:
    """Judge a metric.

    Returns:
        `errored` when the metric is missing or in another unit; else the worst verdict of all parts of the limit,
        with the reasons of the parts that gave it.
    """
    if metric is None:
        return Judgement(Verdict.ERRORED, f"the evidence holds no metric {limit.metric}")
    if metric.unit != limit.unit:
        return Judgement(
            Verdict.ERRORED, f"{limit.metric} was reported in {metric.unit}, the policy asks for {limit.unit}"
        )
    parts = [*_absolute(limit, metric), *_relative(limit, metric, has_champion)]
    verdict = worst(tuple(part.verdict for part in parts))
    return Judgement(verdict, "; ".join(part.reason for part in parts if part.verdict is verdict))


def ratio_limits(check: Check) -> dict[str, JsonValue]:
    """What a benchmark is told of the policy's relative limits (its parameter `ratio_limits`).

    It then measures exactly enough to judge them and no longer. Of several on one metric the nearest to 1 counts.
    """
    if check.validator != "gpu_benchmark":
        return {}
    nearest: dict[str, float] = {}
    for limit in (rule.limit for rule in check.rules if rule.limit is not None):
        for bound in (limit.min_ratio_to_champion, limit.max_ratio_to_champion):
            if bound is not None and limit.metric in _MEASURED_AS_RATIO:
                known = nearest.get(limit.metric)
                nearest[limit.metric] = bound if known is None or abs(bound - 1) < abs(known - 1) else known
    return {"ratio_limits": dict(nearest)}


def limit_words(limit: MetricLimit) -> str:
    """The limit in short, for a table: `<= 50 ms`, `<= 1.1 x champion`."""
    parts = (
        (limit.minimum, ">=", limit.unit),
        (limit.maximum, "<=", limit.unit),
        (limit.min_ratio_to_champion, ">=", "x champion"),
        (limit.max_ratio_to_champion, "<=", "x champion"),
    )
    return " and ".join(f"{sign} {figure(bound)} {what}" for bound, sign, what in parts if bound is not None)


def figure(value: float, *, unlike: float | None = None) -> str:
    """A number for people: six digits, or as many as it takes to differ from another number."""
    text = f"{value:,.0f}" if abs(value) >= 1e6 else f"{value:.6g}"
    return repr(value) if unlike is not None and value != unlike and text == figure(unlike) else text


def _absolute(limit: MetricLimit, metric: Metric) -> Iterator[Judgement]:
    if limit.minimum is not None:
        yield _compare(metric, limit.minimum, at_least=True)
    if limit.maximum is not None:
        yield _compare(metric, limit.maximum, at_least=False)


def _compare(metric: Metric, bound: float, *, at_least: bool) -> Judgement:
    within = metric.value >= bound if at_least else metric.value <= bound
    words = "is within" if within else ("is below" if at_least else "is above")
    kind = "least" if at_least else "most"
    limit = f"of at {kind} {figure(bound)}" if within else f"of {figure(bound)}"
    reason = f"{_named(metric, metric.value, unlike=bound)} {words} the limit {limit} {metric.unit}"
    return Judgement(Verdict.PASSED if within else Verdict.FAILED, reason)


def _relative(limit: MetricLimit, metric: Metric, has_champion: bool) -> Iterator[Judgement]:
    for bound, at_least in ((limit.min_ratio_to_champion, True), (limit.max_ratio_to_champion, False)):
        if bound is None:
            continue
        if not has_champion:
            yield _without_champion(limit)
        elif metric.ratio is not None:
            yield _judge_ratio(metric.name, metric.ratio, bound, at_least=at_least)
        elif metric.baseline is None or metric.baseline <= 0:
            found = "was not measured" if metric.baseline is None else f"is {figure(metric.baseline)} {metric.unit}"
            reason = f"{_readable(metric.name)} cannot be compared: the champion's {found} in the same run"
            yield Judgement(Verdict.INCONCLUSIVE, reason)
        elif _is_sampled(metric):
            reason = f"{_readable(metric.name)} cannot be compared: the evidence holds no interval of the ratio"
            yield Judgement(Verdict.INCONCLUSIVE, reason)
        else:
            yield _compare_with_champion(metric, metric.baseline, bound, at_least=at_least)


def _judge_ratio(name: str, ratio: Ratio, bound: float, *, at_least: bool) -> Judgement:
    """Both ends of the interval within the limit, both beyond it, or neither."""
    words = (
        f"{_readable(name)} is {figure(ratio.value, unlike=bound)} times the champion's "
        f"(95 % interval {figure(ratio.low, unlike=bound)} to {figure(ratio.high, unlike=bound)})"
    )
    asked = f"the limit of at {'least' if at_least else 'most'} {figure(bound)}"
    drowned = ratio.noise > abs(bound - 1)
    slack = ratio.noise if drowned else 0.0
    if ratio.high < bound * (1 - slack) if at_least else ratio.low > bound * (1 + slack):
        return Judgement(Verdict.FAILED, f"{words}, beyond {asked}")
    if drowned:
        reason = f"the champion against itself differed by {ratio.noise:.1%}, so nothing can be told by {asked}"
        return Judgement(Verdict.INCONCLUSIVE, f"{words}; {reason}")
    if ratio.low >= bound if at_least else ratio.high <= bound:
        return Judgement(Verdict.PASSED, f"{words}, within {asked}")
    return Judgement(Verdict.INCONCLUSIVE, f"{words}, too close to tell by {asked}")


def _is_sampled(metric: Metric) -> bool:
    return metric.samples is not None or metric.low is not None or metric.high is not None


def _without_champion(limit: MetricLimit) -> Judgement:
    if limit.without_champion == "pass":
        return Judgement(Verdict.PASSED, "there is no champion yet to compare with")
    return Judgement(Verdict.INCONCLUSIVE, "there is no champion to compare with, and the policy asks for one")


def _compare_with_champion(metric: Metric, baseline: float, ratio: float, *, at_least: bool) -> Judgement:
    """Figures that are read off, not sampled: the two values decide."""
    bound = ratio * baseline
    limit = f"{figure(ratio)} times the champion's {figure(baseline)} {metric.unit}"
    value = _named(metric, metric.value, unlike=bound)
    if metric.value < bound if at_least else metric.value > bound:
        return Judgement(Verdict.FAILED, f"{value} is {'below' if at_least else 'above'} {limit}")
    return Judgement(Verdict.PASSED, f"{value} is at {'least' if at_least else 'most'} {limit}")


def _named(metric: Metric, value: float, *, unlike: float) -> str:
    return f"{_readable(metric.name)} {figure(value, unlike=unlike)} {metric.unit}"


def _readable(name: str) -> str:
    return name.replace("_", " ")
