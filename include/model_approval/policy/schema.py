"""The shape of a policy file (`include/policies/*.yaml`).

A policy is one promotion path: which model versions it governs, what must be established, who decides, where the
model then serves. Unknown keys are refused. The published content, together with its committee and target, is
frozen into each request by digest.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, ValidationInfo, field_validator, model_validator

from model_approval.domain.base import Name, Reason, Record, Sha256, Slug, Subject
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import HeaderName, Target
from model_approval.domain.digests import digest_of
from model_approval.domain.evidence import Severity
from model_approval.domain.openvex import Justification
from model_approval.domain.request import PromotionRequest, RegisteredVersion
from model_approval.policy.table_suite import mistake_in

Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$")]
"""A Kubernetes resource quantity, for example `500m` or `2Gi`."""

_TAIL_PERCENT = 90
"""From here on a ratio to the champion's percentile is off by up to 11 % even when both are measured in turn."""


class Match(Record):
    """Which model versions this policy governs."""

    registry: Slug
    """Name of the registry that is watched: `mlflow` or `s3`."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Shell-style patterns, case-sensitive, for example `fraud-*`."""
    environment: Slug
    """The environment that the request must name."""

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
    """The payload states a semantic version."""
    greater_than_champion: bool = True
    """That version is greater than the champion's."""
    source_run: bool = True
    """The registry knows the run that made the version."""
    immutable: bool = True
    """Complete in the registry, and the same bytes as in every earlier request."""


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
    """Unset: open below."""
    maximum: float | None = None
    """Unset: open above."""


class PrivacyRules(Record):
    """Rules `privacy.*`, run by Great Expectations over the declared input schema and the evaluation sample."""

    input_schema: str = "input_schema.json"
    """Path in the artifact: `{"columns": [{"name": ..., "type": ..., "personal": bool}]}`."""
    sample: str = "evaluation_sample.csv"
    """Path in the artifact: evaluation sample, CSV with header."""
    forbid_undeclared_personal_columns: bool = True
    """Every column whose name or schema speaks of personal data must be in the payload's `personal_data_columns`."""
    forbid_patterns: tuple[Pattern, ...] = tuple(Pattern)
    """What no text of the sample may look like."""
    max_null_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """How much of each column may be empty, 0 to 1."""
    ranges: dict[str, ValueRange] = {}
    """Column -> bounds that every value must keep."""


class IntakeRules(Record):
    """Static rules, evaluated before any pod starts. A rule that does not pass refuses the request."""

    versioning: VersioningRules = VersioningRules()
    """See VersioningRules."""
    security_headers: SecurityHeaderRules = SecurityHeaderRules()
    """See SecurityHeaderRules."""
    privacy: PrivacyRules | None = None
    """See PrivacyRules; unset: the model brings no sample and no data is looked at."""
    documents: tuple[Name, ...] = ()
    """Kinds of documents that must be in the artifact, for example `model_card`."""
    max_artifact_bytes: Annotated[int, Field(gt=0)] = 9 * 1024**3
    """All files together. Checks need as much `ephemeral_storage`, or their pods are evicted."""


class Resources(Record):
    """What one validating pod gets; limits equal requests, so that a benchmark is not disturbed by bursts."""

    cpu: Quantity = "1"
    """Cores, for example `2` or `500m`."""
    memory: Quantity = "2Gi"
    """A check that needs more is *errored* (OOMKilled)."""
    ephemeral_storage: Quantity = "10Gi"
    """Room for the artifact and scratch files."""
    gpu: Annotated[int, Field(ge=0, le=16)] = 0
    """GPUs, by the resource name that the target gives them."""
    gpu_product: Annotated[str, Field(max_length=80)] | None = None
    """The kind of GPU that a benchmark must have run on, in whole words of the name its driver tells: `H100`, and
    `L4` is no `L40S`. Figures of another one say neither yes nor no."""


class MetricLimit(Record):
    """A threshold for one metric: absolute, or against the champion measured in the same run."""

    metric: Name
    """As the validator reports it: `latency_p99`, `throughput`, `peak_memory` ..."""
    unit: str
    """The unit it must be reported in; another one makes the check *errored*."""
    minimum: float | None = None
    """Absolute, inclusive."""
    maximum: float | None = None
    """Absolute, inclusive."""
    max_ratio_to_champion: Annotated[float, Field(gt=0)] | None = None
    """At most this many times the champion's figure, by the 95 % interval of the ratio; not for p90 and above."""
    min_ratio_to_champion: Annotated[float, Field(gt=0)] | None = None
    """At least this many times the champion's figure, by the 95 % interval of the ratio; not for p90 and above."""
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

    @model_validator(mode="after")
    def _compares_no_tail(self) -> MetricLimit:
        relative = self.max_ratio_to_champion is not None or self.min_ratio_to_champion is not None
        tail = re.search(r"_p(\d+(?:\.\d+)?)$", self.metric)
        if relative and tail and float(tail[1]) >= _TAIL_PERCENT:
            raise ValueError(
                f"{self.metric} cannot be compared with the champion's: a tail rests on a few requests; "
                "compare the p50 or the throughput, and give the tail an absolute maximum"
            )
        return self


class FindingLimit(Record):
    """How many findings of a severity or worse are accepted."""

    severity: Severity
    """`info`, `low`, `medium`, `high` or `critical`; worse ones count too."""
    maximum: Annotated[int, Field(ge=0)] = 0
    """How many there may be."""


class TableExpectation(Record):
    """One expectation, by the name that Great Expectations gives it."""

    type: str
    """For example `expect_column_median_to_be_between`."""
    kwargs: dict[str, JsonValue] = {}
    """Its arguments, for example `{column: ms, max_value: 20}`."""

    @model_validator(mode="after")
    def _known(self) -> TableExpectation:
        if mistake := mistake_in(self.type, self.kwargs):
            raise ValueError(mistake)
        return self


class TableRule(Record):
    """A suite of expectations over a table that the validator brought; all must be met.

    Over a table without rows no expectation about a column's values is met, and over a column with missing values
    (empty, `NaN`, `null`) none but those that speak of it: `expect_column_values_to_not_be_null` with `mostly` lets the
    others of the suite judge what is there, and an expectation's own `mostly` lets off as large a share of missing
    values as of wrong ones. Where all values are missing, none of these is met.
    """

    table: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,79}$")]
    """Name of the evidence's attachment, for example `latencies.csv`."""
    suite: Annotated[tuple[TableExpectation, ...], Field(min_length=1, max_length=100)]
    """See TableExpectation."""


class CheckRule(Record):
    """One requirement on a check's evidence: exactly one of `limit`, `findings`, `coverage`, `expectations`."""

    id: Name
    """Unique in the policy; waivers name it."""
    title: Annotated[str, Field(min_length=1, max_length=200)]
    """What reviewers read."""
    limit: MetricLimit | None = None
    """See MetricLimit."""
    findings: FindingLimit | None = None
    """See FindingLimit."""
    coverage: Literal["every_file"] | None = None
    """`every_file`: each file of the artifact was looked into."""
    expectations: TableRule | None = None
    """See TableRule."""
    waivable: bool = False
    """Whether somebody with the ability `waive` may accept that it did not pass. If not, a *failed* ends the review."""
    required: bool = True
    """False: shown as advisory, blocks nothing."""

    @model_validator(mode="after")
    def _exactly_one(self) -> CheckRule:
        if sum(part is not None for part in (self.limit, self.findings, self.coverage, self.expectations)) != 1:
            raise ValueError("give exactly one of limit, findings, coverage, expectations")
        return self


class AcceptedFinding(Record):
    """One finding that somebody answers for: it does not count against a `findings` rule until the date."""

    fingerprint: Annotated[str, StringConstraints(pattern=r"^mf1-[0-9a-f]{32}$")]
    """Names exactly this finding, as `model-approval scan` shows it."""
    reason: Annotated[Reason, Field(max_length=500)]
    """Why it does no harm; reviewers read it."""
    owner: Subject
    """Who answers for it."""
    expires: date
    """The last day (UTC) on which it holds, for example `2026-12-31`."""
    justification: Justification
    """The OpenVEX code of the reason, for example `inline_mitigations_already_exist`."""

    def holds(self, at: datetime) -> bool:
        """Whether it is in force at a moment."""
        return at.astimezone(UTC).date() <= self.expires


BUILT_IN_VALIDATORS = ("security_scan", "gpu_benchmark")


class Check(Record):
    """One validator run: what runs, with which resources, and the rules over its evidence."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    """Also the task's id in the DAG."""
    validator: Name
    """The program that runs: `security_scan`, `gpu_benchmark`, or a name for your own, which needs `image`."""
    image: Annotated[str | None, Field(max_length=500, validate_default=True)] = None
    """Container image of your own validator; see include/docs/custom-validators.md. In production by digest."""
    resources: Resources = Resources()
    """See Resources; of no effect on a `local` target."""
    timeout_s: Annotated[int, Field(ge=10, le=86_400)] = 3600
    """Limit for the validator itself. Its pod may take the target's `startup_timeout_s` on top, fetching included."""
    confinement: Literal["required", "reported"] = "required"
    """What a lock means that the machine cannot put on a validator or model server (Landlock, seccomp, ...): *required*
    leaves the check inconclusive, *reported* only shows it."""
    allow_cpu: bool = False
    """Whether a benchmark may run without a GPU; its figures are labelled so."""
    parameters: dict[str, JsonValue] = {}
    """Handed to the validator as they are."""
    rules: Annotated[tuple[CheckRule, ...], Field(min_length=1)]
    """See CheckRule."""

    @field_validator("image")
    @classmethod
    def _given_for_validators_of_ones_own(cls, image: str | None, info: ValidationInfo) -> str | None:
        validator = info.data.get("validator")
        if validator in BUILT_IN_VALIDATORS and image:
            raise ValueError(f"{validator} runs from the target's validator_image; remove it")
        if validator is not None and validator not in BUILT_IN_VALIDATORS and not image:
            known = " or ".join(BUILT_IN_VALIDATORS)
            raise ValueError(f"the validator {validator!r} is not {known}: give the image that runs it")
        return image

    accepted_findings: Annotated[tuple[AcceptedFinding, ...], Field(max_length=1000)] = ()
    """See AcceptedFinding."""

    @field_validator("accepted_findings")
    @classmethod
    def _accepted_once(cls, accepted: tuple[AcceptedFinding, ...]) -> tuple[AcceptedFinding, ...]:
        if len({one.fingerprint for one in accepted}) != len(accepted):
            raise ValueError("a fingerprint is accepted twice; one owner and one date for each")
        return accepted


class QuorumRule(Record):
    """How many approvals a role must give."""

    role: Slug
    """A role of the committee whose members may vote."""
    votes: Annotated[int, Field(ge=1, le=50)] = 1
    """Approvals by that many different people."""


class Review(Record):
    """Who decides, and until when."""

    committee: Slug
    """A committee in `committees/`, by its name."""
    quorum: Annotated[tuple[QuorumRule, ...], Field(min_length=1)]
    """All of these; see QuorumRule."""
    response_timeout_h: Annotated[float, Field(gt=0, le=24 * 90)] = 120
    """Hours until an unanswered review ends as *expired*, never as approved. Five days: a week with a holiday."""
    expedited_timeout_h: Annotated[float, Field(gt=0, le=24 * 90)] = 24
    """Hours that are left once somebody expedites the request."""
    max_waiver_days: Annotated[int, Field(ge=1, le=365)] = 30
    """The longest time for which a rule may be waived."""
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
    """A target in `targets/`, by its name."""
    serving: str = "serving.yaml"
    """Path in the artifact of the serving configuration."""
    smoke_input: str = "smoke_input.json"
    """Path in the artifact of one inference request that the live endpoint must answer."""
    readiness_timeout_s: Annotated[int, Field(ge=1, le=3600)] = 120
    """How long the new version may take to be ready; then the champion comes back."""


class AuditRules(Record):
    """How long the record is locked."""

    retention_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """Days for which every audit entry of the promotion stays locked, counted from its event."""


class Policy(Record):
    """One promotion path."""

    schema_id: Annotated[Literal["model-approval/policy/v1"], Field(alias="schema")]
    """`model-approval/policy/v1`."""
    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
    """Names the DAG: `promote__<name>`, hyphens as underscores."""
    title: Annotated[str, Field(min_length=1, max_length=120)]
    """What people read."""
    owner: str
    """The team that answers for it; owner of the DAG."""
    match: Match
    """See Match."""
    intake: IntakeRules = IntakeRules()
    """See IntakeRules."""
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]
    """See Check; they run side by side."""
    review: Review
    """See Review."""
    deployment: DeploymentRules
    """See DeploymentRules."""
    audit: AuditRules = AuditRules()
    """See AuditRules."""

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
