"""A whole installation over memory twins with a clock that tests move: real stages, policies and signatures.

world = a_world()
world.register(); world.tag()
promotion = world.to_review()
world.vote("ana"); world.vote("max")
world.deploy()
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from model_approval.adapters.memory.artifacts import MemoryArtifactStore
from model_approval.adapters.memory.audit import MemoryAuditLog
from model_approval.adapters.memory.evidence import MemoryEvidenceStore
from model_approval.adapters.memory.profiler import MemoryProfiler
from model_approval.adapters.memory.registry import MemoryRegistry
from model_approval.adapters.memory.reviews import MemoryReviewStore
from model_approval.adapters.memory.signing import MemorySigner, MemoryTrustedKeys
from model_approval.domain.attestation import Envelope, entry_from
from model_approval.domain.audit import Action, AuditEvent
from model_approval.domain.deployment import Deployment, DeploymentSpec
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import DeploymentError, OutsideSystemError, RequestRefusedError
from model_approval.domain.evidence import Evidence, RuleOutcome
from model_approval.domain.promotion import Promotion
from model_approval.domain.request import RegisteredVersion
from model_approval.domain.review import Choice, RemediationItem
from model_approval.policy.schema import FrozenPolicy, PrivacyRules
from model_approval.ports import HttpReply, Services
from model_approval.stages.audit import AuditReport, verify_log
from model_approval.stages.deployment import deploy
from model_approval.stages.intake import intake
from model_approval.stages.request import accept_tagged
from model_approval.stages.review import Ballot, SeenDigests, cast_vote
from model_approval.stages.validation import begin_check, evaluate, finish_check
from tests.support.builders import FILES, NOW, a_frozen_policy, an_evidence

IMAGE = "sha256:" + "1" * 64
PAYLOAD = {
    "environment": "production",
    "reason": "retrained on the third quarter's data",
    "requester": "rita",
    "semantic_version": "2.1.0",
    "documents": {"model_card": "docs/model_card.md"},
    "classification": "internal",
    "licence": "Apache-2.0",
}
ARTIFACT = {
    **FILES,
    # Not the builder's: intake looks at the first bytes.
    "model.onnx": b"\x08\x08\x12\x04test\x3a\x01x",
    "serving.yaml": b"authentication: bearer\nheaders: {X-Content-Type-Options: nosniff}\n",
    "smoke_input.json": b'{"inputs": {"x": [[1.0]]}}',
}


def an_onnx(marker: str) -> bytes:
    """The first fields of an ONNX file (ir_version, producer, graph); nothing of ours ever runs it."""
    return b"\x08\x08\x12\x04test\x3a" + bytes([len(marker)]) + marker.encode()


@dataclass
class OnePolicy:
    """A catalog with one policy."""

    frozen: FrozenPolicy

    def all(self) -> list[FrozenPolicy]:
        return [self.frozen]

    def problems(self) -> list[str]:
        return []

    def for_version(self, version: RegisteredVersion, environment: str) -> FrozenPolicy:
        if not self.frozen.policy.match.covers(version, environment):
            raise RequestRefusedError(f"no policy governs {version.model} in {environment}")
        return self.frozen


@dataclass
class Server:
    """A deployer that serves from memory, and whose endpoint a test can spoil."""

    now: datetime
    serving: dict[str, DeploymentSpec] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    breaks: str = ""
    """Words of a deployment that never gets ready; only for versions other than those in `healthy`."""
    healthy: set[str] = field(default_factory=set)
    away: bool = False
    drops_headers: bool = False
    lets_anybody_in: bool = False

    def apply(self, spec: DeploymentSpec) -> None:
        if self.away:
            raise OutsideSystemError("cluster", "connection refused")
        self.applied.append(spec.version)
        self.serving[spec.name] = spec

    def wait_ready(self, spec: DeploymentSpec) -> Deployment:
        if self.breaks and spec.version not in self.healthy:
            raise DeploymentError(self.breaks)
        return self._observed(self.serving[spec.name])

    def current(self, name: str) -> Deployment | None:
        return self._observed(self.serving[name]) if name in self.serving else None

    def call(self, name: str, path: str, *, body: bytes | None = None, authenticated: bool = True) -> HttpReply:
        spec = self.serving[name]
        headers = {} if self.drops_headers else {key.lower(): value for key, value in spec.serving.headers.items()}
        refused = spec.serving.authentication == "bearer" and not authenticated and not self.lets_anybody_in
        if refused:
            return HttpReply(401, headers, b"{}")
        return HttpReply(200, headers, b'{"outputs": {"y": [1.0]}}')

    def remove(self, name: str) -> None:
        self.serving.pop(name, None)

    def _observed(self, spec: DeploymentSpec) -> Deployment:
        return Deployment(
            name=spec.name,
            model=spec.model,
            version=spec.version,
            request_id=spec.request_id,
            artifact_digest=spec.artifact_digest,
            endpoint="memory://",
            ready=True,
            observed_at=self.now,
        )


class NoPrivacyRules(MemoryProfiler):
    """The policies of these tests have none, so nothing is ever profiled; tables are checked by the twin."""

    def profile(
        self, schema_json: bytes, sample_csv: bytes, rules: PrivacyRules, declared_personal: frozenset[str]
    ) -> tuple[tuple[RuleOutcome, ...], bytes]:
        raise AssertionError("no policy of these tests has privacy rules")


class World:
    """The installation, and short ways through it."""

    def __init__(self, frozen: FrozenPolicy | None = None) -> None:
        self.now = NOW
        self.signer = MemorySigner()
        self.registry = MemoryRegistry()
        self.artifacts = MemoryArtifactStore()
        self.evidence = MemoryEvidenceStore()
        self.reviews = MemoryReviewStore()
        self.server = Server(NOW)
        self.audit = MemoryAuditLog(self.signer, self.clock)
        self.services = Services(
            registries={"mlflow": self.registry},
            artifacts=self.artifacts,
            evidence=self.evidence,
            reviews=self.reviews,
            audit=self.audit,
            signer=self.signer,
            verifier=MemoryTrustedKeys(self.signer),
            deployer_for=lambda target: self.server,
            profiler=NoPrivacyRules(),
            policies=OnePolicy(frozen or a_frozen_policy()),
            clock=self.clock,
        )

    def clock(self) -> datetime:
        return self.now

    def later(self, **span: float) -> None:
        self.now += timedelta(**span)

    def register(self, version: str = "7", files: dict[str, bytes] | None = None, **fields: object) -> None:
        uri = f"memory://fraud-scorer/{version}"
        self.artifacts.put(uri, files or {**ARTIFACT, "model.onnx": an_onnx(version)})
        self.registry.register("fraud-scorer", version, uri, **fields)  # type: ignore[arg-type]

    def tag(self, version: str = "7", payload: str | None = None, **fields: object) -> None:
        text = json.dumps({**PAYLOAD, **fields}) if payload is None else payload
        self.registry.request("fraud-scorer", version, text)

    def accept(self) -> list[Promotion]:
        return accept_tagged(self.services, "mlflow")

    def to_validation(self, version: str = "7", **fields: object) -> Promotion:
        self.register(version)
        self.tag(version, **fields)  # type: ignore[arg-type]
        (promotion,) = self.accept()
        return intake(self.services, request_id=promotion.id)

    def run_check(
        self, request_id: str, check: str, changes: Mapping[str, object] | None = None, *, run: int = 1
    ) -> None:
        job = begin_check(self.services, request_id=request_id, check=check, run=run, image_digest=IMAGE)
        evidence = self.good_evidence(request_id, check).model_copy(update=changes or {})
        assert self.evidence.upload(job.upload_url, canonical_json(evidence)) == 200
        finish_check(self.services, request_id=request_id, check=check, run=run, image_digest=IMAGE)

    def good_evidence(self, request_id: str, check: str) -> Evidence:
        promotion = self.reviews.get(request_id)
        assert promotion.candidate is not None
        manifest = promotion.candidate.manifest
        covered = [{"path": entry.path, "covered": True} for entry in manifest.files]
        return an_evidence(
            check,
            request_id=request_id,
            image_digest=IMAGE,
            artifact_digest=manifest.artifact_digest,
            **({"coverage": covered} if check == "security_scan" else {}),
        )

    def to_review(
        self, version: str = "7", *, request: dict[str, object] | None = None, **evidence: object
    ) -> Promotion:
        """Run intake and both checks; `evidence` changes what the benchmark reports."""
        promotion = self.to_validation(version, **(request or {}))
        self.run_check(promotion.id, "security_scan")
        self.run_check(promotion.id, "gpu_benchmark", evidence)
        return evaluate(self.services, request_id=promotion.id)

    def seen(self, request_id: str) -> SeenDigests:
        promotion = self.reviews.get(request_id)
        assert promotion.candidate is not None
        return SeenDigests(
            artifact=promotion.candidate.artifact_digest,
            policy=promotion.request.policy_digest,
            evidence=promotion.evidence_digest or "",
        )

    def vote(self, reviewer: str, request_id: str, choice: Choice = Choice.APPROVE, reason: str = "") -> Promotion:
        items = (RemediationItem(text="add the drift report"),) if choice is Choice.REQUEST_REMEDIATION else ()
        ballot = Ballot(choice=choice, reason=reason, items=items)
        return cast_vote(
            self.services, request_id=request_id, reviewer=reviewer, ballot=ballot, seen=self.seen(request_id)
        )

    def to_approved(self, version: str = "7", **fields: object) -> Promotion:
        promotion = self.to_review(version, request=fields)
        self.vote("ana", promotion.id)
        return self.vote("max", promotion.id)

    def to_deployed(self, version: str = "7", **fields: object) -> Promotion:
        return deploy(self.services, request_id=self.to_approved(version, **fields).id)

    def registry_state(self, version: str = "7") -> str:
        return self.registry.get("fraud-scorer", version).tags["promotion"]

    def events(self, request_id: str) -> list[AuditEvent]:
        envelopes = [Envelope.model_validate_json(stored.envelope) for stored in self.audit.entries(request_id)]
        return [entry_from(envelope.payload_bytes).event for envelope in envelopes]

    def actions(self, request_id: str) -> list[Action]:
        return [event.action for event in self.events(request_id)]

    def verify(self) -> AuditReport:
        return verify_log(self.audit, self.services.verifier)


def a_world(frozen: FrozenPolicy | None = None) -> World:
    """An installation with `a_frozen_policy()` in force."""
    return World(frozen)
