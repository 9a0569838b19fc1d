"""What a validator is given, what it reports, and what the policy makes of it.

The contract: a program in a container reads `input.json` and the artifact folder and writes one `evidence.json`.
Exit 0 says that it ran, whatever it found. Every file it was given is covered or named as not covered.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator

from model_approval.domain.base import Name, Record, Sha256, Text, UtcTime
from model_approval.domain.digests import digest_of
from model_approval.domain.manifest import ArtifactManifest


class Verdict(StrEnum):
    """Of one check or rule. Only `passed` (or a waiver) lets a promotion go on."""

    PASSED = "passed"
    FAILED = "failed"
    """It said no."""
    ERRORED = "errored"
    """It broke."""
    INCONCLUSIVE = "inconclusive"
    """It could not tell."""
    SKIPPED = "skipped"


_WORST_FIRST = (Verdict.FAILED, Verdict.ERRORED, Verdict.INCONCLUSIVE, Verdict.PASSED, Verdict.SKIPPED)


def worst(verdicts: tuple[Verdict, ...]) -> Verdict:
    """The verdict of several together; of none, `inconclusive`: silence never passes."""
    return next((verdict for verdict in _WORST_FIRST if verdict in verdicts), Verdict.INCONCLUSIVE)


class Severity(StrEnum):
    """How bad a finding is."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for info up to 4 for critical."""
        return list(Severity).index(self)


class Finding(Record):
    """Something a validator noticed."""

    rule: Name
    severity: Severity
    file: str = ""
    inner: Annotated[str, Field(max_length=1000)] = ""
    """Where inside the file, for something packed into it: `archive.zip!a/data.pkl` without the file's own path."""
    offset: int | None = None
    """Byte offset in the file (or in what `inner` names), where the validator knows one."""
    line: int | None = None
    """Line in a text, counted from 1."""
    subject: Annotated[str, Field(max_length=300)] = ""
    """What it is about, without words around it: an imported name, an operator, an advisory's id."""
    message: Text
    advice: Text = ""
    engines: tuple[Name, ...] = ()
    """Which programs reported it; empty: the validator's own code alone."""

    @property
    def fingerprint(self) -> str:
        """Names this finding across runs, versions of the model and rewordings; acceptances refer to it.

        Rule, file, place inside and subject are in it; offset, severity and words are not. `mf1` is this recipe.
        """
        return "mf1-" + digest_of([self.rule, self.file, self.inner, self.subject])[len("sha256:") :][:32]


class Ratio(Record):
    """Candidate divided by champion, both measured in turn in the same run."""

    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    low: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    high: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    """Bounds of the 95 % interval of the ratio itself, by block bootstrap."""
    noise: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """How far from 1 the champion against itself came in this run: what cannot be told from nothing."""


class Metric(Record):
    """A measured figure with its unit; `baseline` is the champion's, measured in the same run."""

    name: Name
    value: float
    unit: Annotated[str, Field(min_length=1, max_length=32)]
    low: float | None = None
    high: float | None = None
    """Bounds of the 95 % interval, where one was computed."""
    baseline: float | None = None
    ratio: Ratio | None = None
    """Where it was measured: the only ground on which a limit relative to the champion is judged."""
    samples: int | None = None

    @field_validator("value", "low", "high", "baseline")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a metric must be a finite number")
        return value


class FileCoverage(Record):
    """Whether a file was really looked into, and by what."""

    path: str
    covered: bool
    format: str = "unknown"
    note: Text = ""


class Attachment(Record):
    """A document that a validator made: a bill of materials, a table of measurements."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
    """A plain file name, for example `sbom.cdx.json` or `latencies.csv`."""
    media_type: Annotated[str, Field(pattern=r"^[a-z]+/[a-z0-9.+-]{1,80}$")]
    text: Annotated[str, Field(max_length=8 * 1024**2)]


class Device(StrEnum):
    """What a benchmark ran on; never left out, so that a CPU figure is not taken for a GPU's."""

    CUDA = "cuda"
    CPU = "cpu"
    NONE = "none"


class ValidatorInput(Record):
    """`input.json`: all that a validator is told."""

    schema_id: Literal["model-approval/validator-input/v1"] = "model-approval/validator-input/v1"
    request_id: str
    check: Name
    artifact_digest: Sha256
    manifest: ArtifactManifest
    champion_manifest: ArtifactManifest | None = None
    image_digest: str
    """What the validator was started from; it is repeated in the evidence and compared."""
    parameters: dict[str, JsonValue] = {}
    allow_cpu: bool = False
    seed: int = 0


class ValidatorJob(Record):
    """`job.json`: the input and the capabilities that go with it. Secret: whoever reads it can write the evidence."""

    schema_id: Literal["model-approval/validator-job/v1"] = "model-approval/validator-job/v1"
    input: ValidatorInput
    validator: Name
    """Which program runs: `security_scan` or `gpu_benchmark`."""
    downloads: dict[str, str]
    """Manifest path -> presigned GET URL."""
    champion_downloads: dict[str, str] = {}
    upload_url: str
    """Write-once presigned PUT URL of `evidence.json`."""
    timeout_s: Annotated[int, Field(ge=1)]


class Evidence(Record):
    """`evidence.json`: all that a validator reports. It holds no verdict: the policy decides."""

    schema_id: Literal["model-approval/evidence/v1"] = "model-approval/evidence/v1"
    request_id: str
    check: Name
    validator: Name
    validator_version: Annotated[str, Field(max_length=64)]
    image_digest: str
    artifact_digest: Sha256
    started_at: UtcTime
    finished_at: UtcTime
    findings: Annotated[tuple[Finding, ...], Field(max_length=10_000)] = ()
    metrics: Annotated[tuple[Metric, ...], Field(max_length=1_000)] = ()
    coverage: Annotated[tuple[FileCoverage, ...], Field(max_length=100_000)] = ()
    device: Device = Device.NONE
    environment: dict[str, str] = {}
    """Fingerprint of hardware, drivers, library versions, confinement in force."""
    attachments: Annotated[tuple[Attachment, ...], Field(max_length=16)] = ()
    limitations: tuple[Text, ...] = ()
    """Why this evidence does not allow a yes: too few samples, a file not parsed, no GPU. Any entry: inconclusive."""

    def metric(self, name: str) -> Metric | None:
        """The metric of that name, or None."""
        return next((metric for metric in self.metrics if metric.name == name), None)


class StoredEvidence(Record):
    """Evidence as it came home, named by its bytes; or the reason why none came."""

    request_id: str
    check: Name
    run: Annotated[int, Field(ge=1)]
    """1 for the first run of this check, up by one at each re-run."""
    digest: Sha256 | None = None
    evidence: Evidence | None = None
    error: Text = ""
    recorded_at: UtcTime

    @property
    def is_usable(self) -> bool:
        """Whether a validator really reported."""
        return self.evidence is not None and self.digest is not None


class TableResult(Record):
    """What became of the expectations of one rule over a table of the evidence."""

    rule: Name
    table: str
    rows: int = 0
    problems: tuple[Text, ...] = ()
    """Expectations that are not met, in words."""
    error: Text = ""
    """Why they could not be checked; empty when they were."""
    data_docs: str = ""
    """Name of the document (HTML) that shows the validation, kept with the evidence."""


class TableResults(Record):
    """`expectations/<check>-<run>.json`: all results over one run's tables."""

    schema_id: Literal["model-approval/table-results/v1"] = "model-approval/table-results/v1"
    evidence_digest: Sha256
    library: str
    results: tuple[TableResult, ...]

    def of(self, rule: str) -> TableResult | None:
        """The result of one rule, or None."""
        return next((one for one in self.results if one.rule == rule), None)


class RuleOutcome(Record):
    """One requirement of the policy, evaluated, with the reason in words."""

    rule: Name
    check: Name
    """The check it belongs to, `intake` for static rules."""
    title: Text
    verdict: Verdict
    reason: Text
    required: bool = True
    waivable: bool = False
    value: float | None = None
    unit: str = ""
    limit: str = ""
    baseline: float | None = None
    device: Device = Device.NONE


def evidence_digest(evidence: tuple[StoredEvidence, ...], outcomes: tuple[RuleOutcome, ...]) -> str:
    """One digest over all that a reviewer was shown; it changes when any evidence or outcome does."""
    return digest_of(
        {
            "evidence": sorted([item.check, item.run, item.digest or item.error] for item in evidence),
            "outcomes": sorted(digest_of(outcome) for outcome in outcomes),
        }
    )
