"""What a policy asks of a benchmark beyond latency and throughput, one after the other on the servers that are up.

Runs after the measurement proper, and the hostile requests last: whatever they do to a server, no figure suffers.
An extra that cannot be measured is a limitation with its reason; a server that ends under one is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Attachment, Finding, Metric, Severity
from model_approval.validators import progress
from model_approval.validators.contract import Report, Task
from model_approval.validators.gpu_benchmark.accuracy import measure_accuracy
from model_approval.validators.gpu_benchmark.cold_start import Starts, measure_cold_starts
from model_approval.validators.gpu_benchmark.concurrency import check_concurrency
from model_approval.validators.gpu_benchmark.endpoint import Endpoint, ServerGoneError
from model_approval.validators.gpu_benchmark.extra_parameters import ExtraParameters
from model_approval.validators.gpu_benchmark.inputs import made_up_inputs
from model_approval.validators.gpu_benchmark.llm import measure_llm
from model_approval.validators.gpu_benchmark.open_inference import Arrays
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.robustness import check_robustness, has_ended
from model_approval.validators.gpu_benchmark.soak import soak
from model_approval.validators.gpu_benchmark.sweep import sweep_batches

_INPUTS = 8


class Server(Protocol):
    """A server that is up: a process of ours, or a URL."""

    @property
    def name(self) -> str:
        """How messages name it."""
        ...

    def endpoint(self) -> Endpoint:
        """A new connection to it."""
        ...

    def is_alive(self) -> bool:
        """Whether its process runs, as far as can be seen."""
        ...

    def gone(self) -> EvidenceError:
        """Why it ended, in words."""
        ...

    def memory_bytes(self) -> int:
        """Its resident memory now; 0 where it cannot be seen."""
        ...


@dataclass(frozen=True)
class Ground:
    """What the extras work on.

    Attributes:
        task: Where the artifact is, and the seed.
        parameters: What the policy asks for.
        candidate: The server of the candidate.
        champion: The server of the champion, if there is one.
        launcher: Starts more servers of the candidate; needed for cold starts alone.
        gpu_bytes: Memory in use on the GPU now, where there is one.
    """

    task: Task
    parameters: Parameters
    candidate: Server
    champion: Server | None = None
    launcher: Starts | None = None
    gpu_bytes: Callable[[], int | None] | None = None


@dataclass
class Extras:
    """What they brought."""

    metrics: list[Metric] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)

    def added_to(self, report: Report) -> Report:
        """The report with all of it."""
        return report.model_copy(
            update={
                "metrics": (*report.metrics, *self.metrics),
                "findings": (*report.findings, *self.findings),
                "attachments": (*report.attachments, *self.attachments),
                "environment": {**report.environment, **self.environment},
                "limitations": (*report.limitations, *self.limitations),
            }
        )


def extras(ground: Ground) -> Extras:
    """Measure what the policy asks for."""
    found = Extras()
    with closing(ground.candidate.endpoint()) as endpoint:
        for name, measure in _wanted(ground, endpoint, found):
            progress.report(name)
            endpoint.close()  # servers end connections that were idle for long, as during another extra
            try:
                measure()
            except EvidenceError as err:
                if isinstance(err, ServerGoneError):
                    _tell_end(ground.candidate, name, err, found)
                    break
                found.limitations.append(f"{name}: {err}"[:4000])
    return found


def _wanted(ground: Ground, endpoint: Endpoint, found: Extras) -> list[tuple[str, Callable[[], None]]]:
    parameters = ground.parameters
    hostile = (parameters.endpoint is None) if parameters.robustness is None else parameters.robustness
    work = _Work(ground, endpoint, found)
    steps: list[tuple[object, str, Callable[[], None]]] = [
        (parameters.holdout, "holdout", work.holdout),
        (parameters.concurrency, "concurrency", work.concurrency),
        (parameters.sweep, "batch sweep", work.sweep),
        (parameters.soak, "soak", work.soak),
        (parameters.llm, "language model load", work.llm),
        (parameters.cold_start, "cold start", work.cold_start),
        (hostile, "robustness", work.robustness),
    ]
    return [(name, measure) for wanted, name, measure in steps if wanted]


def _tell_end(server: Server, name: str, err: EvidenceError, found: Extras) -> None:
    """A server that ended is the model's fault; one that is merely silent may be the machine's."""
    if not has_ended(server.is_alive):
        found.limitations.append(f"{name}: {err}; what else the policy asks for was not measured"[:4000])
        return
    message = f"the server's process ended during: {name} ({server.gone().message})"
    found.findings.append(
        Finding(rule="robustness.crash", severity=Severity.HIGH, subject=name, message=message[:4000])
    )


@dataclass(frozen=True)
class _Work:
    """One method an extra; each puts what it brought into `found`."""

    ground: Ground
    endpoint: Endpoint
    found: Extras

    @property
    def _seed(self) -> int:
        return self.ground.task.input.seed

    @property
    def _asked(self) -> ExtraParameters:
        return self.ground.parameters

    def _inputs(self, count: int = _INPUTS, batch_size: int | None = None) -> list[Arrays]:
        parameters = self.ground.parameters
        size = batch_size or parameters.batch_size
        metadata = self.endpoint.metadata()
        return made_up_inputs(metadata, count, batch_size=size, dimensions=parameters.dimensions, seed=self._seed)

    def holdout(self) -> None:
        assert self._asked.holdout
        champion = self.ground.champion.endpoint() if self.ground.champion else None
        folder = Path(self.ground.task.artifact)
        try:
            judged = measure_accuracy(folder, self._asked.holdout, self.endpoint, champion, seed=self._seed)
        finally:
            if champion:
                champion.close()
        self.found.metrics += judged.metrics
        self.found.environment |= judged.environment
        self.found.limitations += judged.limitations

    def concurrency(self) -> None:
        assert self._asked.concurrency
        brought = check_concurrency(self.endpoint, self._inputs(), self._asked.concurrency)
        self.found.metrics += brought.metrics
        self.found.findings += brought.findings
        self.found.environment |= brought.environment

    def sweep(self) -> None:
        assert self._asked.sweep
        brought = sweep_batches(
            self.endpoint, lambda size: self._inputs(1, size)[0], self._asked.sweep, seed=self._seed
        )
        self.found.metrics += brought.metrics
        self.found.attachments += brought.attachments
        self.found.environment |= brought.environment
        self.found.limitations += brought.limitations

    def soak(self) -> None:
        assert self._asked.soak
        memory, gpu = self.ground.candidate.memory_bytes, self.ground.gpu_bytes
        brought = soak(self.endpoint, self._inputs(), memory, self._asked.soak, gpu_bytes=gpu)
        self.found.metrics += brought.metrics
        self.found.limitations += brought.limitations
        seconds = self._asked.soak.duration_s
        self.found.environment["soak"] = f"{seconds:g} s, one request at a time, its first quarter left out"

    def llm(self) -> None:
        assert self._asked.llm
        brought = measure_llm(self.endpoint, self._asked.llm, seed=self._seed)
        self.found.metrics += brought.metrics
        self.found.environment |= brought.environment
        self.found.limitations += brought.limitations

    def cold_start(self) -> None:
        assert self._asked.cold_start
        if self.ground.launcher is None:
            raise EvidenceError("there is nothing to start servers with")
        self.found.metrics += measure_cold_starts(
            self.ground.launcher, self._inputs(1)[0], self._asked.cold_start.starts
        )
        self.found.environment["cold_start"] = "from the start of the process to its first answer, files in page cache"

    def robustness(self) -> None:
        brought = check_robustness(self.endpoint, self._inputs(1)[0], is_alive=self.ground.candidate.is_alive)
        self.found.findings += brought.findings
        self.found.environment |= brought.environment
