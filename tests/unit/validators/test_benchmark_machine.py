"""Machine and GPU: what is told, and when figures must not be believed. The GPU is a fake behind NVML's own names.

Not run here: NVML itself, for lack of a GPU.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.gpu import (
    GpuMemory,
    GpuSample,
    NvmlGpu,
    gpu_limitations,
    gpu_metrics,
    open_gpu,
)
from model_approval.validators.gpu_benchmark.machine import Host, HostReading, disturbances, fingerprint
from model_approval.validators.gpu_benchmark.placement import Placement
from model_approval.validators.gpu_benchmark.watch import Watch

pytestmark = pytest.mark.unit

_MIB = 1024**2
_IDLE = GpuSample(memory_bytes=400 * _MIB)


class NVMLError(Exception):
    """As pynvml's."""


@dataclass
class FakeNvml:
    """The calls of pynvml that are used; `missing` ones raise, as on a GPU without the feature."""

    missing: frozenset[str] = frozenset()
    reasons: int = 0
    NVMLError: type[Exception] = NVMLError
    NVML_CLOCK_SM: int = 1
    NVML_CLOCK_MEM: int = 2
    NVML_TEMPERATURE_GPU: int = 0
    told: dict[str, object] = field(
        default_factory=lambda: {
            "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
            "nvmlSystemGetDriverVersion": b"580.65.06",
            "nvmlSystemGetCudaDriverVersion": 13010,
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * 1024 * _MIB, used=2048 * _MIB),
            "nvmlDeviceGetMaxClockInfo": 1980,
            "nvmlDeviceGetEccMode": (1, 1),
            "nvmlDeviceGetMigMode": (0, 0),
            "nvmlDeviceGetEnforcedPowerLimit": 700_000,
            "nvmlDeviceGetPowerUsage": 345_000,
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87, memory=3),
            "nvmlDeviceGetTemperature": 61,
        }
    )

    def __getattr__(self, name: str) -> object:
        def call(*_: object) -> object:
            if name in self.missing:
                raise NVMLError(name)
            return self.reasons if name == "nvmlDeviceGetCurrentClocksEventReasons" else self.told[name]

        return call


def test_the_gpu_is_described_for_the_evidence() -> None:
    assert NvmlGpu(FakeNvml(), "handle").describe() == {
        "gpu": "NVIDIA H100 80GB HBM3",
        "gpu_driver": "580.65.06",
        "gpu_cuda_driver": "13.1",
        "gpu_memory_mib": "81920",
        "gpu_max_clock_mhz": "1980",
        "gpu_memory_clock_mhz": "1980",
        "gpu_ecc": "on",
        "gpu_mig": "off",
        "gpu_power_limit_w": "700.0",
    }


def test_what_a_gpu_does_not_tell_is_unknown_and_no_error() -> None:
    missing = frozenset({"nvmlDeviceGetEccMode", "nvmlDeviceGetPowerUsage", "nvmlDeviceGetCurrentClocksEventReasons"})
    gpu = NvmlGpu(FakeNvml(missing), "handle")
    assert gpu.describe()["gpu_ecc"] == "unknown"
    assert gpu.sample() == GpuSample(2048 * _MIB, 87.0, None, 61.0, None)


def test_a_call_that_fails_is_no_measurement_of_nothing() -> None:
    missing = frozenset({"nvmlDeviceGetMemoryInfo", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetTemperature"})
    assert NvmlGpu(FakeNvml(missing), "handle").sample() == GpuSample(None, None, 345.0, None)


def test_a_sample_names_the_reasons_of_a_slowdown_but_not_the_power_cap() -> None:
    sample = NvmlGpu(FakeNvml(reasons=0x4 | 0x40), "handle").sample()
    assert sample.slowdowns == frozenset({"hardware thermal slowdown"})


def test_without_a_gpu_there_is_none() -> None:
    assert open_gpu() is None


def test_gpu_figures_are_peaks_and_the_champions_memory_is_not_the_candidates() -> None:
    samples = [
        GpuSample(5000 * _MIB, 80.0, 300.0, 60.0),
        GpuSample(6000 * _MIB, 90.0, 350.0, 65.0),
        GpuSample(5500 * _MIB, 85.0, None, None),
    ]
    memory = GpuMemory(before=400 * _MIB, candidate=2400 * _MIB, champion=4900 * _MIB)
    found = {metric.name: (metric.value, metric.unit, metric.baseline) for metric in gpu_metrics(samples, memory)}
    assert found == {
        "gpu_memory_loaded": (2000.0, "MiB", 2500.0),
        "gpu_memory_peak": (3100.0, "MiB", None),
        "gpu_utilisation": (85.0, "%", None),
        "gpu_power_peak": (350.0, "W", None),
        "gpu_temperature_peak": (65.0, "C", None),
    }
    assert gpu_metrics([], memory) == []


def test_a_throttled_gpu_is_a_limitation_unless_it_was_for_a_moment() -> None:
    hot = GpuSample(slowdowns=frozenset({"hardware thermal slowdown"}))
    (found,) = gpu_limitations(_IDLE, [hot] * 2 + [_IDLE] * 18)
    assert found.startswith("the GPU was throttled in 10% of the looks at it: hardware thermal slowdown")
    assert gpu_limitations(_IDLE, [hot] + [_IDLE] * 39) == []
    assert gpu_limitations(_IDLE, []) == []


@pytest.mark.parametrize("idle", [GpuSample(memory_bytes=4000 * _MIB), GpuSample(utilisation_percent=40.0)])
def test_a_gpu_that_others_use_is_a_limitation(idle: GpuSample) -> None:
    (found,) = gpu_limitations(idle, [])
    assert found.startswith("a noisy neighbour: before the start")


_MUTE = GpuSample(None, None, None, None, None)


def test_what_nvml_does_not_tell_has_no_figure_and_is_a_limitation() -> None:
    assert gpu_metrics([_MUTE] * 20, GpuMemory(None, None)) == []
    assert gpu_limitations(_MUTE, [_MUTE] * 20) == [
        "NVML does not tell the memory in use before the start, the utilisation before the start, the memory in use, "
        "the utilisation, whether the GPU slows itself down: a neighbour or a throttled GPU may have gone unseen"
    ]


def test_a_look_that_fails_now_and_then_is_left_out_and_more_are_a_limitation() -> None:
    busy, memory = GpuSample(900 * _MIB, 80.0), GpuMemory(400 * _MIB, 800 * _MIB)
    names = ["gpu_memory_loaded", "gpu_memory_peak", "gpu_utilisation"]
    assert [metric.name for metric in gpu_metrics([_MUTE] + [busy] * 19, memory)] == names
    assert gpu_limitations(_IDLE, [_MUTE] + [busy] * 19) == []
    assert [metric.name for metric in gpu_metrics([_MUTE] * 2 + [busy] * 18, memory)] == names[:1]
    (found,) = gpu_limitations(_IDLE, [_MUTE] * 2 + [busy] * 18)
    assert found.startswith("NVML does not tell the memory in use, the utilisation, whether")


def test_a_peak_is_nobodys_when_the_other_processes_part_is_not_known() -> None:
    memory = GpuMemory(before=400 * _MIB, candidate=2400 * _MIB, champion=None, copies=None)
    names = [metric.name for metric in gpu_metrics([GpuSample(5000 * _MIB, 80.0)], memory)]
    assert names == ["gpu_memory_loaded", "gpu_utilisation"]


def test_stolen_processor_time_is_a_limitation() -> None:
    before = HostReading((0,) * 8, 0, 0, "0.1 0.1 0.1")
    after = HostReading((600, 0, 0, 100, 0, 0, 0, 300), 2_000_000, 500_000, "2.0 1.0 0.5")
    facts, (limitation,) = disturbances(before, after, seconds=10.0)
    assert limitation.startswith("a noisy neighbour: other virtual machines took 30%")
    assert facts == {
        "load": "0.1 0.1 0.1 before, 2.0 1.0 0.5 after",
        "cpu_steal": "30.0%",
        "cpu_busy": "90.0%",
        "cpu_pressure": "20.0% of the time",
        "cpu_throttled": "5.0% of the time",
    }


def test_what_the_kernel_does_not_tell_is_left_out() -> None:
    assert disturbances(HostReading(), HostReading(), 1.0) == ({"load": " before,  after"}, [])


def test_this_machine_is_read_and_described() -> None:
    host = Host()
    reading = host.read()
    host.close()
    assert len(reading.jiffies) == 8
    assert sum(reading.jiffies) > 0
    assert {"cpu", "cpus", "cpu_quota", "cpu_governor", "memory_gib", "machine"} == set(fingerprint())


class CountingGpu:
    """A GPU that notes how often it was looked at."""

    def __init__(self) -> None:
        self.looks = 0

    def describe(self) -> dict[str, str]:
        return {}

    def sample(self) -> GpuSample:
        self.looks += 1
        return GpuSample(memory_bytes=self.looks)


def test_the_gpu_is_watched_until_the_end_and_no_longer() -> None:
    host, gpu = Host(), CountingGpu()
    watch = Watch(host, gpu, every_s=0.001)
    watch.begin()
    while gpu.looks < 3:
        os.sched_yield()
    watched, looks = watch.end(), gpu.looks
    host.close()
    assert [sample.memory_bytes for sample in watched.gpu] == list(range(1, looks + 1))
    assert "cpu_busy" in watched.facts or "load" in watched.facts


@dataclass
class VanishingGpu:
    """A GPU that can be looked at so often and no more."""

    left: int
    gone: threading.Event = field(default_factory=threading.Event)

    def describe(self) -> dict[str, str]:
        return {}

    def sample(self) -> GpuSample:
        if not self.left:
            self.gone.set()
            raise EvidenceError("the GPU vanished during the measurement")
        self.left -= 1
        return GpuSample()


@pytest.mark.parametrize("looks", [0, 2])
def test_a_gpu_that_cannot_be_watched_to_the_end_is_a_limitation(looks: int) -> None:
    host, gpu = Host(), VanishingGpu(looks)
    watch = Watch(host, gpu, every_s=0.001)
    watch.begin()
    assert gpu.gone.wait(30)
    watched = watch.end()
    host.close()
    assert len(watched.gpu) == looks
    assert watched.limitations[-1] == (
        "the GPU could not be watched throughout: the GPU vanished during the measurement"
    )


def test_a_gpu_is_seen_in_the_shortest_measurement() -> None:
    host, gpu = Host(), CountingGpu()
    watch = Watch(host, gpu, every_s=3600)
    watch.begin()
    watched = watch.end()
    host.close()
    assert len(watched.gpu) == 1
    assert not [limitation for limitation in watched.limitations if "watched" in limitation]


def test_client_and_server_meet_on_one_processor_and_are_let_go() -> None:
    tasks = os.open("/proc/self/task", os.O_RDONLY)
    before = os.sched_getaffinity(0)
    with Placement(tasks).together(0.99):
        assert os.sched_getaffinity(0) == {max(before)}
    assert os.sched_getaffinity(0) == before
    os.close(tasks)


def test_a_server_that_has_ended_is_no_error_here() -> None:
    closed, other = os.pipe()
    os.close(other)
    before = os.sched_getaffinity(0)
    with Placement(closed).together(0.0):
        pass
    os.close(closed)
    assert os.sched_getaffinity(0) == before
