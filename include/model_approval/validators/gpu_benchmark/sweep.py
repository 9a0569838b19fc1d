"""How latency and throughput change with the batch size."""

from __future__ import annotations

import csv
import io
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Attachment, Metric
from model_approval.validators.gpu_benchmark.endpoint import Endpoint, Prepared, ServerGoneError
from model_approval.validators.gpu_benchmark.extra_parameters import SweepParameters
from model_approval.validators.gpu_benchmark.open_inference import Arrays, Metadata
from model_approval.validators.gpu_benchmark.statistics import percentile, percentile_interval

_ROUNDS = 3
_FEWEST = 2
"""Requests of a size in each round, however slow."""


@dataclass(frozen=True)
class Sweep:
    """What the sweep brought."""

    metrics: tuple[Metric, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    limitations: tuple[str, ...] = ()


def has_open_batch(metadata: Metadata) -> bool:
    """Whether the signature leaves the first dimension of every input open."""
    return bool(metadata.inputs) and all(info.shape and info.shape[0] == -1 for info in metadata.inputs)


def sweep_batches(
    endpoint: Endpoint, inputs_of: Callable[[int], Arrays], wanted: SweepParameters, *, seed: int
) -> Sweep:
    """Measure each batch size, in rounds of random order so that a disturbance hits them all alike.

    Args:
        endpoint: The server.
        inputs_of: Makes the request of a batch size.
        wanted: Sizes and time.
        seed: Of the order.

    Raises:
        ServerGoneError: The server ends under it.
    """
    if not has_open_batch(endpoint.metadata()):
        return Sweep(limitations=("no batch sweep: the model's signature fixes the batch size",))
    prepared, refusal = _accepted(endpoint, inputs_of, sorted(set(wanted.batch_sizes)))
    if not prepared:
        return Sweep(limitations=(f"no batch sweep: {refusal}",))
    measured: dict[int, list[float]] = {size: [] for size in prepared}
    order = random.Random(seed)  # noqa: S311  # an order of play, not a secret
    for _ in range(_ROUNDS):
        for size in order.sample(list(prepared), len(prepared)):
            measured[size] += _ask_for(endpoint, prepared[size], wanted.duration_s / _ROUNDS)
    told = {"batch_sweep": f"sizes {', '.join(map(str, prepared))}; one request at a time"}
    if refusal:
        told["batch_sweep.refused"] = refusal
    return Sweep(_metrics(measured), (_table(measured),), told)


def _accepted(
    endpoint: Endpoint, inputs_of: Callable[[int], Arrays], sizes: list[int]
) -> tuple[dict[int, Prepared], str]:
    """The sizes that the server takes, and why it does not take the next one. Each has been asked once: warm."""
    prepared: dict[int, Prepared] = {}
    for size in sizes:
        request = endpoint.prepare(inputs_of(size))
        try:
            endpoint.infer(request)
        except ServerGoneError:
            raise
        except EvidenceError as err:
            return prepared, f"batch size {size} is refused: {err.message}"
        prepared[size] = request
    return prepared, ""


def _ask_for(endpoint: Endpoint, request: Prepared, seconds: float) -> list[float]:
    end, latencies = time.perf_counter() + seconds, list[float]()
    while len(latencies) < _FEWEST or time.perf_counter() < end:
        latencies.append(endpoint.time(request) / 1e6)
    return latencies


def _rate(size: int, latencies_ms: list[float]) -> float:
    """Samples per second."""
    return size * len(latencies_ms) / (sum(latencies_ms) / 1e3)


def _metrics(measured: Mapping[int, list[float]]) -> tuple[Metric, ...]:
    metrics = []
    for size, latencies in measured.items():
        ordered = sorted(latencies)
        low, high = percentile_interval(ordered, 0.5)
        p50, count = percentile(ordered, 0.5), len(ordered)
        metrics += [
            Metric(name=f"batch_{size}_latency_p50", value=p50, unit="ms", low=low, high=high, samples=count),
            Metric(name=f"batch_{size}_throughput", value=_rate(size, latencies), unit="samples/s", samples=count),
        ]
    best = max(measured, key=lambda size: _rate(size, measured[size]))
    metrics += [
        Metric(name="best_batch_size", value=best, unit="samples"),
        Metric(name="best_batch_throughput", value=_rate(best, measured[best]), unit="samples/s"),
    ]
    return tuple(metrics)


def _table(measured: Mapping[int, list[float]]) -> Attachment:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["batch_size", "requests", "latency_p50_ms", "latency_p90_ms", "samples_per_s"])
    for size, latencies in measured.items():
        ordered = sorted(latencies)
        figures = [
            f"{percentile(ordered, 0.5):.6g}",
            f"{percentile(ordered, 0.9):.6g}",
            f"{_rate(size, latencies):.6g}",
        ]
        writer.writerow([size, len(ordered), *figures])
    return Attachment(name="batch-sweep.csv", media_type="text/csv", text=text.getvalue())
