"""What a benchmark measured, ready to be shown: ratios to the champion, all figures, and how they were come by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from model_approval.domain.evidence import Evidence, Metric, Ratio
from model_approval.policy.schema import MetricLimit
from model_review import plots, words

MAX_SHOWN = 300
"""Rows of the table; a sweep over many sizes brings some hundred."""
_FAMILIES = (
    ("Language model", ("time_to_first", "inter_token", "time_per_output", "answer_time", "output_token", "request_t")),
    ("Batch sizes", ("batch_", "best_batch")),
    ("Start", ("load_time", "cold_start", "first_inference")),
    ("Under load", ("concurrent_", "server_", "multi_stream_", "offline_")),
    ("GPU", ("gpu_",)),
    ("Memory", ("peak_memory", "memory_")),
    ("Latency and throughput", ("latency_", "throughput", "harness_")),
)
"""Families of metrics by how their names begin, the special before the general; all others are quality figures."""
_OTHER = "Quality and others"
_ORDER = (
    "Latency and throughput", "Under load", "Language model", _OTHER, "Memory", "GPU", "Batch sizes", "Start",
)  # fmt: skip
_MEANINGS = {
    "latency_p99": "early-stopping estimate: at 99\u202f% confidence not above it",
    "latency_p99_observed": "percentile of the requests, no bound",
    "throughput": "median burst, several requests under way",
    "offline_throughput": "all samples handed over at once",
    "multi_stream_latency_p99": "early-stopping estimate",
    "server_qps": "Poisson arrivals, the latency bound kept",
    "peak_memory": "resident, of the server's process",
    "harness_overhead": "a request that runs no model",
    "load_time": "start of the process to ready",
    "cold_start": "start of the process to its first answer",
}
_SCENARIO = {"VALID": words.Look("valid", "passed", "check"), "INVALID": words.Look("invalid", "attention", "triangle")}
_NOTE = words.Look("note", "waiting", "dot")


@dataclass(frozen=True)
class RatioView:
    """Candidate against champion, measured in turn."""

    words: str
    """`1.02 times the champion, 95 % interval 0.99 to 1.04; champion against itself: 0.6 %`."""
    strip: plots.Strip | None
    ratio: Ratio


@dataclass(frozen=True)
class MetricRow:
    """One figure of the run."""

    name: str
    meaning: str
    value: str
    interval: str
    baseline: str
    ratio: str
    ratio_interval: str
    samples: str


@dataclass(frozen=True)
class MetricFamily:
    """Figures that belong together."""

    title: str
    rows: tuple[MetricRow, ...]


@dataclass(frozen=True)
class Note:
    """How one part of the measurement went."""

    look: words.Look
    subject: str
    text: str


@dataclass(frozen=True)
class Measurements:
    """All figures of one run."""

    families: tuple[MetricFamily, ...]
    total: int
    notes: tuple[Note, ...]
    has_champion: bool
    has_interval: bool
    has_samples: bool

    @property
    def more(self) -> int:
        """How many figures are not shown."""
        return self.total - sum(len(family.rows) for family in self.families)


def measurements(evidence: Evidence | None) -> Measurements | None:
    """The figures and the notes of a run; None when it measured nothing."""
    if evidence is None or not evidence.metrics:
        return None
    shown = evidence.metrics[:MAX_SHOWN]
    return Measurements(
        families=tuple(_families(shown)),
        total=len(evidence.metrics),
        notes=_notes(evidence.environment),
        has_champion=any(metric.baseline is not None or metric.ratio is not None for metric in shown),
        has_interval=any(metric.low is not None or metric.high is not None for metric in shown),
        has_samples=any(metric.samples is not None for metric in shown),
    )


def ratio_view(limit: MetricLimit | None, metric: Metric | None) -> RatioView | None:
    """How a rule with a relative limit is judged; None when its metric has no ratio or its limit is absolute."""
    if limit is None or metric is None or metric.ratio is None or not is_relative(limit):
        return None
    ratio = metric.ratio
    limits = plots.Limits(minimum=limit.min_ratio_to_champion, maximum=limit.max_ratio_to_champion)
    return RatioView(
        words=ratio_words(ratio),
        strip=plots.strip(
            ratio.value, interval=(ratio.low, ratio.high), champion=1.0, limits=limits, noise=ratio.noise
        ),
        ratio=ratio,
    )


def ratio_words(ratio: Ratio) -> str:
    """The ratio in one sentence."""
    interval = f"95\u202f% interval {words.ratio(ratio.low)} to {words.ratio(ratio.high)}"
    return f"{words.ratio(ratio.value)} times the champion, {interval}; champion against itself: {_noise(ratio)}"


def is_relative(limit: MetricLimit) -> bool:
    """Whether a limit compares with the champion."""
    return limit.min_ratio_to_champion is not None or limit.max_ratio_to_champion is not None


def interval_words(metric: Metric) -> str:
    """`40.1 to 42.6`, a bound that is not known as `?`; empty without any."""
    if metric.low is None and metric.high is None:
        return ""
    low, high = ("?" if bound is None else words.number(bound) for bound in (metric.low, metric.high))
    return f"{low} to {high}"


def _noise(ratio: Ratio) -> str:
    return f"{words.number(round(100 * ratio.noise, 2))}\u202f%"


def _families(metrics: Iterable[Metric]) -> Iterable[MetricFamily]:
    found: dict[str, list[MetricRow]] = {}
    for metric in metrics:
        found.setdefault(_family(metric.name), []).append(_row(metric))
    for title in _ORDER:
        if title in found:
            yield MetricFamily(title, tuple(found[title]))


def _family(name: str) -> str:
    return next((title for title, starts in _FAMILIES if name.startswith(starts)), _OTHER)


def _row(metric: Metric) -> MetricRow:
    ratio = metric.ratio
    return MetricRow(
        name=metric.name.replace("_", " "),
        meaning=_MEANINGS.get(metric.name, ""),
        value=words.number(metric.value, metric.unit),
        interval=interval_words(metric),
        baseline=words.number(metric.baseline, metric.unit) if metric.baseline is not None else "",
        ratio=words.ratio(ratio.value) if ratio else "",
        ratio_interval=f"{words.ratio(ratio.low)} to {words.ratio(ratio.high)}, \u00b1{_noise(ratio)} noise"
        if ratio
        else "",
        samples=words.number(metric.samples) if metric.samples is not None else "",
    )


def _notes(environment: dict[str, str]) -> tuple[Note, ...]:
    """Warm-up, scenarios and comparison in words; a name or value that is not as expected is shown as it is."""
    found = [_warm_up(name.removeprefix("warm_up."), text) for name, text in environment.items() if _is_warm_up(name)]
    for part in filter(None, environment.get("loadgen", "").split("; ")):
        scenario, _, verdict = part.partition(": ")
        look = _SCENARIO.get(verdict, _NOTE)
        text = f"by LoadGen's own rules: {look.word}" if verdict in _SCENARIO else verdict
        found.append(Note(look, f"MLPerf {scenario}", text))
    for name, subject in (("noise_floor", "Noise floor"), ("comparison", "Comparison"), ("rounds", "Rounds")):
        if environment.get(name):
            found.append(Note(_NOTE, subject, environment[name]))
    return tuple(found)


def _is_warm_up(name: str) -> bool:
    return name.startswith("warm_up.")


def _warm_up(who: str, text: str) -> Note:
    look = words.Look("settled", "passed", "check")
    if text.startswith("not settled"):
        look = words.Look("not settled", "attention", "triangle")
    elif not text.startswith("settled"):
        look = _NOTE
    return Note(look, f"Warm-up of the {who}", text)
