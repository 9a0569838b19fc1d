"""The benchmark: how fast and how large the candidate is, beside the champion, and on what it was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device, FileCoverage
from model_approval.validators.contract import Bounds, Report, Task
from model_approval.validators.gpu_benchmark.cold_start import Starts
from model_approval.validators.gpu_benchmark.copies import Copies, Cost, Means, affordable, start_copies
from model_approval.validators.gpu_benchmark.extras import Ground, extras
from model_approval.validators.gpu_benchmark.gpu import Gpu, GpuMemory, GpuSample, open_gpu
from model_approval.validators.gpu_benchmark.host_wire import ServerName
from model_approval.validators.gpu_benchmark.hosted import (
    HostedGpu,
    HostedPlacement,
    HostedServer,
    HostedStarts,
    ServerHost,
)
from model_approval.validators.gpu_benchmark.inputs import made_up_inputs
from model_approval.validators.gpu_benchmark.launcher import Launcher
from model_approval.validators.gpu_benchmark.machine import Host, fingerprint
from model_approval.validators.gpu_benchmark.measure import measure
from model_approval.validators.gpu_benchmark.parameters import Parameters, parameters_of
from model_approval.validators.gpu_benchmark.placement import Placement
from model_approval.validators.gpu_benchmark.remote import RemoteServer
from model_approval.validators.gpu_benchmark.remote_report import as_remote, stream_report
from model_approval.validators.gpu_benchmark.report import Run, Served, refused_without_gpu, report_of
from model_approval.validators.gpu_benchmark.server_process import ServerProcess, server_options
from model_approval.validators.gpu_benchmark.stream import Stream, Together
from model_approval.validators.gpu_benchmark.watch import Watch
from model_approval.validators.onnx_session import find_model
from model_approval.validators.processors import usable_cpus

_INPUTS = 8
"""Different inputs, asked in turn: one alone would live in the processor's cache."""
_SHARE_OF_TIME = 0.8
"""Of the check's time for one server to load its model: what is left must do for the measurement."""


_Start = Callable[[ServerName, int], ServerProcess | HostedServer]
"""Starts one more process of a model: its number, from 2 on."""


@dataclass
class _Prepared:
    """What was started before confinement."""

    host: Host
    gpu: Gpu | None
    idle: GpuSample
    servers: list[ServerProcess | HostedServer | RemoteServer]
    memory: list[int | None]
    """GPU memory in use: before anything of ours, with the candidate, with the champion too; None: NVML is silent."""
    copies: Copies[ServerProcess | HostedServer] = field(default_factory=Copies)
    """More processes of both models, where they are compared."""
    copies_gpu_bytes: int | None = 0
    launcher: Starts | None = None
    """Starts more servers of the candidate, where the policy asks for cold starts."""

    @property
    def gpu_bytes(self) -> Callable[[], int | None] | None:
        """Tells the memory in use on the GPU; None without one."""
        gpu = self.gpu
        return (lambda: gpu.sample().memory_bytes) if gpu else None

    def start_copies(self, parameters: Parameters, start: _Start, longest_s: float) -> None:
        """Start as many more processes as the parameters ask for and the machine can bear."""
        first = [one for one in self.servers if not isinstance(one, RemoteServer)]
        if len(first) < 2 or parameters.processes == 1 or not parameters.wants_ratio:
            return
        before, with_first, with_both = self.memory
        if before is None or with_first is None or with_both is None:
            self.copies = Copies(note="NVML does not tell how much of the GPU's memory a process takes")
            return
        cost = Cost(
            (first[0].load_s, first[1].load_s),
            (first[0].memory_bytes(), first[1].memory_bytes()),
            (with_first - before, with_both - with_first),
        )
        means = Means(usable_cpus(), first[0].free_memory_bytes(), self._free_gpu_bytes(with_both))
        candidates, champions, note = affordable(parameters.processes, cost, means)
        self.copies = start_copies((candidates, champions), start, longest_s, note)
        if self.gpu:
            now = self.gpu.sample().memory_bytes
            self.copies_gpu_bytes = None if now is None else max(0, now - with_both)

    def _free_gpu_bytes(self, used: int) -> int:
        total = self.gpu.describe().get("gpu_memory_mib", "") if self.gpu else ""
        return max(0, int(total) * 1024**2 - used) if total.isdecimal() else 0

    @property
    def gpu_memory(self) -> GpuMemory | None:
        """What took how much of it; None without a GPU."""
        if self.gpu is None:
            return None
        before, candidate, *champion = self.memory
        # Without the champion's part none of the peak is known to be the candidate's.
        others = None if None in champion else self.copies_gpu_bytes
        return GpuMemory(before, candidate, champion[0] if champion else None, others)


class GpuBenchmark:
    """The validator `gpu_benchmark`."""

    def __init__(self) -> None:
        self._prepared: _Prepared | None = None
        self._threads = 1

    def bounds(self, task: Task) -> Bounds:
        """This process only counts time; the servers have bounds of their own."""
        return Bounds(memory_bytes=4 * 1024**3, file_bytes=64 * 1024**2, open_files=1024, unix_sockets=True)

    def prepare(self, task: Task) -> None:
        """Start the models' servers, one after the other so that neither slows the other's start, then more of each.

        They read no model before they are confined. Of what they answer only the readiness is looked at here.
        """
        parameters = parameters_of(task)
        self._threads = parameters.threads or usable_cpus()
        if task.server_host:
            self._prepare_hosted(task, ServerHost.connect(Path(task.server_host), task.timeout_s * _SHARE_OF_TIME))
            return
        gpu = None if parameters.endpoint else open_gpu()
        idle = gpu.sample() if gpu else GpuSample()
        prepared = self._prepared = _Prepared(Host(), gpu, idle, [], [idle.memory_bytes])
        if parameters.endpoint:
            remote = RemoteServer.start("candidate", parameters.endpoint, Path(task.scratch) / "relay")
            prepared.servers.append(remote)
            remote.wait_ready()
            return
        options, scratch = server_options(parameters, self._threads), Path(task.scratch)
        folders = dict(_models(task))
        for name, folder in folders.items():
            server = ServerProcess.start(name, folder, scratch / name, options)
            prepared.servers.append(server)
            server.wait_ready(task.timeout_s * _SHARE_OF_TIME)
            prepared.memory.append(gpu.sample().memory_bytes if gpu else 0)
        prepared.start_copies(
            parameters,
            lambda name, number: ServerProcess.start(
                f"{name} {number}", folders[name], scratch / f"{name}-{number}", options
            ),
            task.timeout_s * _SHARE_OF_TIME,
        )
        if parameters.cold_start:
            prepared.launcher = Launcher.begin(task.artifact_path, scratch / "cold", options)

    def _prepare_hosted(self, task: Task, host: ServerHost) -> None:
        """As `prepare`, with the servers in their own container, on its processors and its GPU."""
        gpu = HostedGpu.of(host)
        idle = gpu.sample() if gpu else GpuSample()
        prepared = self._prepared = _Prepared(Host(), gpu, idle, [], [idle.memory_bytes])
        for name, _ in _models(task):
            server = HostedServer.start(name, host)
            prepared.servers.append(server)
            server.wait_ready(task.timeout_s * _SHARE_OF_TIME)
            self._threads = server.threads
            prepared.memory.append(gpu.sample().memory_bytes if gpu else 0)
        parameters = parameters_of(task)
        prepared.start_copies(
            parameters,
            lambda name, number: HostedServer.start(name, host, number),
            task.timeout_s * _SHARE_OF_TIME,
        )
        if parameters.cold_start:
            prepared.launcher = HostedStarts(host)

    def run(self, task: Task) -> Report:
        """Warm up, measure, tell."""
        prepared, parameters = self._prepared, parameters_of(task)
        assert prepared is not None
        candidate, champion = prepared.servers[0], prepared.servers[1] if len(prepared.servers) > 1 else None
        ground = Ground(task, parameters, candidate, champion, prepared.launcher, prepared.gpu_bytes)
        if isinstance(candidate, RemoteServer) and parameters.only_streams:
            return stream_report(ground, candidate)
        served = [Served.of(server) for server in prepared.servers]
        unknown = parameters.endpoint is not None and served[0].device is Device.NONE
        if served[0].device is not Device.CUDA and not task.input.allow_cpu and not unknown:
            return refused_without_gpu(served[0])
        streams = [_stream(one, parameters, task.input.seed) for one in served]
        candidates = [streams[0], *_streams_of(prepared.copies.candidates, streams[0], served[0])]
        champions = [*streams[1:], *_streams_of(prepared.copies.champions, streams[-1], served[-1])]
        watch = Watch(prepared.host, prepared.gpu)
        watch.begin()
        measured = measure(candidates, champions, parameters, task.input.seed, Path(task.scratch) / "loadgen")
        run = Run(
            parameters=parameters,
            seed=task.input.seed,
            threads=self._threads,
            served=served,
            streams=streams,
            measured=measured,
            watched=watch.end(),
            gpu_idle=prepared.idle,
            gpu_memory=prepared.gpu_memory,
            machine={**fingerprint(), **(prepared.gpu.describe() if prepared.gpu else {})},
            processes=(len(candidates), len(champions)),
            processes_note=prepared.copies.note,
        )
        # Before the extras: they may leave the server larger, and its connections idle for too long.
        report = report_of(run)
        report = extras(ground).added_to(report)
        if isinstance(candidate, RemoteServer):
            return as_remote(report, candidate, task)
        return report.model_copy(update={"coverage": _coverage(task, parameters, served[0])})


def _models(task: Task) -> list[tuple[ServerName, Path]]:
    champion: list[tuple[ServerName, Path]] = [("champion", task.champion_path)] if task.champion_path else []
    return [("candidate", task.artifact_path), *champion]


def _stream(served: Served, parameters: Parameters, seed: int) -> Stream:
    endpoint = served.server.endpoint()
    inputs = made_up_inputs(
        served.metadata, _INPUTS, batch_size=parameters.batch_size, dimensions=parameters.dimensions, seed=seed
    )
    served.inputs = inputs[0]
    return Stream(
        served.server.name,
        endpoint,
        [endpoint.prepare(one) for one in inputs],
        in_flight=parameters.in_flight,
        placement=_placement(served.server),
    )


def _streams_of(servers: Sequence[ServerProcess | HostedServer], first: Stream, of_first: Served) -> Iterator[Stream]:
    """Streams to more processes of a model, with the requests of the first."""
    for server in servers:
        device = Served.of(server).device
        if device is not of_first.device:
            raise EvidenceError(f"{server.name} runs on {device}, {of_first.server.name} on {of_first.device}")
        yield first.to(server.name, server.endpoint(), _placement(server))


def _placement(server: ServerProcess | HostedServer | RemoteServer) -> Together | None:
    if isinstance(server, ServerProcess):
        return Placement(server.tasks_fd)
    return HostedPlacement(server) if isinstance(server, HostedServer) else None


def _coverage(task: Task, parameters: Parameters, served: Served) -> tuple[FileCoverage, ...]:
    """Only the measured file: the others have no part in a benchmark, and nobody should read them as checked."""
    root, platform = task.artifact_path, served.metadata.platform
    if parameters.model or root.is_file() or platform == "onnxruntime":
        path = find_model(root, parameters.model)
    else:
        path = next(iter(sorted(root.rglob("*.pt2"))), root / "MLmodel")
    name = path.name if root.is_file() else path.resolve().relative_to(root.resolve()).as_posix()
    return (FileCoverage(path=name, covered=True, format=platform.replace("onnxruntime", "onnx"), note="measured"),)
