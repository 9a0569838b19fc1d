"""One metric against its limit, absolute or against the champion measured in the same run. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from model_approval.domain.evidence import Metric, Verdict, worst
from model_approval.policy.schema import MetricLimit


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
    for ratio, at_least in ((limit.min_ratio_to_champion, True), (limit.max_ratio_to_champion, False)):
        if ratio is None:
            continue
        if not has_champion:
            yield _without_champion(limit)
        elif metric.baseline is None or metric.baseline <= 0:
            found = "was not measured" if metric.baseline is None else f"is {figure(metric.baseline)} {metric.unit}"
            reason = f"{_readable(metric.name)} cannot be compared: the champion's {found} in the same run"
            yield Judgement(Verdict.INCONCLUSIVE, reason)
        else:
            yield _compare_with_champion(metric, metric.baseline, ratio, at_least=at_least)


def _without_champion(limit: MetricLimit) -> Judgement:
    if limit.without_champion == "pass":
        return Judgement(Verdict.PASSED, "there is no champion yet to compare with")
    return Judgement(Verdict.INCONCLUSIVE, "there is no champion to compare with, and the policy asks for one")


def _compare_with_champion(metric: Metric, baseline: float, ratio: float, *, at_least: bool) -> Judgement:
    """The unfavourable end of the 95 % interval must satisfy the limit; the value alone may be luck."""
    bound = ratio * baseline
    limit = f"{figure(ratio)} times the champion's {figure(baseline)} {metric.unit}"
    value = _named(metric, metric.value, unlike=bound)
    if metric.value < bound if at_least else metric.value > bound:
        return Judgement(Verdict.FAILED, f"{value} is {'below' if at_least else 'above'} {limit}")
    end = metric.low if at_least else metric.high
    if end is not None and (end < bound if at_least else end > bound):
        reach = f"its 95 % interval reaches {figure(end, unlike=bound)} {metric.unit}"
        return Judgement(Verdict.INCONCLUSIVE, f"{value} is too close to {limit} to tell: {reach}")
    return Judgement(Verdict.PASSED, f"{value} is at {'least' if at_least else 'most'} {limit}")


def _named(metric: Metric, value: float, *, unlike: float) -> str:
    return f"{_readable(metric.name)} {figure(value, unlike=unlike)} {metric.unit}"


def _readable(name: str) -> str:
    return name.replace("_", " ")
