"""The shape of a policy file (`include/policies/*.yaml`).

A policy is one promotion path: which model versions it governs, what must be established, who decides, where the
model then serves. Unknown keys are refused. The published content, together with its committee and target, is
frozen into each request by digest.
"""

from __future__ import annotations

from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, field_validator, model_validator

from model_approval.domain.base import Name, Record, Sha256, Slug
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import HeaderName, Target
from model_approval.domain.digests import digest_of
from model_approval.domain.evidence import Severity
from model_approval.domain.request import PromotionRequest, RegisteredVersion

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$")]
"""A Kubernetes resource quantity, for example `500m` or `2Gi`."""


class Match(Record):
    """Which model versions this policy governs."""

    registry: Slug
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Shell-style patterns, case-sensitive, for example `fraud-*`."""
    environment: Slug

    def covers(self, version: RegisteredVersion, environment: str) -> bool:
        """Whether a version's promotion to that environment falls under this policy."""
        return (
            version.registry == self.registry
            and environment == self.environment
            and any(fnmatchcase(version.model, pattern) for pattern in self.models)
        )


class VersioningRules(Record):
    """Rules `versioning.*`; each true one is required."""

    semantic_version: bool = True
    greater_than_champion: bool = True
    source_run: bool = True
    immutable: bool = True


class SecurityHeaderRules(Record):
    """Rules `security-headers.*`: what the artifact and its serving configuration declare about themselves."""

    formats: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "onnx",
        "safetensors",
        "json",
        "yaml",
        "markdown",
        "csv",
        "text",
    )
    """Formats allowed in the artifact, as the magic bytes and suffix tell them."""
    signature: Literal["optional", "required"] = "optional"
    """An OpenSSF model signature (`model.sig`) in the artifact."""
    provenance: Literal["optional", "required"] = "optional"
    """A provenance statement (`provenance.json`) in the artifact."""
    classification: tuple[str, ...] = ()
    """Allowed data classifications; empty: none asked for."""
    licences: tuple[str, ...] = ()
    """Allowed licences (SPDX identifiers); empty: none asked for."""
    http_headers: dict[HeaderName, str | None] = {}
    """HTTP headers the serving configuration must declare; a value must match exactly, null allows any."""
    authentication: Literal["none", "bearer"] = "none"
    """The least authentication the endpoint must ask for."""


class Pattern(StrEnum):
    """Personal data that free text must not hold."""

    EMAIL = "email"
    PHONE = "phone"
    NATIONAL_ID = "national_id"
    CARD_NUMBER = "card_number"


class ValueRange(Record):
    """Bounds of a numeric column, both inclusive."""

    minimum: float | None = None
    maximum: float | None = None


class PrivacyRules(Record):
    """Rules `privacy.*`, run by Great Expectations over the declared input schema and the evaluation sample."""

    input_schema: str = "input_schema.json"
    """Path in the artifact: `{"columns": [{"name": ..., "type": ..., "personal": bool}]}`."""
    sample: str = "evaluation_sample.csv"
    """Path in the artifact: evaluation sample, CSV with header."""
    forbid_undeclared_personal_columns: bool = True
    forbid_patterns: tuple[Pattern, ...] = tuple(Pattern)
    max_null_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    ranges: dict[str, ValueRange] = {}


class IntakeRules(Record):
    """Static rules, evaluated before any pod starts. A rule that does not pass refuses the request."""

    versioning: VersioningRules = VersioningRules()
    security_headers: SecurityHeaderRules = SecurityHeaderRules()
    privacy: PrivacyRules | None = None
    documents: tuple[Name, ...] = ()
    """Kinds of documents that must be in the artifact, for example `model_card`."""
    max_artifact_bytes: Annotated[int, Field(gt=0)] = 50 * 1024**3


class Resources(Record):
    """What one validating pod gets; limits equal requests, so that a benchmark is not disturbed by bursts."""

    cpu: Quantity = "1"
    memory: Quantity = "2Gi"
    ephemeral_storage: Quantity = "10Gi"
    gpu: Annotated[int, Field(ge=0, le=16)] = 0


class MetricLimit(Record):
    """A threshold for one metric: absolute, or against the champion measured in the same run."""

    metric: Name
    unit: str
    minimum: float | None = None
    maximum: float | None = None
    max_ratio_to_champion: Annotated[float, Field(gt=0)] | None = None
    min_ratio_to_champion: Annotated[float, Field(gt=0)] | None = None
    without_champion: Literal["pass", "inconclusive"] = "pass"
    """What a relative limit says when there is no champion yet."""

    @model_validator(mode="after")
    def _says_something(self) -> MetricLimit:
        limits = (self.minimum, self.maximum, self.max_ratio_to_champion, self.min_ratio_to_champion)
        if all(limit is None for limit in limits):
            raise ValueError("give minimum, maximum, max_ratio_to_champion or min_ratio_to_champion")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError("minimum is above maximum, so nothing can pass")
        return self


class FindingLimit(Record):
    """How many findings of a severity or worse are accepted."""

    severity: Severity
    maximum: Annotated[int, Field(ge=0)] = 0


class CheckRule(Record):
    """One requirement on a check's evidence: exactly one of `limit`, `findings`, `coverage`."""

    id: Name
    title: Annotated[str, Field(min_length=1, max_length=200)]
    limit: MetricLimit | None = None
    findings: FindingLimit | None = None
    coverage: Literal["every_file"] | None = None
    waivable: bool = False
    required: bool = True

    @model_validator(mode="after")
    def _exactly_one(self) -> CheckRule:
        if sum(part is not None for part in (self.limit, self.findings, self.coverage)) != 1:
            raise ValueError("give exactly one of limit, findings, coverage")
        return self


class Check(Record):
    """One validator run: what runs, with which resources, and the rules over its evidence."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    """Also the task's id in the DAG."""
    validator: Literal["security_scan", "gpu_benchmark"]
    resources: Resources = Resources()
    timeout_s: Annotated[int, Field(ge=10, le=86_400)] = 3600
    """Limit for the running pod (`active_deadline_seconds`); scheduling time is the target's startup timeout."""
    allow_cpu: bool = False
    """Whether a benchmark may run without a GPU; its figures are labelled so."""
    parameters: dict[str, JsonValue] = {}
    rules: Annotated[tuple[CheckRule, ...], Field(min_length=1)]


class QuorumRule(Record):
    """How many approvals a role must give."""

    role: Slug
    votes: Annotated[int, Field(ge=1, le=50)] = 1


class Review(Record):
    """Who decides, and until when."""

    committee: Slug
    quorum: Annotated[tuple[QuorumRule, ...], Field(min_length=1)]
    response_timeout_h: Annotated[float, Field(gt=0, le=24 * 90)] = 120
    """Hours until an unanswered review ends as *expired*, never as approved. Five days: a week with a holiday."""
    expedited_timeout_h: Annotated[float, Field(gt=0, le=24 * 90)] = 24
    max_waiver_days: Annotated[int, Field(ge=1, le=365)] = 30
    approval_valid_h: Annotated[float, Field(gt=0, le=24 * 365)] = 72
    """Hours after the decision in which it allows a deployment."""

    @field_validator("quorum")
    @classmethod
    def _one_rule_a_role(cls, quorum: tuple[QuorumRule, ...]) -> tuple[QuorumRule, ...]:
        if len({rule.role for rule in quorum}) != len(quorum):
            raise ValueError("a role is named twice; give one number of votes for each")
        return quorum


class DeploymentRules(Record):
    """Where and how the approved model serves."""

    target: Slug
    serving: str = "serving.yaml"
    """Path in the artifact of the serving configuration."""
    smoke_input: str = "smoke_input.json"
    """Path in the artifact of one inference request that the live endpoint must answer."""
    readiness_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 120


class AuditRules(Record):
    """How long the record is locked."""

    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 365


class Policy(Record):
    """One promotion path."""

    schema_id: Annotated[Literal["model-approval/policy/v1"], Field(alias="schema")]
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    title: Annotated[str, Field(min_length=1, max_length=120)]
    owner: str
    match: Match
    intake: IntakeRules = IntakeRules()
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    review: Review
    deployment: DeploymentRules
    audit: AuditRules = AuditRules()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Policy:
        for what, names in (
            ("check", [check.name for check in self.checks]),
            ("rule", [rule.id for check in self.checks for rule in check.rules]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is defined twice")
        return self

    @property
    def dag_id(self) -> str:
        """The promotion path's DAG."""
        return dag_id_of(self.name)


def dag_id_of(policy_name: str) -> str:
    """The DAG of the promotion path that a policy of this name defines."""
    return f"promote__{policy_name.replace('-', '_')}"


class FrozenPolicy(Record):
    """A policy with the committee and target it names, as they were when a request came in."""

    policy: Policy
    committee: Committee
    target: Target

    @property
    def digest(self) -> Sha256:
        """Names this exact set of rules; frozen into the request, votes and decision."""
        return digest_of(self)

    def check(self, name: str) -> Check | None:
        """The check of that name, or None."""
        return next((check for check in self.policy.checks if check.name == name), None)

    def eligible_voters(self, request: PromotionRequest) -> dict[str, frozenset[str]]:
        """For each role of the quorum, who may vote on this request."""
        return {
            rule.role: self.committee.members_with(rule.role) - request.contributors
            for rule in self.policy.review.quorum
        }
