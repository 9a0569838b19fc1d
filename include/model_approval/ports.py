"""What the stages need from outside, as protocols. Adapters implement them; `adapters/memory/` twins them for tests.

Rules for every implementation: SDK errors become `OutsideSystemError` (chained) at the edge; a thing that does not
exist is `NotFoundError`; nothing is cached across calls unless it is named by a digest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from model_approval.domain.attestation import Envelope
from model_approval.domain.audit import AuditEvent, AuditReceipt
from model_approval.domain.deployment import Deployment, DeploymentSpec, Target
from model_approval.domain.evidence import Evidence, RuleOutcome, StoredEvidence, ValidatorInput, ValidatorJob
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.request import PromotionRequest, RegisteredVersion
from model_approval.domain.review import Vote, Waiver
from model_approval.policy.schema import FrozenPolicy, PrivacyRules, TableRule

Clock = Callable[[], datetime]
"""The time now, with zone UTC."""


@dataclass(frozen=True)
class RegistryStatus:
    """What a registry entry shows about its promotion."""

    state: str
    """`requested` is what people set; we set `accepted`, then the promotion's state, or `refused`."""
    request_id: str | None
    reason: str


class ModelRegistry(Protocol):
    """Where model versions are registered and tagged."""

    name: str

    def find_requested(self) -> list[RegisteredVersion]:
        """All versions whose tag `promotion` is `requested`, oldest first; every page of them."""
        ...

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version as the registry has it now. Raises NotFoundError."""
        ...

    def payload_of(self, version: RegisteredVersion) -> str:
        """The raw JSON text of the metadata payload (tag `promotion.payload`); empty when there is none."""
        ...

    def request(self, model: str, version: str, payload: str) -> None:
        """Set payload and tag, as a person would (CLI and page)."""
        ...

    def set_status(self, model: str, version: str, status: RegistryStatus) -> None:
        """Write tags `promotion`, `promotion.request_id`, `promotion.reason`. Idempotent."""
        ...

    def champion(self, model: str, environment: str) -> RegisteredVersion | None:
        """The version that holds the alias `champion-<environment>`; None when nobody does."""
        ...

    def crown(self, model: str, version: str, environment: str, *, description: str) -> None:
        """Point the alias `champion-<environment>` to this version and write the description. Idempotent."""
        ...

    def uncrown(self, model: str, environment: str) -> None:
        """Remove the alias `champion-<environment>`: nothing serves there now. Idempotent."""
        ...


class ArtifactStore(Protocol):
    """Reads model bytes. Never writes, never loads."""

    def manifest(self, uri: str) -> ArtifactManifest:
        """Hash every file below the URI, now. Cost: time proportional to the artifact's size, constant memory."""
        ...

    def open(self, uri: str, path: str) -> AbstractContextManager[BinaryIO]:
        """One file as a stream of bytes. Raises NotFoundError."""
        ...

    def read(self, uri: str, path: str, *, limit_bytes: int) -> bytes:
        """A small file, whole. Raises NotFoundError, or EvidenceError when it is larger than the limit."""
        ...

    def download_urls(
        self, uri: str, manifest: ArtifactManifest, *, valid_s: int, endpoint_url: str | None = None
    ) -> dict[str, str]:
        """A presigned GET URL for each path of the manifest, signed for the endpoint the reader will use."""
        ...


class EvidenceStore(Protocol):
    """Where validators leave `evidence.json`: one object a run, written once, locked."""

    def upload_url(
        self, request_id: str, check: str, run: int, *, valid_s: int, endpoint_url: str | None = None
    ) -> str:
        """A write-once presigned PUT URL for exactly one key (`If-None-Match: *` is signed in)."""
        ...

    def read(self, request_id: str, check: str, run: int) -> bytes | None:
        """The object's bytes, or None when the validator left none."""
        ...

    def put_document(self, request_id: str, name: str, data: bytes, *, content_type: str) -> str:
        """Keep a document of ours (validation results) with the evidence; returns its digest. Idempotent."""
        ...

    def get_document(self, request_id: str, name: str) -> bytes:
        """A document of ours. Raises NotFoundError."""
        ...


class ReviewStore(Protocol):
    """Requests, evidence, votes, waivers, decisions. Each method is one transaction."""

    def freeze_policy(self, policy: FrozenPolicy) -> None:
        """Keep a policy under its digest. Idempotent."""
        ...

    def policy(self, digest: str) -> FrozenPolicy:
        """The frozen policy; its digest is recomputed. Raises IntegrityError when they differ."""
        ...

    def add(self, request: PromotionRequest, *, at: datetime) -> Promotion:
        """Insert a request in state `requested`; returns the existing promotion when the id is there already.

        Raises:
            RequestRefusedError: Another open request for the same version and environment exists.
        """
        ...

    def get(self, request_id: str) -> Promotion:
        """One promotion. Raises NotFoundError."""
        ...

    def save(self, promotion: Promotion) -> None:
        """Replace the record if the stored `record_version` is exactly one lower.

        Raises:
            DecisionError: (conflict) somebody else changed it meanwhile.
        """
        ...

    def find(
        self,
        states: Sequence[PromotionState] | None = None,
        *,
        model: str | None = None,
        environment: str | None = None,
        limit: int = 1000,
    ) -> list[Promotion]:
        """Promotions by state, model and environment (None: any), newest request first."""
        ...

    def of_version(self, registry: str, model: str, version: str, environment: str) -> list[Promotion]:
        """All requests for one version and environment, oldest attempt first."""
        ...

    def deployed(self, model: str, environment: str) -> list[Promotion]:
        """Promotions in state `deployed` for a model and environment, newest first."""
        ...

    def states_of(self, request_ids: Sequence[str]) -> dict[str, tuple[PromotionState, bool]]:
        """For each known id, its state and whether a decision is stored. One query; used by the waiting triggers."""
        ...

    def add_evidence(self, evidence: StoredEvidence) -> None:
        """Insert; the same request, check and run again is ignored when equal, a conflict otherwise."""
        ...

    def evidence(self, request_id: str) -> list[StoredEvidence]:
        """All runs of all checks, in order of check and run."""
        ...

    def evidence_runs(self, request_id: str) -> list[tuple[str, int]]:
        """Check and run of each, in the same order: whether there is more by now, without reading megabytes of it."""
        ...

    def cast(self, vote: Vote) -> None:
        """Insert a vote, guarded by a unique constraint and a row lock on the promotion.

        Raises:
            DecisionError: (conflict) the reviewer has an unwithdrawn vote, the request no longer awaits people,
                or the digests are not the current ones.
        """
        ...

    def withdraw_vote(self, request_id: str, reviewer: str, *, at: datetime) -> Vote:
        """Mark the reviewer's vote withdrawn. Raises DecisionError when there is none or the review ended."""
        ...

    def votes(self, request_id: str) -> list[Vote]:
        """Votes that stand (not withdrawn), oldest first."""
        ...

    def grant(self, waiver: Waiver) -> None:
        """Insert a waiver; the same one again is ignored."""
        ...

    def waivers(self, request_id: str) -> list[Waiver]:
        """All waivers of a request, oldest first, expired ones too."""
        ...

    def put_decision(self, request_id: str, envelope: Envelope, promotion: Promotion) -> None:
        """Store the signed decision and the promotion's new record in one transaction; the first one stays.

        Raises:
            DecisionError: (conflict) another decision is stored, or the record moved on.
        """
        ...

    def decision(self, request_id: str) -> Envelope | None:
        """The signed decision, unverified; None before there is one."""
        ...


@dataclass(frozen=True)
class StoredEntry:
    """An audit entry as it lies in the store, before anybody believes it."""

    stream: str
    sequence: int
    envelope: bytes
    versions: int
    """How many versions the object has; more than one: somebody wrote over it."""
    delete_marker: bool
    retain_until: datetime | None


class AuditLog(Protocol):
    """The append-only, hash-chained, signed record."""

    def append(self, event: AuditEvent, *, retention_days: int) -> AuditReceipt:
        """Append an event, or find it when its id is already in its stream. Returns only when it is locked."""
        ...

    def entries(self, stream: str) -> Iterator[StoredEntry]:
        """A stream's entries as stored, by sequence; constant memory."""
        ...

    def streams(self) -> list[str]:
        """Names of all streams, sorted."""
        ...


class Signer(Protocol):
    """Signs with this process's own key."""

    @property
    def key_id(self) -> str:
        """Names the public key; see `adapters.signing` for the formula."""
        ...

    def sign(self, payload: bytes) -> Envelope:
        """An envelope over exactly these bytes."""
        ...


class Verifier(Protocol):
    """Knows the trusted public keys."""

    def verify(self, envelope: Envelope) -> bytes:
        """The payload, if a trusted key signed it.

        Raises:
            IntegrityError: No signature by a trusted key, or a wrong one.
        """
        ...


@dataclass(frozen=True)
class HttpReply:
    """What a live endpoint answered."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


class Deployer(Protocol):
    """One target's way of serving. Every method is idempotent."""

    def apply(self, spec: DeploymentSpec) -> None:
        """Make the target want this and only this version under the spec's name."""
        ...

    def wait_ready(self, spec: DeploymentSpec) -> Deployment:
        """Block until exactly this artifact serves. Raises DeploymentError with the target's own words."""
        ...

    def current(self, name: str) -> Deployment | None:
        """What serves under that name; None when nothing does."""
        ...

    def call(self, name: str, path: str, *, body: bytes | None = None, authenticated: bool = True) -> HttpReply:
        """Send one HTTP request to the live endpoint: GET without body, else POST of JSON."""
        ...

    def remove(self, name: str) -> None:
        """Take it away; nothing to take away is fine."""
        ...


class DataProfiler(Protocol):
    """Holds data to expectations: the privacy rules over schema and sample, a policy's suites over tables."""

    @property
    def library(self) -> str:
        """Name and version of what checks, for the evidence."""
        ...

    def check_table(self, csv: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
        """Rows of the table, unmet expectations in words, and the validation as a page (HTML) for people.

        Raises:
            EvidenceError: The table cannot be read, or an expectation could not be evaluated.
        """
        ...

    def profile(
        self, schema_json: bytes, sample_csv: bytes, rules: PrivacyRules, declared_personal: frozenset[str]
    ) -> tuple[tuple[RuleOutcome, ...], bytes]:
        """Rule outcomes `privacy.*` and the validation result (JSON bytes) to keep as evidence."""
        ...


class ValidatorRunner(Protocol):
    """Runs validators as confined child processes of ours (the `local` runtime and the CLI)."""

    @property
    def image_digest(self) -> str:
        """Names the validators' environment, as an image digest names a pod's."""
        ...

    def run_job(self, job: ValidatorJob) -> None:
        """Fetch, verify, run, upload: what the pod does. Raises EvidenceError in words when it broke."""
        ...

    def run_on_folder(
        self, request: ValidatorInput, validator: str, artifact: Path, *, champion: Path | None, timeout_s: int
    ) -> Evidence:
        """Run over bytes that are here already. Raises EvidenceError in words when it broke."""
        ...


class PolicyCatalog(Protocol):
    """The policies in force, each with its committee and target."""

    def all(self) -> list[FrozenPolicy]:
        """Every policy that can be used, by name."""
        ...

    def problems(self) -> list[str]:
        """What is wrong with files that did not load, `file:line: field: ...` each."""
        ...

    def for_version(self, version: RegisteredVersion, environment: str) -> FrozenPolicy:
        """The one policy that governs this promotion.

        Raises:
            RequestRefusedError: None or more than one does.
        """
        ...


DeployerFor = Callable[[Target], Deployer]


@dataclass(frozen=True)
class Services:
    """Everything a stage may use, put together in `wiring.py`."""

    registries: Mapping[str, ModelRegistry]
    artifacts: ArtifactStore
    evidence: EvidenceStore
    reviews: ReviewStore
    audit: AuditLog
    signer: Signer
    verifier: Verifier
    deployer_for: DeployerFor
    profiler: DataProfiler
    policies: PolicyCatalog
    clock: Clock
