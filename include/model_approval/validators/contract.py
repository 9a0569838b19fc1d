"""What passes between supervisor and validator, and the files in a work folder.

    WORK/input.json       a `ValidatorInput`, written by the fetcher or the local runner
    WORK/limits.json      optional: {"timeout_s": seconds}
    WORK/artifact/        the candidate's files, read-only
    WORK/champion/        the champion's files, when the check compares
    WORK/scratch/         the only folder the validator may write to
    WORK/evidence.json    the result, unless it is uploaded

The validator's process reports a `Report`; who asked and about which bytes is added by the supervisor, which never
takes such facts from a process that has touched an untrusted artifact.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, TypeVar

from pydantic import Field, JsonValue, ValidationError

from model_approval.domain.base import Record, Text
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Attachment, Device, FileCoverage, Finding, Metric, ValidatorInput
from model_approval.domain.manifest import ArtifactManifest

MAX_TASK_BYTES = 64 * 1024**2
MAX_REPORT_BYTES = 64 * 1024**2
"""A report is findings and figures; a longer one is an attack on whoever reads it, or a bug."""
DEFAULT_TIMEOUT_S = 3600

INPUT_FILE = "input.json"
LIMITS_FILE = "limits.json"
ARTIFACT_DIR = "artifact"
CHAMPION_DIR = "champion"
SCRATCH_DIR = "scratch"
EVIDENCE_FILE = "evidence.json"
SERVERS_ERROR_FILE = "host.error"
"""Beside the socket of the container that runs the model servers: why it could not begin."""


class Limits(Record):
    """`limits.json`: what the supervisor holds the validator to."""

    timeout_s: Annotated[int, Field(ge=1)] = DEFAULT_TIMEOUT_S


class UnpinnedOrder(Record):
    """What `unpinned` is told: all of a `ValidatorInput` but the bytes."""

    parameters: dict[str, JsonValue] = {}
    timeout_s: Annotated[int, Field(ge=1)] = DEFAULT_TIMEOUT_S


class Task(Record):
    """What the validator's process is told, on its standard input."""

    validator: str
    input: ValidatorInput
    artifact: str
    """Folder (or single file, when the manifest names just that) with the candidate's bytes."""
    champion: str | None = None
    scratch: str
    timeout_s: int
    server_host: str | None = None
    """Socket of the container that runs the model servers (`gpu_benchmark.server_host`); None: start them here."""
    vulnerability_database: str | None = None
    """Where this installation keeps known vulnerabilities, when it keeps any."""
    cautious: bool = False
    """The validator's process has crashed over this artifact: now without the parsers that can."""
    manifest_fd: int | None = None
    """Set while the bytes are still being hashed: where the manifest with the digests can be read, once.
    Until then the one in `input` has paths and sizes, and zeros for digests."""

    def pinned(self) -> Task:
        """This task with the digests of all files; waits for them.

        Raises:
            EvidenceError: They did not come, or are of other files than those that this task began with.
        """
        if self.manifest_fd is None:
            return self
        with os.fdopen(self.manifest_fd, "rb") as pipe:
            manifest = parse_record(ArtifactManifest, pipe.read(MAX_TASK_BYTES + 1), what="manifest")
        shape = [(file.path, file.size_bytes) for file in self.input.manifest.files]
        if [(file.path, file.size_bytes) for file in manifest.files] != shape:
            raise EvidenceError("the artifact was changed while it was being read")
        given = self.input.model_copy(update={"manifest": manifest, "artifact_digest": manifest.artifact_digest})
        return self.model_copy(update={"input": given, "manifest_fd": None})

    @property
    def artifact_path(self) -> Path:
        """The candidate's folder."""
        return Path(self.artifact)

    @property
    def champion_path(self) -> Path | None:
        """The champion's folder, when there is one."""
        return Path(self.champion) if self.champion else None


class Report(Record):
    """All that a validator has to say."""

    findings: Annotated[tuple[Finding, ...], Field(max_length=10_000)] = ()
    metrics: Annotated[tuple[Metric, ...], Field(max_length=1_000)] = ()
    coverage: Annotated[tuple[FileCoverage, ...], Field(max_length=100_000)] = ()
    device: Device = Device.NONE
    environment: dict[str, str] = {}
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=16)] = ()
    limitations: tuple[Text, ...] = ()


@dataclass(frozen=True)
class Bounds:
    """Limits that a validator's own process puts on itself."""

    memory_bytes: int
    file_bytes: int = 1024**3
    open_files: int = 256
    processes: int = 4096
    """Threads and processes of this user together; the kernel does not count root's, hence the seccomp rule besides."""
    unix_sockets: bool = False
    """GPU drivers talk to their daemons over Unix sockets; everybody else gets none."""
    tcp_sockets: bool = False
    """Only for a process that reads no artifact: the relay to a server that the policy names."""


class Validator(Protocol):
    """One program of checks."""

    def bounds(self, task: Task) -> Bounds:
        """How much of the machine it may use."""
        ...

    def prepare(self, task: Task) -> None:
        """Start helpers, before confinement. Must not touch the artifact."""
        ...

    def run(self, task: Task) -> Report:
        """Look at the artifact, confined. Raises EvidenceError in words when it cannot do its work."""
        ...


RecordT = TypeVar("RecordT", bound=Record)


def read_record(kind: type[RecordT], path: Path, *, limit_bytes: int = MAX_TASK_BYTES) -> RecordT:
    """Read a JSON record from a file.

    Raises:
        EvidenceError: Missing, too large, or not of that shape; names file, field and what is wrong.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(limit_bytes + 1)
    except OSError as err:
        raise EvidenceError(f"{path}: {err.strerror or err}") from err
    if len(data) > limit_bytes:
        raise EvidenceError(f"{path}: larger than {limit_bytes} bytes")
    return parse_record(kind, data, what=str(path))


def parse_record(kind: type[RecordT], data: bytes, *, what: str) -> RecordT:
    """Parse a JSON record.

    Raises:
        EvidenceError: Not of that shape; names the field and what is wrong.
    """
    try:
        return kind.model_validate_json(data)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(f"{what}: {field or 'the document'}: {first['msg']}") from err


def plain_line(text: str, *, limit: int = 2000) -> str:
    """Foreign text as one bounded line without control characters, fit for a log or an evidence note."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
