"""Whether the server answers as many clients at once as the policy says, and each of them rightly."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Finding, Metric, Severity
from model_approval.validators.gpu_benchmark.endpoint import Answer, Endpoint, Prepared
from model_approval.validators.gpu_benchmark.open_inference import Arrays
from model_approval.validators.gpu_benchmark.robustness import same_answer
from model_approval.validators.gpu_benchmark.statistics import bears, percentile, percentile_interval, told

_ABOUT_S = 1.0
_MOST_ROUNDS = 100
_PERCENTILES = (50, 99)


@dataclass(frozen=True)
class Concurrency:
    """What the clients found."""

    metrics: tuple[Metric, ...]
    findings: tuple[Finding, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)


@dataclass
class _Client(threading.Thread):
    """One client: asks every request in turn, starting at its own place, and compares with the sequential answers."""

    endpoint: Endpoint
    requests: Sequence[Prepared]
    expected: Sequence[Answer]
    turns: Sequence[int]
    start_line: threading.Barrier
    latencies_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    wrong: int = 0

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    __hash__ = threading.Thread.__hash__

    def run(self) -> None:
        with closing(self.endpoint):
            self.start_line.wait()
            for turn in self.turns:
                try:
                    self._ask(turn)
                except EvidenceError as err:
                    self.errors.append(err.message)

    def _ask(self, turn: int) -> None:
        begin = time.perf_counter_ns()
        answer = self.endpoint.infer(self.requests[turn])
        self.latencies_ms.append((time.perf_counter_ns() - begin) / 1e6)
        if not same_answer(answer, self.expected[turn]):
            self.wrong += 1


def check_concurrency(endpoint: Endpoint, inputs: Sequence[Arrays], clients: int) -> Concurrency:
    """Ask one after the other, then by many clients at once for about a second, and compare.

    Args:
        endpoint: The server; each client has a connection of its own.
        inputs: Different requests.
        clients: How many at once; each asks once at least, however slow the model is.

    Raises:
        EvidenceError: The server does not even answer one client.
    """
    with closing(endpoint.another()) as alone:
        requests = [alone.prepare(one) for one in inputs]
        begin = time.perf_counter()
        expected = [alone.infer(one) for one in requests]
        took_s = (time.perf_counter() - begin) / len(requests)
        repeatable = all(same_answer(alone.infer(one), before) for one, before in zip(requests, expected, strict=True))
    per_client = max(1, min(_MOST_ROUNDS * len(requests), round(_ABOUT_S / took_s / clients)))
    start_line = threading.Barrier(clients + 1)
    threads = [
        _Client(
            endpoint.another(), requests, expected,
            [(number + turn) % len(requests) for turn in range(per_client)], start_line,
        )
        for number in range(clients)
    ]  # fmt: skip
    elapsed_s = _run(threads, start_line)
    return Concurrency(_metrics(threads, elapsed_s), _findings(threads, repeatable), _environment(threads))


def _run(threads: Sequence[_Client], start_line: threading.Barrier) -> float:
    with ExitStack() as stack:
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        start_line.wait()
        begin = time.perf_counter()
    return time.perf_counter() - begin


def _metrics(threads: Sequence[_Client], elapsed_s: float) -> tuple[Metric, ...]:
    ordered = _latencies_ms(threads)
    if not ordered:
        return ()
    metrics = [
        Metric(name="concurrent_throughput", value=len(ordered) / elapsed_s, unit="requests/s", samples=len(ordered))
    ]
    for percent in _PERCENTILES:
        if not bears(ordered, percent):
            continue  # a limit looks at the value alone, and would pass on a few lucky requests
        low, high = percentile_interval(ordered, percent / 100)
        value = percentile(ordered, percent / 100)
        name = f"concurrent_latency_p{percent}"
        metrics.append(Metric(name=name, value=value, unit="ms", low=low, high=high, samples=len(ordered)))
    return tuple(metrics)


def _latencies_ms(threads: Sequence[_Client]) -> list[float]:
    return sorted(latency for thread in threads for latency in thread.latencies_ms)


def _environment(threads: Sequence[_Client]) -> dict[str, str]:
    words = told(_latencies_ms(threads), _PERCENTILES)
    return {"concurrency": f"{len(threads)} clients at once", "concurrency.percentiles": words}


def _findings(threads: Sequence[_Client], repeatable: bool) -> tuple[Finding, ...]:
    clients = len(threads)
    errors = [error for thread in threads for error in thread.errors]
    wrong = sum(thread.wrong for thread in threads)
    found = []
    if errors:
        message = f"{clients} clients at once: {len(errors)} requests failed, the first with: {errors[0]}"
        found.append(("robustness.concurrency-errors", message))
    if wrong and repeatable:
        message = f"{clients} clients at once: {wrong} answers differ from those to one client alone"
        found.append(("robustness.concurrency-results", message))
    return tuple(
        Finding(rule=rule, severity=Severity.HIGH, subject=f"{clients} clients", message=message[:4000])
        for rule, message in found
    )
