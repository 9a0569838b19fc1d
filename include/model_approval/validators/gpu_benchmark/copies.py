"""More processes of each model, since two servers of one model differ for their whole lives.

Where a process's pages lie, in memory and in the caches, is decided at its start. With weights that compete for a
shared cache that made up to 8 % between two servers of one model, and no number of requests averages it out. How many
processes there are is decided by what they cost: time to load, and memory. At least two of the champion are wanted, or
nothing tells how far its processes lie apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.host_wire import ServerName

_LOADING_S, _LOADING_TWO_S = 8.0, 60.0
"""Longest time for loading copies, and for those without which there would be no second process."""
_SHARE_OF_FREE = 0.5
"""Of the free memory for copies: requests need memory, too."""


class Copy(Protocol):
    """A server that was started."""

    @property
    def name(self) -> str:
        """How messages name it."""
        ...

    def wait_ready(self, longest_s: float) -> float:
        """Wait until it can be asked. Raises EvidenceError when it ended or is not ready in time."""
        ...

    def close(self) -> None:
        """End it."""
        ...


@dataclass(frozen=True)
class Cost:
    """What one more process of each model takes."""

    load_s: tuple[float, float]
    """Of a candidate's process and of a champion's, seconds."""
    memory: tuple[int, int]
    """Bytes."""
    gpu_memory: tuple[int, int] = (0, 0)
    """Bytes."""


@dataclass(frozen=True)
class Means:
    """What there is to spend: processors, and free bytes of memory and of the GPU's."""

    processors: int
    memory: int
    gpu_memory: int = 0


ServerT = TypeVar("ServerT", bound=Copy)


@dataclass
class Copies(Generic[ServerT]):
    """The processes beside the first of each model.

    Attributes:
        candidates, champions: Those that are up.
        note: Why there are fewer than wanted; empty when there are not.
    """

    candidates: list[ServerT] = field(default_factory=list)
    champions: list[ServerT] = field(default_factory=list)
    note: str = ""


def affordable(wanted: int, cost: Cost, means: Means) -> tuple[int, int, str]:
    """How many processes each model gets, the first included, and why not as many as wanted."""
    why = ""
    for candidates, champions in _choices(wanted):
        more = (candidates - 1, champions - 1)
        reason = _too_much(more, cost, means, patient=champions <= 2)
        if not reason:
            return candidates, champions, why
        why = why or f"{wanted} processes of each model would be too many: {reason}"
    return 1, 1, why


def start_copies(
    counts: tuple[int, int], start: Callable[[ServerName, int], ServerT], longest_s: float, note: str = ""
) -> Copies[ServerT]:
    """Start them all at once, since nobody asks how long they take; one that does not come up is left out.

    Args:
        counts: Processes of candidate and champion, the first included.
        start: From `candidate` or `champion` and a number, from 2 on, to a started server.
        longest_s: For one to be ready.
        note: Why there are no more.
    """
    found: Copies[ServerT] = Copies(note=note)
    sides: tuple[tuple[ServerName, int, list[ServerT]], ...] = (
        ("candidate", counts[0], found.candidates),
        ("champion", counts[1], found.champions),
    )
    # The champion's first: without a second one nothing can be said of the noise between processes.
    for name, count, servers in reversed(sides):
        servers += [start(name, number) for number in range(2, count + 1)]
    for _, _, servers in sides:
        for server in tuple(servers):
            try:
                server.wait_ready(longest_s)
            except EvidenceError as err:
                server.close()
                servers.remove(server)
                found.note = found.note or f"a further process did not come up: {err}"
    return found


def free_memory_bytes(cgroup: Path = Path("/sys/fs/cgroup"), meminfo: Path = Path("/proc/meminfo")) -> int:
    """What this container, or else this machine, has left; file cache counts as free."""
    try:
        limit = int((cgroup / "memory.max").read_text(encoding="ascii"))
        used = int((cgroup / "memory.current").read_text(encoding="ascii"))
        cached = re.search(r"^file (\d+)$", (cgroup / "memory.stat").read_text(encoding="ascii"), re.MULTILINE)
        of_container = limit - used + (int(cached[1]) if cached else 0)
    except (OSError, ValueError):  # no such controller here, or no limit ("max")
        of_container = None
    try:
        found = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo.read_text(encoding="ascii"), re.MULTILINE)
    except OSError:
        found = None
    of_machine = int(found[1]) * 1024 if found else 0
    return of_machine if of_container is None else max(0, min(of_container, of_machine))


def _choices(wanted: int) -> Iterator[tuple[int, int]]:
    yield from ((count, count) for count in range(wanted, 1, -1))
    if wanted > 1:
        yield 1, 2


def _too_much(more: tuple[int, int], cost: Cost, means: Means, *, patient: bool) -> str:
    """Why so many more processes cannot be had; empty when they can."""
    loading_s = sum(count * took for count, took in zip(more, cost.load_s, strict=True))
    loading_s /= min(means.processors, max(sum(more), 1))
    if loading_s > (_LOADING_TWO_S if patient else _LOADING_S):
        return f"loading them takes about {loading_s:.0f} s"
    for what, each, free in (
        ("memory", cost.memory, means.memory),
        ("the GPU's memory", cost.gpu_memory, means.gpu_memory),
    ):
        needed = sum(count * size for count, size in zip(more, each, strict=True))
        if needed > free * _SHARE_OF_FREE:
            return f"they take {needed // 1024**2} MiB of {what}, and only {free // 1024**2} MiB are free"
    return ""
