"""Watches machine and GPU from a thread of its own while the measurement runs."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from model_approval.validators.contract import plain_line
from model_approval.validators.gpu_benchmark.gpu import Gpu, GpuSample
from model_approval.validators.gpu_benchmark.machine import Host, disturbances

_EVERY_S = 0.25
"""Four looks a second, each some ten microseconds: not to be seen in any latency."""


@dataclass(frozen=True)
class Watched:
    """What was seen."""

    facts: dict[str, str]
    limitations: list[str]
    gpu: list[GpuSample] = field(default_factory=list)


class Watch:
    """Started with `begin`, ended with `end`."""

    def __init__(self, host: Host, gpu: Gpu | None, every_s: float = _EVERY_S) -> None:
        self._host, self._gpu, self._every_s = host, gpu, every_s
        self._samples: list[GpuSample] = []
        self._failure = ""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._before, self._start = host.read(), time.monotonic()

    def begin(self) -> None:
        """Start watching; after confinement, which needs a process with one thread."""
        self._before, self._start = self._host.read(), time.monotonic()
        if self._gpu is not None:
            self._thread.start()

    def end(self) -> Watched:
        """Stop and tell."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        facts, limitations = disturbances(self._before, self._host.read(), time.monotonic() - self._start)
        if self._gpu is not None and (self._failure or not self._samples):
            reason = self._failure or "it was not looked at once"
            limitations = [*limitations, f"the GPU could not be watched throughout: {reason}"[:4000]]
        return Watched(facts, limitations, self._samples)

    def _look(self) -> None:
        assert self._gpu is not None
        try:
            self._samples.append(self._gpu.sample())  # at once, so that the shortest measurement is seen too
            while not self._over.wait(self._every_s):
                self._samples.append(self._gpu.sample())
        except Exception as err:  # noqa: BLE001  # whatever it is would end the thread, and nobody would hear of it
            self._failure = plain_line(str(err) or type(err).__name__)
