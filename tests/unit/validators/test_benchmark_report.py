"""What a finished benchmark reports, from made-up measurements and a fake server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from model_approval.domain.evidence import Device
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.figures import Samples
from model_approval.validators.gpu_benchmark.gpu import GpuSample
from model_approval.validators.gpu_benchmark.interleave import Block, Comparison
from model_approval.validators.gpu_benchmark.loadgen import Result, Scenario
from model_approval.validators.gpu_benchmark.measure import Measured
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.report import Run, Served, report_of
from model_approval.validators.gpu_benchmark.stream import Stream
from model_approval.validators.gpu_benchmark.warm_up import WarmedUp
from model_approval.validators.gpu_benchmark.watch import Watched
from tests.support.v2_server import V2Server, v2_server

pytestmark = pytest.mark.unit


@dataclass
class Process:
    """Stands for a server process that is up."""

    where: str
    name: str = "candidate"
    load_s: float = 0.5

    def endpoint(self) -> Endpoint:
        return Endpoint.at(self.where, who=self.name, timeout_s=5.0)

    def peak_memory_bytes(self) -> int:
        return 64 * 1024**2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[V2Server]:
    with v2_server(tmp_path) as server:
        yield server


def a_comparison(candidate_ms: float, champion_ms: float) -> Comparison:
    pair = Block([candidate_ms] * 5, 1e3 / candidate_ms), Block([champion_ms] * 5, 1e3 / champion_ms)
    found = Comparison("candidate", "champion", 0, [pair] * 40)
    found.estimate(100)
    return found


@contextmanager
def a_run(server: V2Server, *, settled: bool = True, champion_is_valid: bool = True) -> Iterator[Run]:
    served = [Served.of(Process(server.where, name)) for name in ("candidate", "champion")]  # type: ignore[arg-type]
    samples, theirs = Samples([[1.1] * 5] * 40, [900.0] * 40), Samples([[1.0] * 5] * 40, [1000.0] * 40)
    single = Result(Scenario.SINGLE_STREAM, True, "", {"early_stopping_latency_ss": 1_500_000}, [1.2, 1.3])
    measured = Measured(samples, theirs, a_comparison(1.0, 1.0), a_comparison(1.1, 1.0))
    measured.warm_ups = {"candidate": WarmedUp(1.1, 40, settled)}
    measured.runs = [single]
    measured.champion_runs = [replace(single, valid=champion_is_valid, reason="" if champion_is_valid else "too slow")]
    endpoint = served[0].server.endpoint()
    yield Run(
        parameters=Parameters(),
        seed=0,
        threads=1,
        served=served,
        streams=[Stream("candidate", endpoint, [], in_flight=1)],
        measured=measured,
        watched=Watched({"load": "0"}, []),
        gpu_idle=GpuSample(),
        gpu_memory=None,
        machine={"cpu": "test"},
    )
    endpoint.close()


def test_a_benchmark_tells_figures_ratios_machine_and_table(server: V2Server) -> None:
    with a_run(server) as run:
        report = report_of(run)
    metrics = {metric.name: metric for metric in report.metrics}
    p50 = metrics["latency_p50"]
    assert p50.ratio is not None
    assert (p50.value, p50.baseline, round(p50.ratio.value, 6), p50.ratio.noise) == (1.1, 1.0, 1.1, 0.0)
    assert (metrics["latency_p99"].value, metrics["peak_memory"].value, metrics["load_time"].value) == (1.5, 64.0, 500)
    assert report.device is Device.CPU
    assert report.limitations == ()
    assert report.environment["noise_floor"].startswith("champion against itself: p50 ratio 1.0000")
    assert report.environment["cpu"] == "test"
    assert report.environment["latency.percentiles"] == (
        "200 requests allow p50, p90, p95; they are too few for p99, p99.9"
    )
    assert "latency_p99_observed" not in metrics
    assert {line.split(",")[0] for line in report.attachments[0].text.splitlines()[1:]} == {
        "candidate",
        "champion",
        "champion_itself_1",
        "champion_itself_2",
        "candidate_single_stream",
    }


def test_a_model_that_did_not_settle_has_figures_but_no_ratio(server: V2Server) -> None:
    with a_run(server, settled=False) as run:
        report = report_of(run)
    assert all(metric.ratio is None for metric in report.metrics)
    assert report.environment["warm_up.candidate"].startswith("not settled")


def test_a_champion_too_slow_for_loadgen_does_not_hold_back_the_candidate(server: V2Server) -> None:
    with a_run(server, champion_is_valid=False) as run:
        report = report_of(run)
    assert report.limitations == ()
    assert "INVALID: too slow" in report.environment["loadgen.champion.single_stream"]


def _with_limit(run: Run, **changes: object) -> Run:
    return replace(run, parameters=Parameters(ratio_limits={"latency_p50": 1.05}), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "changes", "words"),
    [
        ({"champion_is_valid": False}, {}, "champion: LoadGen calls its single_stream run INVALID: too slow"),
        ({"settled": False}, {}, "no ratio to the champion: still warming up after 2 s were candidate (not settled"),
        ({}, {"processes": (1, 1), "processes_note": "no memory"}, "since there was one: no memory (with the param"),
    ],
)
def test_what_keeps_a_relative_limit_from_being_judged_is_a_limitation_in_words(
    server: V2Server, made: dict[str, bool], changes: dict[str, object], words: str
) -> None:
    with a_run(server, **made) as run:
        (limitation,) = report_of(_with_limit(run, **{"processes": (2, 2), **changes})).limitations
    assert words in limitation


def test_too_few_rounds_for_a_ratio_are_told(server: V2Server) -> None:
    with a_run(server) as run:
        assert run.measured.comparison is not None
        run.measured.comparison.latency = None
        (limitation,) = report_of(_with_limit(run, processes=(2, 2))).limitations
    assert limitation.startswith("no ratio to the champion: too few rounds in 30 s")


def test_an_invalid_run_and_a_disturbed_machine_are_limitations(server: V2Server) -> None:
    with a_run(server) as run:
        run.measured.runs = [Result(Scenario.SINGLE_STREAM, False, "too few queries", {})]
        report = report_of(replace(run, watched=Watched({}, ["a noisy neighbour"])))
    assert report.limitations == (
        "candidate: LoadGen calls its single_stream run INVALID: too few queries "
        "(parameters min_queries 700, max_duration_s 30)",
        "a noisy neighbour",
    )


def test_a_champion_on_another_device_is_a_limitation(server: V2Server) -> None:
    with a_run(server) as run:
        run.served[1].device = Device.CUDA
        report = report_of(run)
    assert report.limitations == ("the champion ran on cuda, the candidate on cpu",)
