"""Valid records for tests, one builder a noun; a test states only the fields that its point is about.

All defaults fit together: the request names the digest of `a_frozen_policy()`, the candidate the digest of
`a_manifest()`, votes and evidence the digests of both. Who is who: `rita` asks, `ana` and `sam` are security,
`max` is the ML manager (votes, waives, expedites), `bo` is risk (in the committee, not in the quorum).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import cast

from model_approval.domain.committee import Ability, Committee
from model_approval.domain.deployment import ServingConfig, Target
from model_approval.domain.digests import digest_of, sha256_of
from model_approval.domain.evidence import Evidence, RuleOutcome, StoredEvidence
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.promotion import Candidate, ChampionRef, Document, Promotion, PromotionState
from model_approval.domain.request import PromotionRequest, RegisteredVersion, RequestPayload, request_id
from model_approval.domain.review import Decision, Vote, Waiver
from model_approval.policy.schema import FrozenPolicy, Policy

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
"""The tests' clock: a Monday noon."""

FILES: Mapping[str, bytes] = {
    "model.onnx": b"\x08\x07model",
    "serving.yaml": b"authentication: bearer\n",
    "docs/model_card.md": b"# Model card\n",
}
EVIDENCE_DIGEST = sha256_of(b"all that the reviewers were shown")
"""The evidence digest of `a_promotion()` in review, and of the votes and waivers on it."""


def clock() -> datetime:
    """A `Clock` that stands still at NOW."""
    return NOW


def a_committee(**changes: object) -> Committee:
    """Security (ana, sam), risk (bo), ML manager (max, with every ability)."""
    fields = {
        "schema": "model-approval/committee/v1",
        "name": "model-risk",
        "title": "Model risk committee",
        "roles": {
            "security": {"title": "Security", "members": ("ana", "sam")},
            "risk": {"title": "Risk", "members": ("bo",)},
            "ml-manager": {"title": "ML manager", "members": ("max",), "abilities": tuple(Ability)},
        },
    }
    return Committee.model_validate({**fields, **changes})


def a_target(**changes: object) -> Target:
    """The local target."""
    return Target.model_validate({"schema": "model-approval/target/v1", "name": "local", "runtime": "local", **changes})


def a_kubernetes_target(**changes: object) -> Target:
    """A target on a cluster."""
    images = {"validator_image": "localhost/validator:dev", "server_image": "localhost/server:dev"}
    return a_target(**{"name": "cluster", "runtime": "kubernetes", "kubernetes": images, **changes})


def a_security_check(**changes: object) -> dict[str, object]:
    """The check `security_scan`: no finding of severity high (not waivable), every file covered (waivable)."""
    rules = (
        {"id": "security.no-high-findings", "title": "No high findings", "findings": {"severity": "high"}},
        {"id": "security.full-coverage", "title": "Every file scanned", "coverage": "every_file", "waivable": True},
    )
    return {"name": "security_scan", "validator": "security_scan", "rules": rules, **changes}


def a_benchmark_check(**changes: object) -> dict[str, object]:
    """The check `gpu_benchmark`: p99 latency at most 50 ms (waivable); CPU allowed."""
    limit = {"metric": "latency_p99", "unit": "ms", "maximum": 50}
    rule = {"id": "performance.latency-p99", "title": "p99 latency", "limit": limit, "waivable": True}
    return {"name": "gpu_benchmark", "validator": "gpu_benchmark", "allow_cpu": True, "rules": (rule,), **changes}


def a_policy(**changes: object) -> Policy:
    """Two checks; quorum of one security and one ML manager; local target."""
    fields = {
        "schema": "model-approval/policy/v1",
        "name": "fraud-scoring",
        "title": "Fraud scoring",
        "owner": "risk-ml",
        "match": {"registry": "mlflow", "models": ("fraud-*",), "environment": "production"},
        "checks": (a_security_check(), a_benchmark_check()),
        "review": {
            "committee": "model-risk",
            "quorum": ({"role": "security", "votes": 1}, {"role": "ml-manager", "votes": 1}),
        },
        "deployment": {"target": "local"},
    }
    return Policy.model_validate({**fields, **changes})


def a_frozen_policy(
    *, policy: Policy | None = None, committee: Committee | None = None, target: Target | None = None
) -> FrozenPolicy:
    """`a_policy()` with `a_committee()` and `a_target()`."""
    if policy is None and committee is None and target is None:
        return _default_policy()
    return FrozenPolicy(policy=policy or a_policy(), committee=committee or a_committee(), target=target or a_target())


@cache
def _default_policy() -> FrozenPolicy:
    # Nearly every record names its digest, and property tests build thousands of records.
    return FrozenPolicy(policy=a_policy(), committee=a_committee(), target=a_target())


@cache
def _default_digest() -> str:
    return _default_policy().digest


def a_payload(**changes: object) -> RequestPayload:
    """What the requester rita says."""
    fields = {
        "environment": "production",
        "reason": "retrained on the third quarter's data",
        "requester": "rita",
        "semantic_version": "2.1.0",
        "documents": {"model_card": "docs/model_card.md"},
        "classification": "internal",
        "licence": "Apache-2.0",
    }
    return RequestPayload.model_validate({**fields, **changes})


def a_registered_version(**changes: object) -> RegisteredVersion:
    """Version 7 of `fraud-scorer`, tagged as requested."""
    fields = {
        "registry": "mlflow",
        "model": "fraud-scorer",
        "version": "7",
        "artifact_uri": "memory://fraud-scorer/7",
        "ready": True,
        "source_run": "run-7",
        "tags": {"promotion": "requested"},
    }
    return RegisteredVersion.model_validate({**fields, **changes})


def a_request(*, policy: FrozenPolicy | None = None, **changes: object) -> PromotionRequest:
    """Rita's request for `a_registered_version()`; its id is derived from the fields unless given."""
    frozen = policy or a_frozen_policy()
    fields: dict[str, object] = {
        "registry": "mlflow",
        "model": "fraud-scorer",
        "version": "7",
        "environment": frozen.policy.match.environment,
        "attempt": 1,
        "payload": a_payload(environment=frozen.policy.match.environment),
        "channel": "tag",
        "policy_name": frozen.policy.name,
        "policy_digest": frozen.digest if policy else _default_digest(),
        "created_at": NOW - timedelta(hours=1),
        **changes,
    }
    derived = request_id(
        registry=str(fields["registry"]),
        model=str(fields["model"]),
        version=str(fields["version"]),
        environment=str(fields["environment"]),
        attempt=int(str(fields["attempt"])),
    )
    return PromotionRequest.model_validate({"id": derived, **fields})


def a_manifest(files: Mapping[str, bytes] = FILES) -> ArtifactManifest:
    """The manifest of files given as path -> content."""
    entries = [
        {"path": path, "size_bytes": len(data), "sha256": sha256_of(data).removeprefix("sha256:")}
        for path, data in files.items()
    ]
    return ArtifactManifest.model_validate({"files": entries})


def a_champion(**changes: object) -> ChampionRef:
    """Version 6, serving as 2.0.0."""
    fields = {
        "model": "fraud-scorer",
        "version": "6",
        "artifact_digest": sha256_of(b"champion"),
        "artifact_uri": "memory://fraud-scorer/6",
        "semantic_version": "2.0.0",
    }
    return ChampionRef.model_validate({**fields, **changes})


def a_candidate(request: PromotionRequest | None = None, **changes: object) -> Candidate:
    """What intake pinned for a request: `a_manifest()` and its model card."""
    manifest = changes.get("manifest", a_manifest())
    assert isinstance(manifest, ArtifactManifest)
    fields = {
        "request_id": (request or a_request()).id,
        "artifact_uri": "memory://fraud-scorer/7",
        "manifest": manifest,
        "artifact_digest": manifest.artifact_digest,
        "documents": tuple(
            Document(kind="model_card", path=entry.path, sha256=entry.sha256, size_bytes=entry.size_bytes)
            for entry in manifest.files
            if entry.path == "docs/model_card.md"
        ),
        "pinned_at": NOW - timedelta(minutes=50),
    }
    return Candidate.model_validate({**fields, **changes})


def an_outcome(**changes: object) -> RuleOutcome:
    """The p99 latency rule, passed."""
    fields = {
        "rule": "performance.latency-p99",
        "check": "gpu_benchmark",
        "title": "p99 latency",
        "verdict": "passed",
        "reason": "latency_p99 41.2 ms is within the limit of at most 50 ms",
        "value": 41.2,
        "unit": "ms",
        "limit": "<= 50 ms",
        "waivable": True,
        "device": "cpu",
    }
    return RuleOutcome.model_validate({**fields, **changes})


def passed_outcomes() -> tuple[RuleOutcome, ...]:
    """One passed outcome for every check rule of `a_policy()`."""
    return (
        an_outcome(
            rule="security.no-high-findings",
            check="security_scan",
            title="No high findings",
            waivable=False,
            reason="no finding of severity high or worse",
        ),
        an_outcome(
            rule="security.full-coverage",
            check="security_scan",
            title="Every file scanned",
            reason="all 3 files were looked into",
        ),
        an_outcome(),
    )


_BEFORE_CANDIDATE = (PromotionState.REQUESTED, PromotionState.REFUSED)
_BEFORE_REVIEW = (*_BEFORE_CANDIDATE, PromotionState.VALIDATING)


def a_promotion(
    *,
    state: PromotionState | str = PromotionState.IN_REVIEW,
    request: PromotionRequest | None = None,
    **changes: object,
) -> Promotion:
    """A promotion with all that its state implies: candidate, outcomes, evidence digest, review deadline."""
    state, request = PromotionState(state), request or a_request()
    fields: dict[str, object] = {"request": request, "state": state, "state_since": NOW - timedelta(minutes=10)}
    if state not in _BEFORE_CANDIDATE:
        fields["candidate"] = a_candidate(request)
    if state not in _BEFORE_REVIEW:
        fields["check_outcomes"] = passed_outcomes()
        fields["evidence_digest"] = EVIDENCE_DIGEST
        fields["review_deadline"] = NOW + timedelta(hours=120)
    return Promotion.model_validate({**fields, **changes})


LOCKS_IN_FORCE = {
    f"confinement.{lock}": "in force: as on every machine of these tests"
    for lock in ("limits", "capabilities", "landlock", "seccomp")
}


def an_evidence(check: str = "security_scan", **changes: object) -> Evidence:
    """Good evidence of a check for `a_candidate()`: no findings, all files covered, p99 of 41.2 ms."""
    manifest = a_manifest()
    fields: dict[str, object] = {
        "request_id": a_request().id,
        "check": check,
        "validator": check,
        "validator_version": "1.0.0",
        "image_digest": sha256_of(b"validator image"),
        "artifact_digest": manifest.artifact_digest,
        "started_at": NOW - timedelta(minutes=40),
        "finished_at": NOW - timedelta(minutes=39),
    }
    locks = dict(LOCKS_IN_FORCE)
    if check == "security_scan":
        fields["coverage"] = tuple({"path": entry.path, "covered": True} for entry in manifest.files)
    if check == "gpu_benchmark":
        fields["device"] = "cpu"
        locks |= {f"model_process.{lock}": state for lock, state in LOCKS_IN_FORCE.items()}
        fields["metrics"] = ({"name": "latency_p99", "value": 41.2, "unit": "ms", "low": 40.1, "high": 42.6},)
    facts = {**locks, **cast("dict[str, str]", changes.pop("environment", {}))}
    return Evidence.model_validate({**fields, "environment": facts, **changes})


def a_stored_evidence(evidence: Evidence | None = None, *, run: int = 1, **changes: object) -> StoredEvidence:
    """Evidence as it came home; pass `evidence=None, error=...` in the changes for one that did not."""
    found = evidence or an_evidence()
    fields = {
        "request_id": found.request_id,
        "check": found.check,
        "run": run,
        "digest": digest_of(found),
        "evidence": found,
        "recorded_at": NOW - timedelta(minutes=38),
    }
    return StoredEvidence.model_validate({**fields, **changes})


def a_missing_evidence(check: str = "security_scan", *, error: str, run: int = 1) -> StoredEvidence:
    """A run that brought no evidence home, and why."""
    return StoredEvidence(request_id=a_request().id, check=check, run=run, error=error, recorded_at=NOW)


def a_vote(promotion: Promotion | None = None, *, by: str = "ana", **changes: object) -> Vote:
    """An approval by ana for security, bound to what the promotion shows; give `role` for anybody else."""
    promotion = promotion or a_promotion()
    assert promotion.candidate is not None
    fields: dict[str, object] = {
        "id": f"vote-{digest_of([promotion.id, by])[7:15]}",
        "request_id": promotion.id,
        "reviewer": by,
        "role": {"max": "ml-manager", "bo": "risk"}.get(by, "security"),
        "choice": "approve",
        "artifact_digest": promotion.candidate.artifact_digest,
        "policy_digest": promotion.request.policy_digest,
        "evidence_digest": promotion.evidence_digest,
        "authentication": "airflow-session",
        "cast_at": NOW - timedelta(minutes=5),
    }
    return Vote.model_validate({**fields, **changes})


def a_waiver(promotion: Promotion | None = None, **changes: object) -> Waiver:
    """Max waives the latency rule for thirty days."""
    promotion = promotion or a_promotion()
    fields: dict[str, object] = {
        "id": "waiver-1",
        "request_id": promotion.id,
        "rule": "performance.latency-p99",
        "reason": "the batch path tolerates it",
        "granted_by": "max",
        "role": "ml-manager",
        "granted_at": NOW - timedelta(minutes=4),
        "expires_at": NOW - timedelta(minutes=4) + timedelta(days=30),
        "evidence_digest": promotion.evidence_digest,
    }
    return Waiver.model_validate({**fields, **changes})


def a_decision(promotion: Promotion | None = None, **changes: object) -> Decision:
    """An approval by ana and max, valid for 72 hours."""
    promotion = promotion or a_promotion()
    assert promotion.candidate is not None
    votes = (a_vote(promotion, by="ana"), a_vote(promotion, by="max"))
    fields: dict[str, object] = {
        "request_id": promotion.id,
        "outcome": "approved",
        "reason": "approved by ana (Security) and max (ML manager)",
        "artifact_digest": promotion.candidate.artifact_digest,
        "policy_digest": promotion.request.policy_digest,
        "evidence_digest": promotion.evidence_digest,
        "model": promotion.request.model,
        "version": promotion.request.version,
        "environment": promotion.request.environment,
        "target": "local",
        "signatories": tuple(
            {
                "subject": vote.reviewer,
                "role": vote.role,
                "meaning": "approved",
                "vote_digest": vote.digest,
                "cast_at": vote.cast_at,
                "authentication": vote.authentication,
            }
            for vote in votes
        ),
        "decided_at": NOW,
        "valid_until": NOW + timedelta(hours=72),
    }
    return Decision.model_validate({**fields, **changes})


def a_serving_config(**changes: object) -> ServingConfig:
    """Bearer authentication and the common security headers."""
    fields = {
        "headers": {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"},
        "authentication": "bearer",
    }
    return ServingConfig.model_validate({**fields, **changes})
