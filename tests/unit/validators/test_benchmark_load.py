"""Concurrency, soak, batch sweep and cold start, against a fake server."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Metric, Severity
from model_approval.validators.gpu_benchmark.cold_start import measure_cold_starts
from model_approval.validators.gpu_benchmark.concurrency import check_concurrency
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import SoakParameters, SweepParameters
from model_approval.validators.gpu_benchmark.launcher import Started
from model_approval.validators.gpu_benchmark.soak import Sample, growth, soak
from model_approval.validators.gpu_benchmark.sweep import sweep_batches
from tests.support.v2_server import V2Server, doubled, http, v2_server

pytestmark = pytest.mark.unit
_MIB = 1024**2


def _inputs(batch: int = 1, fill: float = 1.0) -> dict[str, np.ndarray]:
    return {"x": np.full((batch, 4), fill, np.float32)}


_SEVERAL = [_inputs(fill=float(number)) for number in range(4)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[V2Server]:
    with v2_server(tmp_path) as server:
        yield server


@pytest.fixture
def endpoint(server: V2Server) -> Iterator[Endpoint]:
    with closing(Endpoint.at(server.where, timeout_s=5.0)) as endpoint:
        yield endpoint


def _by_name(metrics: tuple[Metric, ...]) -> dict[str, Metric]:
    return {metric.name: metric for metric in metrics}


# concurrency


def test_many_clients_at_once_get_what_one_alone_gets(endpoint: Endpoint) -> None:
    found = check_concurrency(endpoint, _SEVERAL, 4)
    metrics = _by_name(found.metrics)
    assert found.findings == ()
    assert metrics["concurrent_throughput"].value > 0
    p99 = metrics.get("concurrent_latency_p99")
    assert (p99 is None) == ("too few for p99" in found.environment["concurrency.percentiles"])
    assert p99 is None or p99.high is not None
    assert found.environment["concurrency"] == "4 clients at once"
    assert metrics["concurrent_latency_p50"].samples == metrics["concurrent_throughput"].samples
    assert (metrics["concurrent_latency_p50"].samples or 0) >= 4 * len(_SEVERAL)


def test_a_slow_server_has_no_p99_of_a_few_answers(endpoint: Endpoint, server: V2Server) -> None:
    gate = threading.Event()

    def slow(head: str, body: bytes) -> bytes:
        gate.wait(0.05)
        return doubled(head, body)

    server.infer = slow
    found = check_concurrency(endpoint, _SEVERAL, 2)
    assert set(_by_name(found.metrics)) == {"concurrent_throughput", "concurrent_latency_p50"}
    assert found.environment["concurrency.percentiles"].endswith("requests allow p50; they are too few for p99")


def test_requests_that_fail_only_in_company_are_a_high_finding(endpoint: Endpoint, server: V2Server) -> None:
    at_once = threading.Semaphore(1)
    company = threading.Event()

    def alone(head: str, body: bytes) -> bytes:
        if not at_once.acquire(blocking=False):
            company.set()
            return http(503, b'{"error": "busy"}')
        try:
            company.wait(0.05)
            return doubled(head, body)
        finally:
            at_once.release()

    server.infer = alone
    (finding,) = check_concurrency(endpoint, _SEVERAL, 3).findings
    assert (finding.rule, finding.severity) == ("robustness.concurrency-errors", Severity.HIGH)
    assert "answered 503: busy" in finding.message


def test_answers_mixed_up_between_clients_are_a_high_finding(endpoint: Endpoint, server: V2Server) -> None:
    asked = iter(range(10**9))

    def mixed_up(head: str, body: bytes) -> bytes:
        honest = next(asked) < 2 * len(_SEVERAL)
        return doubled(head, body if honest else body[:-16] + np.full(4, 99, np.float32).tobytes())

    server.infer = mixed_up
    (finding,) = check_concurrency(endpoint, _SEVERAL, 2).findings
    assert finding.rule == "robustness.concurrency-results"


# soak


class Clock:
    """Moves on by itself, a little at each look."""

    def __init__(self, step_s: float) -> None:
        self.now, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now += self.step_s
        return self.now


def _memory(at: Callable[[int], float]) -> Callable[[], int]:
    looks = iter(range(10**9))
    return lambda: int(at(next(looks)) * _MIB)


def test_a_leak_has_its_slope_by_time_and_by_request(endpoint: Endpoint) -> None:
    found = soak(
        endpoint, _SEVERAL, _memory(lambda look: 100 + 0.1 * look), SoakParameters(duration_s=60), clock=Clock(0.15)
    )
    metrics = _by_name(found.metrics)
    growth_by_minute = metrics["memory_growth"]
    assert growth_by_minute.unit == "MiB/min"
    assert growth_by_minute.value == pytest.approx(40, rel=0.05)  # 400 looks of 0.1 MiB in a minute
    assert growth_by_minute.low is not None
    assert growth_by_minute.low > 30
    assert metrics["memory_growth_by_request"].value == pytest.approx(100, rel=0.05)  # one look each request


def test_memory_that_grows_at_the_start_alone_does_not_grow(endpoint: Endpoint) -> None:
    memory = _memory(lambda look: 100 + min(look, 80))
    metrics = _by_name(soak(endpoint, _SEVERAL, memory, SoakParameters(duration_s=60), clock=Clock(0.15)).metrics)
    assert metrics["memory_growth"].value == 0
    assert (metrics["memory_growth"].low, metrics["memory_growth"].high) == (0, 0)


def test_the_gpus_memory_has_its_own_slope(endpoint: Endpoint) -> None:
    host, gpu = _memory(lambda look: 100), _memory(lambda look: 8000 + look)
    found = soak(endpoint, _SEVERAL, host, SoakParameters(duration_s=60), gpu_bytes=gpu, clock=Clock(0.15))
    metrics = _by_name(found.metrics)
    assert metrics["memory_growth"].value == 0
    assert metrics["gpu_memory_growth"].value == pytest.approx(400, rel=0.05)


def test_a_gpu_that_does_not_tell_its_memory_has_no_growth_and_that_is_a_limitation(endpoint: Endpoint) -> None:
    host = _memory(lambda look: 100)
    found = soak(endpoint, _SEVERAL, host, SoakParameters(duration_s=60), gpu_bytes=lambda: None, clock=Clock(0.15))
    assert set(_by_name(found.metrics)) == {"memory_growth", "memory_growth_by_request"}
    (limitation,) = found.limitations
    assert "NVML did not tell the GPU's memory in use" in limitation


@given(st.floats(0.01, 5), st.integers(0, 2**32))
@settings(deadline=None)  # a busy machine is no failure
def test_a_slope_is_found_under_noise(slope: float, seed: int) -> None:
    noise = np.random.default_rng(seed).normal(scale=0.5, size=400)
    samples = [Sample(0.15 * look, look, int((1000 + slope * look + jump) * _MIB)) for look, jump in enumerate(noise)]
    found = _by_name(growth(samples).metrics)["memory_growth"]
    assert found.value == pytest.approx(slope * 400, abs=3)
    assert found.low is not None
    assert found.low > 0 or slope < 0.02


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ([], "too short to tell"),
        ([Sample(0.01 * look, look, _MIB) for look in range(400)], r"the soak of 3\.99 s .* too short to tell"),
        ([Sample(look, look, _MIB) for look in range(0, 60, 3)], "too short to tell"),
        ([Sample(look, 3, _MIB) for look in range(60)], "too short to tell"),
        ([Sample(look, look, 0) for look in range(60)], "process cannot be seen"),
    ],
)
def test_a_soak_that_cannot_tell_is_a_limitation_and_no_metric(samples: list[Sample], words: str) -> None:
    found = growth(samples)
    assert found.metrics == ()
    (limitation,) = found.limitations
    assert re.search(words, limitation)


# sweep


def test_each_batch_size_has_its_latency_and_throughput_and_the_best_is_named(
    endpoint: Endpoint, server: V2Server
) -> None:
    wanted = SweepParameters(batch_sizes=(4, 1, 2), duration_s=0.03)
    found = sweep_batches(endpoint, _inputs, wanted, seed=1)
    metrics = _by_name(found.metrics)
    for size in (1, 2, 4):
        assert metrics[f"batch_{size}_latency_p50"].value > 0
        assert metrics[f"batch_{size}_throughput"].unit == "samples/s"
        assert (metrics[f"batch_{size}_throughput"].samples or 0) >= 6
    best = int(metrics["best_batch_size"].value)
    assert metrics["best_batch_throughput"].value == metrics[f"batch_{best}_throughput"].value
    assert metrics["best_batch_throughput"].value == max(
        metrics[f"batch_{size}_throughput"].value for size in (1, 2, 4)
    )
    (table,) = found.attachments
    assert [line.split(",")[0] for line in table.text.splitlines()] == ["batch_size", "1", "2", "4"]


def test_sizes_that_the_server_refuses_end_the_sweep_and_are_told(endpoint: Endpoint, server: V2Server) -> None:
    server.infer = lambda head, body: http(413, b'{"error": "too large"}') if len(body) > 300 else doubled(head, body)
    found = sweep_batches(endpoint, _inputs, SweepParameters(batch_sizes=(1, 2, 64), duration_s=0.01), seed=1)
    assert "batch_64_throughput" not in _by_name(found.metrics)
    assert (
        "batch size 64 is refused: candidate: the model's server answered 413"
        in found.environment["batch_sweep.refused"]
    )


def test_a_model_with_a_fixed_batch_is_not_swept(endpoint: Endpoint, server: V2Server) -> None:
    server.metadata["inputs"] = [{"name": "x", "datatype": "FP32", "shape": [1, 4]}]
    found = sweep_batches(endpoint, _inputs, SweepParameters(), seed=1)
    assert (found.metrics, found.limitations) == ((), ("no batch sweep: the model's signature fixes the batch size",))


# cold start


class Starting:
    """A server that is there already; it was started so long ago as is said."""

    def __init__(self, where: str, ago_s: float = 1.0) -> None:
        self.where, self.ago_s, self.running, self.starts, self.ended = where, ago_s, False, 0, False

    def start(self) -> Started:
        assert not self.running
        self.running, self.starts = True, self.starts + 1
        return Started(socket=self.where, at_s=time.perf_counter() - self.ago_s)

    def look(self) -> None:
        if self.ended:
            raise EvidenceError("cold start: the model's server ended with SIGSEGV")

    def stop(self) -> None:
        self.running = False


def test_a_cold_start_lasts_from_the_process_to_its_first_answer(server: V2Server) -> None:
    starts = Starting(server.where)
    cold, ready, penalty = measure_cold_starts(starts, _inputs(), 3)
    assert (cold.name, ready.name, penalty.name) == ("cold_start", "cold_start_ready", "first_inference_penalty")
    assert cold.value >= ready.value >= 1000
    assert (cold.unit, cold.samples, starts.starts, starts.running) == ("ms", 3, 3, False)


def test_the_first_inference_is_held_against_the_later_ones(server: V2Server) -> None:
    gate, asked = threading.Event(), iter(range(10**9))

    def slow_at_first(head: str, body: bytes) -> bytes:
        if next(asked) == 0:
            gate.wait(0.1)
        return doubled(head, body)

    server.infer = slow_at_first
    *_, penalty = measure_cold_starts(Starting(server.where), _inputs(), 1)
    assert penalty.value > 50


def test_a_server_that_ends_before_it_is_ready_is_told_at_once(tmp_path: Path) -> None:
    starts = Starting(str(tmp_path / "none"))
    starts.ended = True
    with pytest.raises(EvidenceError, match="ended with SIGSEGV"):
        measure_cold_starts(starts, _inputs(), 1)


def test_a_server_that_never_gets_ready_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match=r"not ready within 0\.1 s"):
        measure_cold_starts(Starting(str(tmp_path / "none"), ago_s=1.0), _inputs(), 1, longest_s=0.1)
