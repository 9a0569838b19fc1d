"""What the model server tells of itself: its locks, and when it came how far. For the evidence, and for cold starts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


class Status:
    """Facts by name, and an optional file with one JSON line an event, opened before the process is confined.

    Events: `started`, `listening`, `confined`, `loaded`, `first_inference`; each with the wall clock in `unix_s` and
    the machine's monotonic clock in `monotonic_s`, so that another process can relate them to its own.
    """

    def __init__(self, events_file: Path | None) -> None:
        self.facts: dict[str, object] = {}
        self._events: dict[str, float] = {}
        self._file = events_file.open("ab", buffering=0) if events_file else None
        self._memory = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)

    def event(self, name: str, **more: object) -> None:
        """Note that something happened now."""
        self._events[name] = time.time()
        if self._file:
            line = {"event": name, "unix_s": self._events[name], "monotonic_s": time.monotonic(), **more}
            self._file.write(json.dumps(line).encode() + b"\n")

    def report(self) -> dict[str, object]:
        """Everything, with the memory this process holds now and held at most, in bytes."""
        return {
            **self.facts,
            "pid": os.getpid(),
            "events_unix_s": dict(self._events),
            "memory_bytes": self._memory_use(),
        }

    def _memory_use(self) -> dict[str, int]:
        """From the kernel's own words, since the peak of `getrusage` begins with that of the parent process."""
        words = os.pread(self._memory, 1 << 14, 0).split()
        resident, peak = (int(words[words.index(name) + 1]) * 1024 for name in (b"VmRSS:", b"VmHWM:"))
        return {"resident": resident, "peak": peak}
