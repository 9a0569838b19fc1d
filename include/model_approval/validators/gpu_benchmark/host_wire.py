"""What passes between the measuring program and the container that runs the model servers: one JSON line each way.

The measuring program names a server and what to do with it, never a path, a file or an option: whoever takes it over
can have the same servers started and ended, be told of their memory, and nothing else.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model_approval.domain.base import Record

MAX_LINE_BYTES = 64 * 1024

ServerName = Literal["candidate", "champion", "cold start"]


class Command(Record):
    """What is to be done."""

    do: Literal["start", "stop", "look", "place", "gpu", "describe_gpu"]
    server: ServerName = "candidate"
    number: Annotated[int, Field(ge=1, le=32)] = 1
    """Which of the model's processes."""
    processor: Annotated[int, Field(ge=0, le=4096)] | None = None
    """`place`: the one processor to run on; None: any."""


class GpuLook(Record):
    """`gpu.GpuSample` on the wire; None: the GPU does not tell."""

    memory_bytes: int | None = None
    utilisation_percent: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    slowdowns: tuple[str, ...] | None = None


class Answer(Record):
    """What came of it; fields that do not belong to the command keep their defaults."""

    error: str = ""
    """Why it was not done; of `look`: why the server has ended."""
    socket: str = ""
    at_s: float = 0.0
    """When the server was started, on the monotonic clock that all processes of a machine share."""
    threads: int = 0
    """Of one inference."""
    alive: bool = False
    memory_bytes: int = 0
    """Resident memory by the kernel's account, read from outside the server's process; 0 once it has ended."""
    peak_memory_bytes: int = 0
    free_bytes: int = 0
    """Memory that this container has left."""
    gpu: GpuLook | None = None
    """None: no GPU here, or none that NVML sees."""
    gpu_facts: dict[str, str] = {}
