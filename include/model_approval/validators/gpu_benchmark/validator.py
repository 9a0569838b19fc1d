"""The benchmark: how fast and how large the candidate is, beside the champion, and on what it was measured."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from model_approval.domain.evidence import Device, FileCoverage, Metric
from model_approval.validators.contract import Bounds, Report, Task
from model_approval.validators.gpu_benchmark.machine import fingerprint, usable_cpus
from model_approval.validators.gpu_benchmark.measure import Measured, measure_latency, measure_throughput, warm_up
from model_approval.validators.gpu_benchmark.model_process import ModelProcess
from model_approval.validators.gpu_benchmark.parameters import FEWEST_FOR_P99, Parameters, parameters_of
from model_approval.validators.gpu_benchmark.statistics import latency_metrics
from model_approval.validators.gpu_benchmark.worker import Loaded, LoadOrder, Locked, LockOrder
from model_approval.validators.onnx_session import find_model

_NOTHINGS = 200


class GpuBenchmark:
    """The validator `gpu_benchmark`."""

    def __init__(self) -> None:
        self._candidate: ModelProcess | None = None
        self._champion: ModelProcess | None = None
        self._threads = 1

    def bounds(self, task: Task) -> Bounds:
        """This process only counts time; the models' processes have bounds of their own."""
        return Bounds(memory_bytes=1024**3, file_bytes=1024**2)

    def prepare(self, task: Task) -> None:
        """Start the models' processes; they read no model before they are confined."""
        self._threads = parameters_of(task).threads or usable_cpus()
        scratch = Path(task.scratch)
        self._candidate = ModelProcess("candidate", scratch)
        if task.champion_path:
            self._champion = ModelProcess("champion", scratch)

    def run(self, task: Task) -> Report:
        """Load, warm up, measure."""
        assert self._candidate is not None
        parameters = parameters_of(task)
        locked, loaded, load_s = self._load(task, parameters, self._candidate, task.artifact_path)
        if loaded.device != Device.CUDA and not task.input.allow_cpu:
            return _refused_without_gpu(locked)
        models = [Measured(self._candidate)]
        champion_load_s = None
        if self._champion and task.champion_path:
            *_, champion_load_s = self._load(task, parameters, self._champion, task.champion_path)
            models.append(Measured(self._champion))
        overhead_ms = median(self._candidate.ask_nothing() for _ in range(_NOTHINGS))
        for measured in models:
            warm_up(measured, parameters.warm_up_s / len(models))
        measure_latency(models, parameters, task.input.seed)
        measure_throughput(models, parameters)
        champion = models[1] if len(models) > 1 else None
        metrics = (
            *latency_metrics(models[0].latencies_ms, champion.latencies_ms if champion else ()),
            _throughput(models[0], champion),
            _memory(models[0], champion),
            _load_time(load_s, champion_load_s),
            Metric(name="harness_overhead", value=overhead_ms, unit="ms", samples=_NOTHINGS),
        )
        return Report(
            metrics=metrics,
            coverage=_coverage(task, parameters),
            device=Device(loaded.device),
            environment=_environment(
                locked, loaded, models, parameters, {"threads": self._threads, "seed": task.input.seed}
            ),
            limitations=_limitations(models, parameters),
        )

    def _load(
        self, task: Task, parameters: Parameters, process: ModelProcess, folder: Path
    ) -> tuple[Locked, Loaded, float]:
        lock = LockOrder(
            artifact=str(folder),
            scratch=str(process.scratch),
            memory_bytes=parameters.memory_mib * 1024**2,
            cpu_s=task.timeout_s * self._threads + 60,
        )
        order = LoadOrder(
            artifact=str(folder),
            model=parameters.model,
            threads=self._threads,
            batch_size=parameters.batch_size,
            dimensions=parameters.dimensions,
            seed=task.input.seed,
        )
        return process.lock(lock), *process.load(order)


def _refused_without_gpu(locked: Locked) -> Report:
    return Report(
        device=Device.NONE,
        environment={**fingerprint(), "runtime": locked.runtime},
        limitations=("no GPU was available, and the policy does not allow a measurement on the CPU (allow_cpu)",),
    )


def _throughput(candidate: Measured, champion: Measured | None) -> Metric:
    baseline = champion.throughput_rps if champion else None
    return Metric(name="throughput", value=candidate.throughput_rps, unit="requests/s", baseline=baseline)


def _memory(candidate: Measured, champion: Measured | None) -> Metric:
    baseline = champion.model.peak_memory_bytes() / 1024**2 if champion else None
    value = candidate.model.peak_memory_bytes() / 1024**2
    return Metric(name="peak_memory", value=value, unit="MiB", baseline=baseline)


def _load_time(seconds: float, champion_seconds: float | None) -> Metric:
    baseline = champion_seconds * 1e3 if champion_seconds is not None else None
    return Metric(name="load_time", value=seconds * 1e3, unit="ms", baseline=baseline)


def _coverage(task: Task, parameters: Parameters) -> tuple[FileCoverage, ...]:
    """Only the measured file: the others have no part in a benchmark, and nobody should read them as checked."""
    root = task.artifact_path
    path = find_model(root, parameters.model)
    name = path.name if root.is_file() else path.relative_to(root).as_posix()
    return (FileCoverage(path=name, covered=True, format="onnx", note="measured"),)


def _environment(
    locked: Locked, loaded: Loaded, models: list[Measured], parameters: Parameters, run: dict[str, int]
) -> dict[str, str]:
    return {
        **fingerprint(),
        **{name: str(value) for name, value in run.items()},
        "runtime": locked.runtime,
        "device": loaded.device,
        "inputs": loaded.inputs[:1000],
        "batch_size": str(parameters.batch_size),
        "memory": "resident memory of the model's process, interpreter and runtime included; GPU memory is not in it",
        "latency": "from question to answer over a pipe, harness overhead included",
        **{f"warm_up.{item.model.name}": "settled" if item.settled else "not settled" for item in models},
        **{f"model_process.{lock}": state for lock, state in locked.confinement.items()},
    }


def _limitations(models: list[Measured], parameters: Parameters) -> tuple[str, ...]:
    needed = max(parameters.min_queries, FEWEST_FOR_P99)
    return tuple(
        f"{item.model.name}: only {len(item.latencies_ms)} requests were measured, {needed} are needed for a p99 "
        "(see the parameters min_queries and max_duration_s)"
        for item in models
        if len(item.latencies_ms) < needed
    )
