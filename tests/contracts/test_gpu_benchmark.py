"""The benchmark with a real onnxruntime, on the CPU of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device, Evidence, Metric
from tests.support.models import a_graph, an_onnx_model
from tests.support.validation import evidence_about

pytestmark = pytest.mark.contract

_QUICK = {"duration_s": 0.4, "warm_up_s": 0.5, "ratio_precision": 0.1, "threads": 1, "processes": 2}
_FAST, _SLOW = an_onnx_model(inputs=8), an_onnx_model(inputs=512, layers=24)
_TAILS = ("latency_p99_observed", "latency_p99.9")
"""How many requests there are, and so which of these, the machine's speed decides."""


def _benchmark(
    folder: Path, files: dict[str, bytes], champion: dict[str, bytes] | None = None, **changes: object
) -> Evidence:
    changes = {"parameters": _QUICK, "allow_cpu": True, **changes}
    return evidence_about(files, folder, validator="gpu_benchmark", champion=champion, **changes)


def _metric(evidence: Evidence, name: str) -> Metric:
    metric = evidence.metric(name)
    assert metric is not None, name
    return metric


@pytest.fixture(scope="module")
def slow_against_fast(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A slow candidate beside a fast champion."""
    return _benchmark(tmp_path_factory.mktemp("pair"), {"model.onnx": _SLOW}, {"model.onnx": _FAST})


def test_every_figure_has_its_unit_and_the_champions_beside_it(slow_against_fast: Evidence) -> None:
    units = {metric.name: metric.unit for metric in slow_against_fast.metrics if metric.name not in _TAILS}
    assert units == {
        "latency_p50": "ms",
        "latency_p90": "ms",
        "latency_p95": "ms",
        "latency_p99": "ms",
        "throughput": "requests/s",
        "offline_throughput": "samples/s",
        "peak_memory": "MiB",
        "load_time": "ms",
        "harness_overhead": "ms",
    }
    alone = {metric.name for metric in slow_against_fast.metrics if metric.baseline is None}
    assert alone == {"offline_throughput", "harness_overhead"}
    assert slow_against_fast.limitations == ()


def test_a_slower_model_measures_slower_than_its_champion(slow_against_fast: Evidence) -> None:
    p50, throughput = _metric(slow_against_fast, "latency_p50"), _metric(slow_against_fast, "throughput")
    assert p50.baseline is not None
    assert throughput.baseline is not None
    assert p50.value > 3 * p50.baseline
    assert throughput.value < throughput.baseline / 3
    for metric, least in ((p50, 3.0), (throughput, 0.0)):
        assert metric.ratio is not None
        assert least < metric.ratio.low <= metric.ratio.value <= metric.ratio.high
        assert metric.ratio.noise < 0.5
    assert throughput.ratio is not None
    assert throughput.ratio.high < 1 / 3


def test_the_p99_is_loadgens_estimate_and_not_below_the_observed_one(slow_against_fast: Evidence) -> None:
    p99 = _metric(slow_against_fast, "latency_p99")
    assert p99.samples is not None
    assert p99.samples >= 662
    assert slow_against_fast.environment["loadgen"] == "single_stream: VALID; offline: VALID"


def test_every_latency_is_in_a_table(slow_against_fast: Evidence) -> None:
    (table,) = slow_against_fast.attachments
    rows = [line.split(",") for line in table.text.splitlines()]
    assert (table.name, table.media_type, rows[0]) == ("latencies.csv", "text/csv", ["stream", "block", "ms"])
    streams = {row[0] for row in rows[1:]}
    assert streams >= {"candidate", "champion", "champion_itself_1", "champion_itself_2", "candidate_single_stream"}
    assert all(float(row[2]) > 0 for row in rows[1:])


def test_percentiles_are_ordered_and_inside_their_intervals(slow_against_fast: Evidence) -> None:
    names = ["latency_p50", "latency_p90", "latency_p95", *_TAILS]
    found = [metric for name in names if (metric := slow_against_fast.metric(name))]
    assert len(found) >= 3
    assert [metric.value for metric in found] == sorted(metric.value for metric in found)
    for metric in found:
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low <= metric.value <= metric.high
        assert metric.samples is not None
        assert metric.samples >= 200


def test_a_tail_that_the_requests_do_not_tell_is_named_and_no_limitation(slow_against_fast: Evidence) -> None:
    told, _, missing = slow_against_fast.environment["latency.percentiles"].partition("; they are too few for ")
    for name in _TAILS:
        short = name.removeprefix("latency_").removesuffix("_observed")
        is_there = slow_against_fast.metric(name) is not None
        assert is_there == (short in told.replace(",", "").split())
        assert is_there != (short in missing.split(", "))
    assert slow_against_fast.limitations == ()


def test_the_harness_costs_less_than_a_millisecond(slow_against_fast: Evidence) -> None:
    assert 0 < _metric(slow_against_fast, "harness_overhead").value < 1


def test_the_figures_say_what_they_were_measured_on(slow_against_fast: Evidence) -> None:
    environment = slow_against_fast.environment
    assert slow_against_fast.device is Device.CPU
    assert environment["runtime"].startswith("onnxruntime ")
    assert environment["inputs"] == "x: float32[1, 512]"
    assert environment["threads"] == "1"
    assert environment["warm_up.candidate"].startswith("settled")
    for lock in ("limits", "capabilities", "landlock", "seccomp"):
        assert environment[f"model_process.confinement.{lock}"].startswith("in force")


def test_without_a_gpu_and_without_leave_to_use_the_cpu_there_are_no_figures(tmp_path: Path) -> None:
    evidence = _benchmark(tmp_path, {"model.onnx": _FAST}, allow_cpu=False)
    assert evidence.metrics == ()
    assert evidence.device is Device.NONE
    assert evidence.limitations[0].startswith("no GPU was available")


def test_an_invalid_loadgen_run_is_a_limitation_and_its_p99_only_a_least_value(tmp_path: Path) -> None:
    few = {**_QUICK, "min_queries": 10, "duration_s": 0.001, "warm_up_s": 0.0}
    evidence = _benchmark(tmp_path, {"model.onnx": _SLOW}, parameters=few)
    (limitation,) = evidence.limitations
    assert limitation.startswith("candidate: LoadGen calls its single_stream run INVALID: early stopping is not")
    assert "Need to process at least 662 queries" in limitation
    p99 = _metric(evidence, "latency_p99")
    assert (p99.low, p99.high) == (p99.value, None)


def test_a_target_rate_is_met_within_its_latency_bound_or_the_run_is_invalid(tmp_path: Path) -> None:
    target = {**_QUICK, "scenarios": ["multi_stream"], "server_target_qps": 500.0}
    kept = _benchmark(tmp_path / "kept", {"model.onnx": _FAST}, parameters={**target, "server_latency_ms": 500.0})
    assert kept.limitations == ()
    assert _metric(kept, "server_qps").value > 250
    assert _metric(kept, "server_latency_p99").value < 500
    assert _metric(kept, "multi_stream_latency_p99").value > 0
    missed = _benchmark(tmp_path / "missed", {"model.onnx": _FAST}, parameters={**target, "server_latency_ms": 0.001})
    assert missed.metric("server_qps") is None
    assert "server run INVALID: the latency bound was not kept" in missed.limitations[0]


def test_the_policy_sets_batch_and_other_open_dimensions(tmp_path: Path) -> None:
    evidence = _benchmark(tmp_path, {"model.onnx": _FAST}, parameters={**_QUICK, "batch_size": 16})
    assert evidence.environment["inputs"] == "x: float32[16, 8]"


def test_of_several_models_the_named_one_is_measured(tmp_path: Path) -> None:
    files = {"a/first.onnx": _FAST, "b/second.onnx": _SLOW}
    with pytest.raises(EvidenceError, match="candidate: the artifact has 2 ONNX files"):
        _benchmark(tmp_path / "unnamed", files)
    evidence = _benchmark(tmp_path / "named", files, parameters={**_QUICK, "model": "a/first.onnx"})
    assert [item.path for item in evidence.coverage] == ["a/first.onnx"]


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"minimal_queries": 5}, "parameter minimal_queries: Extra inputs are not permitted"),
        ({"duration_s": -1}, "parameter duration_s: Input should be greater than 0"),
        ({"server_target_qps": 5}, "parameters: Value error, server_target_qps and server_latency_ms go together"),
        ({"model": "../../etc/x.onnx"}, "candidate: the artifact has no file '../../etc/x.onnx'"),
    ],
)
def test_a_wrong_parameter_is_named(tmp_path: Path, parameters: dict[str, object], words: str) -> None:
    with pytest.raises(EvidenceError, match=words.replace(".", r"\.")):
        _benchmark(tmp_path, {"model.onnx": _FAST}, parameters=parameters)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x08\x08 no model", r"candidate: onnxruntime cannot load model\.onnx"),
        (a_graph([]), r"candidate: onnxruntime cannot load model\.onnx"),
    ],
)
def test_a_model_that_does_not_load_is_an_error_in_words(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(EvidenceError, match=words):
        _benchmark(tmp_path, {"model.onnx": data})


def test_a_broken_champion_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="champion: onnxruntime cannot load"):
        _benchmark(tmp_path, {"model.onnx": _FAST}, {"model.onnx": b"\x08\x08 no model"})
