"""From samples and LoadGen's log to metrics, limitations and the table."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.figures import (
    Samples,
    latency_metrics,
    least_p99,
    loadgen_metrics,
    ratio_of,
    throughput_metric,
)
from model_approval.validators.gpu_benchmark.inputs import concrete_shape, made_up_inputs
from model_approval.validators.gpu_benchmark.loadgen import Result, Scenario, read_log
from model_approval.validators.gpu_benchmark.open_inference import Metadata, TensorInfo
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.ratio import Estimate
from model_approval.validators.gpu_benchmark.statistics import percentile
from model_approval.validators.gpu_benchmark.table import MOST_ROWS, latency_table
from model_approval.validators.gpu_benchmark.warm_up import warm_up

pytestmark = pytest.mark.unit

_MINE, _THEIRS = Samples([[1.0, 2.0], [3.0]], [300.0, 100.0, 200.0]), Samples([[10.0]], [50.0])
_MANY = Samples([[float(number) for number in range(1, 6001)]], [300.0])
_ESTIMATE = Estimate(1.02, 0.99, 1.05)


def test_the_champions_percentiles_stand_beside_the_candidates() -> None:
    p50, p90, p95, p99, p999 = latency_metrics(_MANY, _THEIRS)
    assert (p50.name, p50.value, p50.baseline, p50.unit, p50.samples) == ("latency_p50", 3000.5, 10.0, "ms", 6000)
    assert {metric.baseline for metric in (p90, p95, p99, p999)} == {None}, "of one request nobody knows a tail"
    assert p99.high is not None
    assert [metric.name for metric in (p90, p95, p99, p999)] == [
        "latency_p90",
        "latency_p95",
        "latency_p99_observed",
        "latency_p99.9",
    ]


def test_a_percentile_that_the_requests_do_not_tell_is_left_out() -> None:
    lucky = Samples([[1.0] * 60], [900.0])
    assert [metric.name for metric in latency_metrics(lucky, None)] == ["latency_p50", "latency_p90"]
    assert [metric.name for metric in latency_metrics(_MINE, None)] == ["latency_p50"]


def test_without_a_champion_there_is_no_baseline() -> None:
    found = [*latency_metrics(_MINE, None), throughput_metric(_MINE, None)]
    assert {metric.baseline for metric in found} == {None}


def test_only_the_p50_and_the_throughput_have_a_ratio() -> None:
    ratio = ratio_of(_ESTIMATE, Estimate(0.98, 0.97, 0.99), usable=True)
    assert ratio is not None
    assert (ratio.value, ratio.low, ratio.high) == (1.02, 0.99, 1.05)
    assert ratio.noise == pytest.approx(0.02)
    assert [metric.name for metric in latency_metrics(_MINE, _THEIRS, ratio) if metric.ratio] == ["latency_p50"]
    assert throughput_metric(_MINE, _THEIRS, ratio).ratio == ratio


@pytest.mark.parametrize(
    ("found", "noise", "usable"), [(None, _ESTIMATE, True), (_ESTIMATE, None, True), (_ESTIMATE, _ESTIMATE, False)]
)
def test_without_rounds_noise_floor_or_settled_warm_up_there_is_no_ratio(
    found: Estimate | None, noise: Estimate | None, usable: bool
) -> None:
    assert ratio_of(found, noise, usable=usable) is None


def test_the_throughput_is_the_median_burst() -> None:
    found = throughput_metric(_MINE, _THEIRS)
    assert (found.value, found.baseline, found.unit) == (200.0, 50.0, "requests/s")


def a_result(scenario: Scenario, *, valid: bool = True, **figures: object) -> Result:
    return Result(scenario, valid, "" if valid else "too short", figures)


def test_loadgens_estimate_is_the_p99_and_the_champions_its_baseline() -> None:
    mine = a_result(Scenario.SINGLE_STREAM, early_stopping_latency_ss=5_000_000, result_query_count=800)
    theirs = a_result(Scenario.SINGLE_STREAM, early_stopping_latency_ss=4_000_000)
    (p99,) = loadgen_metrics([mine], [theirs])
    assert (p99.name, p99.value, p99.baseline, p99.unit, p99.samples) == ("latency_p99", 5.0, 4.0, "ms", 800)


def test_the_offline_figure_counts_samples_and_not_requests() -> None:
    offline = a_result(Scenario.OFFLINE, result_samples_per_second=100.0)
    (found,) = loadgen_metrics([offline], [], batch_size=16)
    assert (found.name, found.value, found.unit) == ("offline_throughput", 1600.0, "samples/s")


def test_a_model_too_slow_for_enough_requests_has_a_p99_of_at_least_what_was_seen() -> None:
    slow = Samples([[80.0 + number for number in range(40)]], [12.0])
    invalid = a_result(Scenario.SINGLE_STREAM, valid=False)
    (p99,) = least_p99(slow, [invalid])
    assert p99.name == "latency_p99"
    assert 115 <= p99.value < percentile([80.0 + number for number in range(40)], 0.99)
    (few,) = least_p99(Samples([[80.0, 90.0]], [12.0]), [invalid])
    assert few.value == 80.0


def test_loadgens_own_estimate_needs_no_stand_in() -> None:
    valid = a_result(Scenario.SINGLE_STREAM, early_stopping_latency_ss=5_000_000)
    assert least_p99(_MINE, [valid]) == []
    assert least_p99(_MINE, [a_result(Scenario.OFFLINE)]) == []


@pytest.mark.parametrize("scenario", list(Scenario))
def test_an_invalid_run_has_no_figures_and_says_why(scenario: Scenario) -> None:
    run = a_result(scenario, valid=False, early_stopping_latency_ss=1, result_samples_per_second=1.0)
    assert loadgen_metrics([run], []) == []
    assert run.limitation == f"LoadGen calls its {scenario} run INVALID: too short"


def test_loadgens_log_is_read_line_by_line(tmp_path: Path) -> None:
    entries = [("result_validity", "VALID"), ("result_query_count", 7)]
    lines = [f":::MLLOG {json.dumps({'key': key, 'value': value})}" for key, value in entries]
    (tmp_path / "log").write_text("\n".join([*lines, "something else"]))
    assert read_log(tmp_path / "log") == {"result_validity": "VALID", "result_query_count": 7}


@pytest.mark.parametrize("text", ["", ":::MLLOG {", ':::MLLOG {"value": 1}', ":::MLLOG []", None])
def test_a_log_without_a_result_is_an_error(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "log").write_text(text)
    with pytest.raises(EvidenceError, match="LoadGen"):
        read_log(tmp_path / "log")


def test_a_long_table_is_thinned_out_evenly_and_the_same_way_each_time() -> None:
    streams = {"candidate": [[float(number) for number in range(1, 101)]] * 500, "champion": [[1.0]] * 10_000}
    table = latency_table(streams)
    rows = [line.split(",") for line in table.text.splitlines()[1:]]
    assert MOST_ROWS / 2 < len(rows) <= MOST_ROWS
    assert {row[0] for row in rows} == {"candidate", "champion"}
    assert int([row for row in rows if row[0] == "candidate"][-1][1]) > 490
    assert table == latency_table(streams)


def test_a_short_table_is_whole() -> None:
    assert latency_table({"a": [[1.5, 2.25], [3.0]]}).text == "stream,block,ms\na,0,1.5\na,0,2.25\na,1,3\n"


class Model:
    """A stream that answers with given latencies; its clock is the time it has taken."""

    name = "candidate"

    def __init__(self, *latencies_ms: float) -> None:
        self.left, self.asked, self.now_s = list(latencies_ms), 0, 0.0

    def block(self, queries: int) -> list[float]:
        self.asked += queries
        taken = [self.left.pop(0) if len(self.left) > 1 else self.left[0] for _ in range(queries)]
        self.now_s += sum(taken) / 1000
        return taken

    def start(self, choice: float) -> None:
        pytest.fail("a warm-up starts no copies")

    def burst(self, queries: int) -> float:
        pytest.fail("a warm-up asks for no bursts")


def test_a_warm_up_ends_when_two_windows_agree() -> None:
    model = Model(*np.linspace(9.0, 1.0, 100), 1.0)
    found = warm_up(model, 10.0, clock=lambda: model.now_s)
    assert found.settled
    assert found.p50_ms == pytest.approx(1.0, rel=0.02)
    assert 100 <= found.queries == model.asked <= 160


def test_a_warm_up_that_never_settles_is_given_up_and_says_so() -> None:
    model = Model(*[1000 * 0.99**number for number in range(500)])
    found = warm_up(model, 20.0, clock=lambda: model.now_s)
    assert not found.settled
    assert found.words.startswith("not settled after")


def test_noise_that_no_two_windows_survive_is_not_taken_for_a_warm_up() -> None:
    model = Model(*[1.0] * 10, *([2.0] * 20 + [1.0] * 20) * 20)
    found = warm_up(model, 0.5, clock=lambda: model.now_s)
    assert found.settled
    assert found.noisy
    assert found.words.startswith("settled, as far as the noise tells, after")


def test_a_slow_model_warms_up_with_twenty_queries() -> None:
    model = Model(150.0)
    assert warm_up(model, 2.0, clock=lambda: model.now_s).settled
    assert model.asked == 20


def a_tensor(datatype: str = "FP32", shape: tuple[int, ...] = (-1, 4), names: tuple[str, ...] = ()) -> TensorInfo:
    return TensorInfo("x", datatype, shape, names)


def test_open_sizes_are_filled_by_name_else_the_first_is_the_batch() -> None:
    info = a_tensor(shape=(-1, -1, 3, -1), names=("batch", "length", "", ""))
    assert concrete_shape(info, batch_size=8, dimensions={"length": 128}) == (8, 128, 3, 1)
    assert concrete_shape(a_tensor(shape=(-1, -1)), batch_size=2, dimensions={"length": 128}) == (2, 1)


@pytest.mark.parametrize("datatype", ["FP16", "FP64", "INT64", "UINT8", "BOOL", "BYTES"])
def test_inputs_are_made_up_the_same_way_for_the_same_seed(datatype: str) -> None:
    metadata = Metadata("m", "p", (a_tensor(datatype),), (), {})
    one, two = (made_up_inputs(metadata, 3, batch_size=2, dimensions={}, seed=5) for _ in range(2))
    assert len(one) == 3
    assert one[0]["x"].shape == (2, 4)
    for first, second in zip(one, two, strict=True):
        np.testing.assert_array_equal(first["x"], second["x"])


def test_an_input_of_an_unknown_type_is_named() -> None:
    metadata = Metadata("m", "p", (a_tensor("COMPLEX64"),), (), {})
    with pytest.raises(EvidenceError, match="input 'x' is of type 'COMPLEX64'"):
        made_up_inputs(metadata, 1, batch_size=1, dimensions={}, seed=0)


@pytest.mark.parametrize(
    ("given", "latency", "throughput"),
    [
        ({}, 0.02, 0.02),
        ({"ratio_limits": {}}, 0.1, 0.1),
        ({"ratio_limits": {"latency_p50": 1.05, "throughput": 0.8}}, 0.0195, 0.0893),
        ({"ratio_limits": {"latency_p50": 1.0}}, 0.005, 0.1),
        ({"ratio_limits": {"latency_p50": 3.0}}, 0.1, 0.1),
        ({"ratio_limits": {"latency_p50": 1.05}, "ratio_precision": 0.3}, 0.3, 0.3),
    ],
)
def test_a_ratio_is_measured_as_exactly_as_its_limit_asks(
    given: dict[str, object], latency: float, throughput: float
) -> None:
    parameters = Parameters.model_validate(given)
    assert parameters.precision("latency_p50") == pytest.approx(latency, abs=1e-4)
    assert parameters.precision("throughput") == pytest.approx(throughput, abs=1e-4)


def test_the_page_about_the_benchmark_names_every_metric() -> None:
    page = (Path(__file__).resolve().parents[3] / "include/docs/benchmark.md").read_text(encoding="utf-8")
    runs = [
        a_result(scenario, early_stopping_latency_ss=1, early_stopping_latency_ms=1, result_samples_per_second=1.0)
        for scenario in (Scenario.SINGLE_STREAM, Scenario.MULTI_STREAM, Scenario.OFFLINE)
    ]
    found = [*latency_metrics(_MANY, None), throughput_metric(_MINE, None), *loadgen_metrics(runs, [])]
    missing = [metric.name for metric in found if metric.name.removeprefix("latency") not in page]
    assert missing == []
