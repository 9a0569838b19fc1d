"""What a benchmark reports: metrics, the machine, the table of latencies, and why the figures may prove nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device, Metric
from model_approval.validators.contract import Report
from model_approval.validators.gpu_benchmark.figures import (
    PERCENTILES,
    latency_metrics,
    least_p99,
    loadgen_metrics,
    ratio_of,
    throughput_metric,
)
from model_approval.validators.gpu_benchmark.gpu import GpuMemory, GpuSample, gpu_limitations, gpu_metrics
from model_approval.validators.gpu_benchmark.hosted import HostedServer
from model_approval.validators.gpu_benchmark.inputs import described
from model_approval.validators.gpu_benchmark.interleave import Comparison
from model_approval.validators.gpu_benchmark.loadgen import Result
from model_approval.validators.gpu_benchmark.machine import fingerprint
from model_approval.validators.gpu_benchmark.measure import Measured, harness_overhead_ms
from model_approval.validators.gpu_benchmark.open_inference import Arrays, Metadata, json_object
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.ratio import Estimate
from model_approval.validators.gpu_benchmark.remote import RemoteServer, remote_device
from model_approval.validators.gpu_benchmark.server_process import ServerProcess
from model_approval.validators.gpu_benchmark.statistics import told
from model_approval.validators.gpu_benchmark.stream import Stream
from model_approval.validators.gpu_benchmark.table import latency_table
from model_approval.validators.gpu_benchmark.watch import Watched

_MIB = 1024**2


@dataclass
class Served:
    """A model that is up, and what its server says of itself.

    A server that runs a model's own code may be lying: its device is held against what NVML shows.
    """

    server: ServerProcess | HostedServer | RemoteServer
    metadata: Metadata
    device: Device
    locks: Mapping[str, str]
    inputs: Arrays = field(default_factory=dict)

    @classmethod
    def of(cls, server: ServerProcess | HostedServer | RemoteServer) -> Served:
        """Ask the server. Raises EvidenceError when it breaks the protocol."""
        endpoint = server.endpoint()
        metadata = endpoint.metadata()
        answer = endpoint.exchange(endpoint.render("GET", "/v2"))
        endpoint.close()
        told = json_object(answer.body, who=server.name).get("parameters")
        locks = told.get("confinement") if isinstance(told, dict) else None
        device = metadata.parameters.get("device", "none")
        if isinstance(server, RemoteServer):
            device = remote_device(server.wanted, device)
        if device not in set(Device):
            raise EvidenceError(f"{server.name}: the model's server tells an unknown device {device[:40]!r}")
        safe = locks if isinstance(locks, dict) else {}
        return cls(server, metadata, Device(device), {str(lock)[:80]: str(how)[:400] for lock, how in safe.items()})


@dataclass(frozen=True)
class Run:
    """A finished benchmark."""

    parameters: Parameters
    seed: int
    threads: int
    served: list[Served]
    streams: list[Stream]
    measured: Measured
    watched: Watched
    gpu_idle: GpuSample
    gpu_memory: GpuMemory | None
    machine: dict[str, str]
    processes: tuple[int, int] = (1, 1)
    """Server processes of candidate and champion."""
    processes_note: str = ""
    """Why there were no more."""

    @property
    def device(self) -> Device:
        """Where the candidate ran."""
        return self.served[0].device


def refused_without_gpu(served: Served) -> Report:
    """Nothing was measured."""
    return Report(
        device=Device.NONE,
        environment={**fingerprint(), "runtime": _runtime(served)},
        limitations=("no GPU was available, and the policy does not allow a measurement on the CPU (allow_cpu)",),
    )


def report_of(run: Run) -> Report:
    """All that the benchmark has to say."""
    return Report(
        metrics=tuple(_metrics(run)),
        device=run.device,
        environment=_environment(run),
        attachments=(latency_table(_streams(run)),),
        limitations=tuple(_limitations(run)),
    )


def _metrics(run: Run) -> list[Metric]:
    found = run.measured
    comparison, noise = found.comparison, found.noise
    latency = throughput = None
    if comparison and noise:
        latency = ratio_of(comparison.latency, noise.latency, usable=found.has_settled, noise_scale=found.noise_scale)
        throughput = ratio_of(
            comparison.throughput, noise.throughput, usable=found.has_settled, noise_scale=found.noise_scale
        )
    overhead = harness_overhead_ms(run.streams[0])
    return [
        *latency_metrics(found.candidate, found.champion, latency),
        *loadgen_metrics(found.runs, found.champion_runs, run.parameters.batch_size),
        *least_p99(found.candidate, found.runs),
        throughput_metric(found.candidate, found.champion, throughput),
        *_process_metrics(run),
        *(gpu_metrics(run.watched.gpu, run.gpu_memory) if run.gpu_memory else ()),
        Metric(name="harness_overhead", value=overhead, unit="ms"),
    ]


def _process_metrics(run: Run) -> list[Metric]:
    candidate, champion = run.served[0].server, run.served[1].server if len(run.served) > 1 else None
    return [
        Metric(
            name="peak_memory",
            value=candidate.peak_memory_bytes() / _MIB,
            unit="MiB",
            baseline=champion.peak_memory_bytes() / _MIB if champion else None,
        ),
        Metric(
            name="load_time",
            value=candidate.load_s * 1e3,
            unit="ms",
            baseline=champion.load_s * 1e3 if champion else None,
        ),
    ]


def _streams(run: Run) -> dict[str, list[list[float]]]:
    found = run.measured
    streams = {"candidate": found.candidate.blocks_ms}
    if found.champion:
        streams["champion"] = found.champion.blocks_ms
    if found.noise:
        for number, name in enumerate(("champion_itself_1", "champion_itself_2")):
            streams[name] = [pair[number].latencies_ms for pair in found.noise.rounds]
    for result in found.runs if found.champion else ():
        if result.latencies_ms:
            streams[f"candidate_{result.scenario}"] = [result.latencies_ms]
    return streams


def _environment(run: Run) -> dict[str, str]:
    found, candidate = run.measured, run.served[0]
    facts = {
        **run.machine,
        **run.watched.facts,
        "threads": str(run.threads),
        "seed": str(run.seed),
        "runtime": _runtime(candidate),
        "device": run.device.value,
        "inputs": described(candidate.inputs)[:1000],
        "batch_size": str(run.parameters.batch_size),
        "in_flight": str(run.parameters.in_flight),
        "memory": "resident memory of the model server's process, interpreter and runtime included, without the GPU's",
        "latency": "from the first byte of a request to the last of its answer over a Unix socket",
        "latency.percentiles": told(found.candidate.latencies_ms, PERCENTILES),
        "loadgen": "; ".join(f"{one.scenario}: {'VALID' if one.valid else 'INVALID'}" for one in found.runs),
    }
    # Without a limit relative to it, the champion's run only stands beside the candidate's: a champion too slow for
    # it must not hold back a faster one.
    facts |= {f"loadgen.champion.{one.scenario}": one.limitation or "VALID" for one in found.champion_runs}
    facts |= _loadgen_overhead(found.runs)
    facts |= {f"warm_up.{name}": one.words for name, one in found.warm_ups.items()}
    facts |= {
        f"model_process.confinement.{lock.removeprefix('confinement.')}": how for lock, how in candidate.locks.items()
    }
    if found.noise and found.comparison:
        facts["noise_floor"] = f"champion against itself: {_estimate(found.noise.latency, found.noise.throughput)}"
        facts["comparison"] = (
            f"candidate against champion: {_estimate(found.comparison.latency, found.comparison.throughput)}"
        )
        facts["processes"] = _processes(run, found.comparison)
        facts["rounds"] = f"{len(found.noise.rounds)} and {len(found.comparison.rounds)}"
    return facts


def _processes(run: Run, comparison: Comparison) -> str:
    words = f"{run.processes[0]} of the candidate, {run.processes[1]} of the champion"
    spreads = {"p50": comparison.latency, "throughput": comparison.throughput}
    known = [f"{name} {one.process_spread:.1%}" for name, one in spreads.items() if one and one.process_spread]
    if known:
        words += f"; those of one model lie apart by (standard deviation) {', '.join(known)}"
    return f"{words}; {run.processes_note}" if run.processes_note else words


def _loadgen_overhead(runs: Sequence[Result]) -> dict[str, str]:
    """LoadGen's and our own time between two queries, by LoadGen's two rates of a run of one query after the other."""
    for run in runs:
        rates = [run.number(f"result_qps_{how}_loadgen_overhead") for how in ("with", "without")]
        if rates[0] and rates[1]:
            return {"loadgen_overhead": f"{1e6 / rates[0] - 1e6 / rates[1]:.1f} us between two queries"}
    return {}


def _estimate(*estimates: Estimate | None) -> str:
    names = ("p50", "throughput")
    return ", ".join(
        f"{name} ratio {one.value:.4f} ({one.low:.4f} to {one.high:.4f})" if one else f"{name} ratio: too few rounds"
        for name, one in zip(names, estimates, strict=True)
    )


def _runtime(served: Served) -> str:
    return f"{served.metadata.platform} {served.metadata.parameters.get('runtime_version', '')}".strip()


def _limitations(run: Run) -> list[str]:
    found, needed = run.measured, run.parameters.min_queries
    limitations = [f"candidate: {one.limitation}" for one in found.runs if one.limitation]
    limitations += run.watched.limitations
    if run.gpu_memory is not None:
        limitations += gpu_limitations(run.gpu_idle, run.watched.gpu)
    elif run.device is Device.CUDA and not isinstance(run.served[0].server, RemoteServer):
        limitations.append("the model's server says that it runs on a GPU, but NVML shows none")
    if any(one.limitation for one in found.runs):
        limitations[0] += f" (parameters min_queries {needed}, max_duration_s {run.parameters.max_duration_s:g})"
    if len(run.served) > 1 and run.served[1].device is not run.device:
        limitations.append(f"the champion ran on {run.served[1].device}, the candidate on {run.device}")
    if run.parameters.ratio_limits:
        limitations += _why_no_ratio(run)
    return limitations


def _why_no_ratio(run: Run) -> list[str]:
    """What keeps limits relative to the champion from being judged; told only where the policy has some."""
    found, parameters = run.measured, run.parameters
    why = [f"champion: {one.limitation}" for one in found.champion_runs if one.limitation]
    unsettled = [f"{name} ({one.words})" for name, one in found.warm_ups.items() if not one.settled]
    if unsettled and found.comparison:
        why.append(
            f"no ratio to the champion: still warming up after {parameters.warm_up_s:g} s were {', '.join(unsettled)} "
            "(raise the parameter warm_up_s, or run again on a quieter machine)"
        )
    if any(
        one is not None and (one.latency is None or one.throughput is None) for one in (found.noise, found.comparison)
    ):
        why.append(
            f"no ratio to the champion: too few rounds in {parameters.max_duration_s:g} s "
            "(raise the parameter max_duration_s)"
        )
    if found.comparison and run.processes[1] == 1 and parameters.processes > 1:
        why.append(
            "the noise between two processes of the champion is not known, since there was one: "
            f"{run.processes_note} (with the parameter processes set to 1, the noise within one process will do)"
        )
    return why
