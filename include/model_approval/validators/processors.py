"""How many processors this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cpus() -> int:
    """The container's quota, else the process's affinity.

    Thread pools sized by the node's processors are throttled inside a pod with fewer, and measure nothing but that.
    """
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return available
    return available if quota == "max" else max(1, min(available, int(quota) // int(period)))
