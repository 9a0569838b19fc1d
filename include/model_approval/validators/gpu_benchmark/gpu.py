"""The GPU as NVML shows it: what it is, how busy and how hot it gets, and whether it slows itself down.

NVML is behind a small port, so that everything but the calls themselves is tested without a GPU. The library is opened
before the measuring program is confined; its calls need the device files alone, which confinement leaves open.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol, TypeVar

from model_approval.domain.evidence import Metric

_MIB = 1024**2
_THROTTLED_SHARE = 0.05
_SILENT_SHARE = 0.05
"""Of the looks at the GPU, in which a single call may fail; beyond that the figure is missing."""
_OTHERS_MIB = 512
"""A driver's own share of an idle GPU's memory is below this."""
_OTHERS_PERCENT = 5
_REASONS = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
"""Bits of `nvmlDeviceGetCurrentClocksEventReasons` that mean trouble. The power cap (0x4) is not among them: under full
load it is a GPU's normal state. Source: NVML API reference, `NvmlClocksEventReasons`."""


@dataclass(frozen=True)
class GpuSample:
    """One look at the GPU; None for what it does not tell."""

    memory_bytes: int | None = 0
    utilisation_percent: float | None = 0.0
    power_w: float | None = None
    temperature_c: float | None = None
    slowdowns: frozenset[str] | None = frozenset()


ValueT = TypeVar("ValueT")


class Gpu(Protocol):
    """A GPU that can be watched."""

    def describe(self) -> dict[str, str]:
        """Name, driver, clocks, ECC, MIG, power limit."""
        ...

    def sample(self) -> GpuSample:
        """How it is now."""
        ...


def open_gpu() -> Gpu | None:
    """The first visible GPU; None where there is none, or no NVML. A pod sees only what it was given."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return NvmlGpu(pynvml, pynvml.nvmlDeviceGetHandleByIndex(0))
    except Exception:  # noqa: BLE001  # no library, no driver, no device: the library has an error class for each
        return None


class NvmlGpu:
    """A GPU by NVIDIA's management library."""

    def __init__(self, nvml: Any, handle: Any) -> None:  # noqa: ANN401  # the library ships no types
        self._nvml, self._handle = nvml, handle

    def describe(self) -> dict[str, str]:
        """What cannot be told is `unknown`: not every GPU has ECC or MIG."""
        nvml, handle = self._nvml, self._handle
        asked: dict[str, Callable[[], object]] = {
            "gpu": lambda: nvml.nvmlDeviceGetName(handle),
            "gpu_driver": lambda: nvml.nvmlSystemGetDriverVersion(),
            "gpu_cuda_driver": lambda: _cuda_version(nvml.nvmlSystemGetCudaDriverVersion()),
            "gpu_memory_mib": lambda: nvml.nvmlDeviceGetMemoryInfo(handle).total // _MIB,
            "gpu_max_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM),
            "gpu_memory_clock_mhz": lambda: nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "gpu_ecc": lambda: "on" if nvml.nvmlDeviceGetEccMode(handle)[0] else "off",
            "gpu_mig": lambda: "on" if nvml.nvmlDeviceGetMigMode(handle)[0] else "off",
            "gpu_power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000,
        }
        return {name: self._told(ask) for name, ask in asked.items()}

    def sample(self) -> GpuSample:
        """What a failed call does not tell is None: a 0 would pass for a measurement."""
        nvml, handle = self._nvml, self._handle
        reasons = self._number(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle))
        memory = self._number(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used)
        power = self._number(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
        return GpuSample(
            memory_bytes=None if memory is None else int(memory),
            utilisation_percent=self._number(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
            power_w=None if power is None else power / 1000,
            temperature_c=self._number(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
            slowdowns=None if reasons is None else _slowdowns(int(reasons)),
        )

    def _told(self, ask: Callable[[], object]) -> str:
        try:
            told = ask()
        except self._nvml.NVMLError:
            return "unknown"
        return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)

    def _number(self, ask: Callable[[], Any]) -> float | None:
        try:
            return float(ask())
        except self._nvml.NVMLError:
            return None


def _slowdowns(reasons: int) -> frozenset[str]:
    return frozenset(words for bit, words in _REASONS.items() if reasons & bit)


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


@dataclass(frozen=True)
class GpuMemory:
    """Bytes in use before anything of ours ran, with the candidate loaded, and with the champion loaded too.

    None for what NVML did not tell, and for a champion that there is not.
    """

    before: int | None
    candidate: int | None
    champion: int | None = None
    copies: int | None = 0
    """What further processes of both models took; None also where the champion's own part is not known."""


def gpu_metrics(samples: Sequence[GpuSample], memory: GpuMemory) -> list[Metric]:
    """What the GPU did during the measurement; nothing without samples, and nothing that NVML did not tell.

    The peak beyond what the two models took when loaded is counted as the candidate's: rather too much than too little.
    """
    if not samples:
        return []
    metrics = _memory_metrics(samples, memory)
    if utilisation := _told([one.utilisation_percent for one in samples]):
        metrics.append(Metric(name="gpu_utilisation", value=median(utilisation), unit="%"))
    for name, unit, values in (
        ("gpu_power_peak", "W", [one.power_w for one in samples if one.power_w is not None]),
        ("gpu_temperature_peak", "C", [one.temperature_c for one in samples if one.temperature_c is not None]),
    ):
        if values:
            metrics.append(Metric(name=name, value=max(values), unit=unit))
    return metrics


def _memory_metrics(samples: Sequence[GpuSample], memory: GpuMemory) -> list[Metric]:
    if memory.before is None or memory.candidate is None:
        return []
    loaded = memory.candidate - memory.before
    champion = None if memory.champion is None else memory.champion - memory.candidate
    baseline = None if champion is None else champion / _MIB
    metrics = [Metric(name="gpu_memory_loaded", value=loaded / _MIB, unit="MiB", baseline=baseline)]
    looks = _told([one.memory_bytes for one in samples])
    if looks and memory.copies is not None:
        peak = max(max(looks) - memory.before - (champion or 0) - memory.copies, loaded)
        metrics.append(Metric(name="gpu_memory_peak", value=peak / _MIB, unit="MiB"))
    return metrics


def _told(values: Sequence[ValueT | None]) -> list[ValueT]:
    """What NVML told; nothing where it kept silent in more than a moment, since those may have been the worst."""
    told = [value for value in values if value is not None]
    return told if len(told) >= (1 - _SILENT_SHARE) * len(values) else []


def gpu_limitations(idle: GpuSample, samples: Sequence[GpuSample]) -> list[str]:
    """Why a GPU's figures must not be believed: not ours alone, slowed down by itself, or neither can be seen.

    Args:
        idle: Taken before anything of ours ran.
        samples: Taken during the measurement.
    """
    found = _silence(idle, samples)
    memory, utilisation = idle.memory_bytes or 0, idle.utilisation_percent or 0.0
    if memory > _OTHERS_MIB * _MIB or utilisation > _OTHERS_PERCENT:
        found.append(
            f"a noisy neighbour: before the start {memory // _MIB} MiB of the GPU's memory were in use, "
            f"utilisation {utilisation:.0f} % (give the check a GPU of its own)"
        )
    slowdowns = [one.slowdowns for one in samples if one.slowdowns is not None]
    for reason in sorted(frozenset[str]().union(*slowdowns)):
        share = sum(reason in one for one in slowdowns) / len(slowdowns)
        if share > _THROTTLED_SHARE:
            found.append(f"the GPU was throttled in {share:.0%} of the looks at it: {reason} (see to its cooling)")
    return found


def _silence(idle: GpuSample, samples: Sequence[GpuSample]) -> list[str]:
    """What NVML does not tell, and so nobody can say of this GPU; empty when it tells all that counts."""
    looks = len(samples) > 0
    kept_back = [
        words
        for words, is_told in (
            ("the memory in use before the start", idle.memory_bytes is not None),
            ("the utilisation before the start", idle.utilisation_percent is not None),
            ("the memory in use", not looks or bool(_told([one.memory_bytes for one in samples]))),
            ("the utilisation", not looks or bool(_told([one.utilisation_percent for one in samples]))),
            ("whether the GPU slows itself down", not looks or bool(_told([one.slowdowns for one in samples]))),
        )
        if not is_told
    ]
    if not kept_back:
        return []
    return [f"NVML does not tell {', '.join(kept_back)}: a neighbour or a throttled GPU may have gone unseen"]
