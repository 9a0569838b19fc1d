"""What the figures were measured on, and whether something else disturbed the machine meanwhile."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

_STEAL_LIMIT = 0.10
"""A tenth of the processor time taken by other virtual machines: what an A/A run cannot average out any more."""


def fingerprint() -> dict[str, str]:
    """Processor, memory and system, for the evidence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
        "cpu_quota": _first_line("/sys/fs/cgroup/cpu.max"),
        "cpu_governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_gib": f"{memory / 1024**3:.1f}",
        "machine": platform.machine(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").split("\n")[0]
    except OSError:
        return "unknown"


@dataclass(frozen=True)
class HostReading:
    """Counters of the whole machine; differences of two are what happened in between."""

    jiffies: tuple[int, ...] = ()
    """First line of /proc/stat: user nice system idle iowait irq softirq steal."""
    waited_us: int | None = None
    """Microseconds in which some task waited for a processor (pressure stall information)."""
    throttled_us: int | None = None
    """Microseconds in which this container's quota held it back."""
    load: str = ""


class Host:
    """The machine's counters, opened now: a confined process can open none of these files."""

    def __init__(self) -> None:
        self._files = {
            name: _open(path)
            for name, path in (
                ("stat", "/proc/stat"),
                ("pressure", "/proc/pressure/cpu"),
                ("quota", "/sys/fs/cgroup/cpu.stat"),
                ("load", "/proc/loadavg"),
            )
        }

    def read(self) -> HostReading:
        """All counters as they are now; what the kernel does not offer stays empty."""
        stat = self._text("stat").split("\n")[0].split()
        return HostReading(
            jiffies=tuple(int(number) for number in stat[1:9]),
            waited_us=_number_after(self._text("pressure"), "total="),
            throttled_us=_number_after(self._text("quota"), "throttled_usec "),
            load=" ".join(self._text("load").split()[:3]),
        )

    def _text(self, name: str) -> str:
        descriptor = self._files[name]
        try:
            return "" if descriptor is None else os.pread(descriptor, 8192, 0).decode("ascii", "replace")
        except OSError:
            return ""

    def close(self) -> None:
        """Give the files back."""
        for descriptor in self._files.values():
            if descriptor is not None:
                os.close(descriptor)


def _open(path: str) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _number_after(text: str, word: str) -> int | None:
    _, found, rest = text.partition(word)
    digits = rest.split(maxsplit=1)[0] if found and rest else ""
    return int(digits) if digits.isdecimal() else None


def disturbances(before: HostReading, after: HostReading, seconds: float) -> tuple[dict[str, str], list[str]]:
    """What else went on between two readings.

    Returns:
        Facts for the evidence, and limitations: why the figures must not be believed.
    """
    facts, limitations = {"load": f"{before.load} before, {after.load} after"}, []
    spent = [late - early for early, late in zip(before.jiffies, after.jiffies, strict=False)]
    if sum(spent) > 0 and len(spent) == 8:
        steal = spent[7] / sum(spent)
        facts["cpu_steal"], facts["cpu_busy"] = f"{steal:.1%}", f"{1 - (spent[3] + spent[4]) / sum(spent):.1%}"
        if steal > _STEAL_LIMIT:
            limitations.append(
                f"a noisy neighbour: other virtual machines took {steal:.0%} of this machine's processor time "
                "(run again elsewhere or later)"
            )
    for name, early, late in (
        ("cpu_pressure", before.waited_us, after.waited_us),
        ("cpu_throttled", before.throttled_us, after.throttled_us),
    ):
        if early is not None and late is not None and seconds > 0:
            facts[name] = f"{(late - early) / 1e6 / seconds:.1%} of the time"
    return facts, limitations
