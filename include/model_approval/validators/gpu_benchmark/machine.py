"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def usable_cpus() -> int:
    """Processors that this process may use: the container's quota, else its affinity.

    Thread pools sized by the node's processors are throttled inside a pod with fewer, and measure nothing but that.
    """
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return available
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))


def fingerprint() -> dict[str, str]:
    """Processor, memory and system, for the evidence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
        "memory_gib": f"{memory / 1024**3:.1f}",
        "machine": platform.machine(),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
