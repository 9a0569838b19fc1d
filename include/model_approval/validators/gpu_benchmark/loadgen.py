"""MLPerf LoadGen drives the requests and judges its own runs; here its settings are made and its log is read.

LoadGen decides when a query is issued (Poisson arrivals in the Server scenario), measures each, and says VALID or
INVALID by its rules: least queries, least duration, early stopping at 99 % confidence. An INVALID run is no result.

Sources: MLPerf Inference Rules, sections "Scenarios" and "Early stopping"; LoadGen's `mlperf_log_detail.txt`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import plain_line
from model_approval.validators.gpu_benchmark.scenarios import ISSUERS, Issuer
from model_approval.validators.gpu_benchmark.stream import Stream

PERCENTILE = 0.99
_PREFIX = ":::MLLOG "


class Scenario(StrEnum):
    """How queries arrive."""

    SINGLE_STREAM = "single_stream"
    """The next one when the last is answered."""
    MULTI_STREAM = "multi_stream"
    """Several samples at once, the next lot when the last is answered."""
    SERVER = "server"
    """One by one at random times (Poisson), whether or not the last is answered."""
    OFFLINE = "offline"
    """All at once."""


@dataclass(frozen=True)
class Settings:
    """One run.

    Attributes:
        scenario: How queries arrive.
        min_s, max_s: Duration, at least and at most; seconds.
        min_queries: Queries, at least.
        seed: Of the order of samples and of the arrivals.
        expected_ms: Latency of one query, from the warm-up; LoadGen plans its queries by it.
        expected_qps: Samples per second, from the warm-up (Offline), or the wanted rate (Server).
        latency_bound_ms: Server: what 99 % of the answers must keep.
        samples_per_query: MultiStream.
    """

    scenario: Scenario
    min_s: float
    max_s: float
    min_queries: int
    seed: int
    expected_ms: float = 1.0
    expected_qps: float = 1.0
    latency_bound_ms: float = 0.0
    samples_per_query: int = 8
    workers: int = 8
    """Server: connections that wait for answers side by side."""


@dataclass(frozen=True)
class Result:
    """What LoadGen found."""

    scenario: Scenario
    valid: bool
    reason: str
    """Why it is INVALID, in LoadGen's words; empty for a VALID run."""
    figures: Mapping[str, object]
    """Every key of its log."""
    latencies_ms: list[float] = field(default_factory=list, repr=False)
    """SingleStream: each query as we timed it, in order."""

    def number(self, key: str) -> float | None:
        """A figure of the log, when there."""
        value = self.figures.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def milliseconds(self, key: str) -> float | None:
        """A figure that the log has in nanoseconds; LoadGen writes 0 where it has none."""
        value = self.number(key)
        return value / 1e6 if value else None

    @property
    def limitation(self) -> str:
        """Why this run proves nothing; empty when it does."""
        return "" if self.valid else f"LoadGen calls its {self.scenario} run INVALID: {self.reason}"


def run(stream: Stream, settings: Settings, folder: Path) -> Result:
    """Run one scenario against a model.

    Args:
        stream: The model.
        settings: What is run.
        folder: Where LoadGen's logs go; made here.

    Raises:
        EvidenceError: The model fails on a request, or LoadGen leaves no log.
    """
    import mlperf_loadgen as loadgen

    folder.mkdir(parents=True, exist_ok=True)
    issuer = ISSUERS[settings.scenario](stream, settings.workers)
    samples = len(stream.prepared)
    library = loadgen.ConstructQSL(samples, samples, lambda indices: None, lambda indices: None)
    system = loadgen.ConstructSUT(issuer.issue, issuer.flush)
    try:
        loadgen.StartTestWithLogSettings(system, library, _test_settings(settings), _log_settings(folder), "")
    finally:
        issuer.close()
        loadgen.DestroySUT(system)
        loadgen.DestroyQSL(library)
    if issuer.failure is not None:
        raise _in_words(stream, issuer)
    figures = read_log(folder / "mlperf_log_detail.txt")
    return Result(settings.scenario, figures.get("result_validity") == "VALID", _reason(figures), figures, issuer.times)


def _in_words(stream: Stream, issuer: Issuer) -> EvidenceError:
    if isinstance(issuer.failure, EvidenceError):
        return issuer.failure
    return EvidenceError(f"{stream.name}: {plain_line(f'{type(issuer.failure).__name__}: {issuer.failure}')}")


def _test_settings(given: Settings) -> Any:  # noqa: ANN401  # the library ships no types
    import mlperf_loadgen as loadgen

    made = loadgen.TestSettings()
    made.scenario = {
        Scenario.SINGLE_STREAM: loadgen.TestScenario.SingleStream,
        Scenario.MULTI_STREAM: loadgen.TestScenario.MultiStream,
        Scenario.SERVER: loadgen.TestScenario.Server,
        Scenario.OFFLINE: loadgen.TestScenario.Offline,
    }[given.scenario]
    made.mode = loadgen.TestMode.PerformanceOnly
    made.min_duration_ms, made.max_duration_ms = int(given.min_s * 1000), int(given.max_s * 1000)
    made.min_query_count = given.min_queries
    made.qsl_rng_seed, made.sample_index_rng_seed, made.schedule_rng_seed = (given.seed + n for n in (1, 2, 3))
    made.single_stream_target_latency_percentile = PERCENTILE
    made.multi_stream_target_latency_percentile = PERCENTILE
    made.server_target_latency_percentile = PERCENTILE
    # LoadGen plans its queries ahead: half the expected latency plans twice as many as are likely to be needed.
    made.single_stream_expected_latency_ns = max(1, int(given.expected_ms * 1e6 / 2))
    made.multi_stream_expected_latency_ns = max(1, int(given.expected_ms * given.samples_per_query * 1e6 / 2))
    made.multi_stream_samples_per_query = given.samples_per_query
    made.offline_expected_qps = made.server_target_qps = given.expected_qps
    made.server_target_latency_ns = int(given.latency_bound_ms * 1e6)
    return made


def _log_settings(folder: Path) -> Any:  # noqa: ANN401  # the library ships no types
    import mlperf_loadgen as loadgen

    output, made = loadgen.LogOutputSettings(), loadgen.LogSettings()
    output.outdir, output.copy_summary_to_stdout = str(folder), False
    made.log_output, made.enable_trace = output, False
    return made


def read_log(path: Path) -> dict[str, object]:
    """The figures of a `mlperf_log_detail.txt`, by key; of a repeated key the last.

    Raises:
        EvidenceError: There is none, or it is not LoadGen's.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        entries = [json.loads(line.removeprefix(_PREFIX)) for line in lines if line.startswith(_PREFIX)]
        figures = {str(entry["key"]): entry["value"] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise EvidenceError(f"LoadGen's log cannot be read: {plain_line(str(err))}") from err
    if "result_validity" not in figures:
        raise EvidenceError("LoadGen ended without a result")
    return figures


def _reason(figures: Mapping[str, object]) -> str:
    """Why a run is INVALID, in LoadGen's words."""
    if figures.get("result_validity") == "VALID":
        return ""
    unmet = [
        words
        for key, words in (
            ("result_perf_constraints_met", "the latency bound was not kept"),
            ("result_min_duration_met", "it was shorter than the least duration"),
            ("result_min_queries_met", "it had fewer queries than the least number"),
            ("early_stopping_met", "early stopping is not satisfied"),
        )
        if figures.get(key) is False
    ]
    told = [str(figures.get(key) or "").replace("*", "") for key in ("result_invalid_reason", "early_stopping_result")]
    return plain_line("; ".join([*unmet, *(text for text in told if text.strip())]) or "it gives no reason", limit=600)
