"""What was measured, as metrics. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from model_approval.domain.evidence import Metric, Ratio
from model_approval.validators.gpu_benchmark.interleave import Comparison
from model_approval.validators.gpu_benchmark.loadgen import Result, Scenario
from model_approval.validators.gpu_benchmark.ratio import Estimate
from model_approval.validators.gpu_benchmark.statistics import bears, percentile, percentile_interval

PERCENTILES = (50, 90, 95, 99, 99.9)
_EARLY_STOPPING = "early_stopping_latency_ss"


@dataclass(frozen=True)
class Samples:
    """What was sampled of one model."""

    blocks_ms: list[list[float]]
    """Latencies, block by block, milliseconds."""
    rates: list[float]
    """Requests per second of each burst."""

    @property
    def latencies_ms(self) -> list[float]:
        """All latencies, ascending."""
        return sorted(took for block in self.blocks_ms for took in block)


def ratio_of(found: Estimate | None, noise: Estimate | None, *, usable: bool, noise_scale: float = 1.0) -> Ratio | None:
    """The ratio as evidence; None unless it was measured, against a noise floor, by models that had warmed up."""
    if found is None or noise is None or not usable:
        return None
    return Ratio(value=found.value, low=found.low, high=found.high, noise=noise.distance * noise_scale)


def latency_metrics(candidate: Samples, champion: Samples | None, ratio: Ratio | None = None) -> list[Metric]:
    """`latency_p50` to `latency_p99.9` as observed, milliseconds; p99 as `latency_p99_observed`.

    Without one that the samples do not tell: a limit looks at the value alone, and would pass on a few lucky requests.

    Args:
        candidate: The candidate's samples, not empty.
        champion: The champion's, measured in between.
        ratio: Of the p50.
    """
    ordered = candidate.latencies_ms
    baseline = champion.latencies_ms if champion else []
    metrics = []
    for percent in PERCENTILES:
        if not bears(ordered, percent):
            continue
        low, high = percentile_interval(ordered, percent / 100)
        metrics.append(
            Metric(
                name=f"latency_p{percent}" + ("_observed" if percent == 99 else ""),
                value=percentile(ordered, percent / 100),
                unit="ms",
                low=low,
                high=high,
                baseline=percentile(baseline, percent / 100) if baseline and bears(baseline, percent) else None,
                ratio=ratio if percent == 50 else None,
                samples=len(ordered),
            )
        )
    return metrics


def least_p99(candidate: Samples, runs: Sequence[Result]) -> list[Metric]:
    """`latency_p99` where LoadGen's run has none: what it is at least, by the samples there are.

    A model too slow for enough requests must not escape its limit for want of them. The value is the lower end of the
    95 % interval of the p99, or the p50 where there are too few samples for one: above the limit it is a clear no,
    below it the run's own limitation keeps it from passing.
    """
    single = [run for run in runs if run.scenario is Scenario.SINGLE_STREAM]
    ordered = sorted([*candidate.latencies_ms, *(took for run in single for took in run.latencies_ms)])
    if not single or any(_of_run(run, 1) for run in single) or not ordered:
        return []
    low = percentile_interval(ordered, 0.99)[0]
    value = low if low is not None else percentile(ordered, 0.5)
    return [Metric(name="latency_p99", value=value, unit="ms", low=value, samples=len(ordered))]


def throughput_metric(candidate: Samples, champion: Samples | None, ratio: Ratio | None = None) -> Metric:
    """`throughput`: the median burst, requests per second."""
    ordered = sorted(candidate.rates)
    low, high = percentile_interval(ordered, 0.5)
    return Metric(
        name="throughput",
        value=median(ordered),
        unit="requests/s",
        low=low,
        high=high,
        baseline=median(champion.rates) if champion else None,
        ratio=ratio,
        samples=len(ordered),
    )


def loadgen_metrics(candidate: Sequence[Result], champion: Sequence[Result], batch_size: int = 1) -> list[Metric]:
    """The figures of LoadGen's VALID runs; an INVALID one has none.

    `latency_p99` is LoadGen's early-stopping estimate: with 99 % confidence the true p99 is not above it.

    Args:
        candidate: Its runs.
        champion: The champion's, for the baselines.
        batch_size: Samples in one request; LoadGen counts requests.
    """
    baselines = {metric.name: metric.value for result in champion for metric in _of_run(result, batch_size)}
    return [
        metric.model_copy(update={"baseline": baselines.get(metric.name)})
        for result in candidate
        for metric in _of_run(result, batch_size)
    ]


def _of_run(result: Result, batch_size: int) -> list[Metric]:
    if not result.valid:
        return []
    queries = int(result.number("result_query_count") or 0)
    if result.scenario is Scenario.SINGLE_STREAM:
        return _metric("latency_p99", result.milliseconds(_EARLY_STOPPING), "ms", queries)
    if result.scenario is Scenario.MULTI_STREAM:
        found = result.milliseconds("early_stopping_latency_ms")
        return _metric("multi_stream_latency_p99", found, "ms", queries)
    if result.scenario is Scenario.OFFLINE:
        rate = result.number("result_samples_per_second")
        return _metric("offline_throughput", rate and rate * batch_size, "samples/s", None)
    return [
        *_metric("server_qps", result.number("result_completed_samples_per_sec"), "queries/s", queries),
        *_metric("server_latency_p99", result.milliseconds("result_99.00_percentile_latency_ns"), "ms", queries),
    ]


def _metric(name: str, value: float | None, unit: str, samples: int | None) -> list[Metric]:
    return [] if value is None else [Metric(name=name, value=value, unit=unit, samples=samples)]


def samples_of(comparison: Comparison) -> tuple[Samples, Samples]:
    """The samples of both sides of a comparison."""
    first, second = zip(*comparison.rounds, strict=True)
    return (
        Samples([one.latencies_ms for one in first], [one.rate for one in first]),
        Samples([one.latencies_ms for one in second], [one.rate for one in second]),
    )
