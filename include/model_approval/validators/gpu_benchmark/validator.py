"""The benchmark: how fast and how large the candidate is, beside the champion, and on what it was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.evidence import Device, FileCoverage
from model_approval.validators.contract import Bounds, Report, Task
from model_approval.validators.gpu_benchmark.cold_start import Starts
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


@dataclass
class _Prepared:
    """What was started before confinement."""

    host: Host
    gpu: Gpu | None
    idle: GpuSample
    servers: list[ServerProcess | HostedServer | RemoteServer]
    memory: list[int]
    """GPU memory in use: before anything of ours, with the candidate, with the champion too."""
    launcher: Starts | None = None
    """Starts more servers of the candidate, where the policy asks for cold starts."""

    @property
    def gpu_bytes(self) -> Callable[[], int] | None:
        """Tells the memory in use on the GPU; None without one."""
        gpu = self.gpu
        return (lambda: gpu.sample().memory_bytes) if gpu else None


class GpuBenchmark:
    """The validator `gpu_benchmark`."""

    def __init__(self) -> None:
        self._prepared: _Prepared | None = None
        self._threads = 1

    def bounds(self, task: Task) -> Bounds:
        """This process only counts time; the servers have bounds of their own."""
        return Bounds(memory_bytes=4 * 1024**3, file_bytes=64 * 1024**2, open_files=1024, unix_sockets=True)

    def prepare(self, task: Task) -> None:
        """Start the models' servers, one after the other so that neither slows the other's start.

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
        for name, folder in _models(task):
            options = server_options(parameters, self._threads)
            server = ServerProcess.start(name, folder, Path(task.scratch) / name, options)
            prepared.servers.append(server)
            server.wait_ready(task.timeout_s * _SHARE_OF_TIME)
            prepared.memory.append(gpu.sample().memory_bytes if gpu else 0)
        if parameters.cold_start:
            cold = Path(task.scratch) / "cold"
            prepared.launcher = Launcher.begin(task.artifact_path, cold, server_options(parameters, self._threads))

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
        if parameters_of(task).cold_start:
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
        watch = Watch(prepared.host, prepared.gpu)
        watch.begin()
        measured = measure(
            streams[0],
            streams[1] if len(streams) > 1 else None,
            parameters,
            task.input.seed,
            Path(task.scratch) / "loadgen",
        )
        run = Run(
            parameters=parameters,
            seed=task.input.seed,
            threads=self._threads,
            served=served,
            streams=streams,
            measured=measured,
            watched=watch.end(),
            gpu_idle=prepared.idle,
            gpu_memory=GpuMemory(*prepared.memory) if prepared.gpu else None,
            machine={**fingerprint(), **(prepared.gpu.describe() if prepared.gpu else {})},
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
