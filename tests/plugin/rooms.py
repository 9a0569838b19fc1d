"""A review room over memory twins: real stages, real signatures, no server.

room = a_room()
request_id = room.in_review()
room.as_("ana").post(...)
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from httpx import Response
from starlette.testclient import TestClient

from model_approval.adapters.memory.artifacts import MemoryArtifactStore
from model_approval.adapters.memory.audit import MemoryAuditLog
from model_approval.adapters.memory.evidence import MemoryEvidenceStore
from model_approval.adapters.memory.registry import MemoryRegistry
from model_approval.adapters.memory.reviews import MemoryReviewStore
from model_approval.adapters.memory.signing import MemorySigner, MemoryTrustedKeys
from model_approval.domain.audit import Action, Actor
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import RequestRefusedError
from model_approval.domain.evidence import Evidence, TableResults, evidence_digest
from model_approval.domain.promotion import Candidate, Promotion, PromotionState
from model_approval.domain.request import RegisteredVersion
from model_approval.policy.evaluate import evaluate_checks
from model_approval.policy.schema import FrozenPolicy
from model_approval.ports import Services
from model_approval.stages.audit import record
from model_review.app import create_app
from model_review.auth import SESSION, TOKEN, FormTokens, Identity, no_step_up
from model_review.room import Room
from tests.support import builders
from tests.support.builders import (
    FILES,
    NOW,
    a_candidate,
    a_frozen_policy,
    a_registered_version,
    a_request,
    a_stored_evidence,
    an_evidence,
    clock,
)

ORIGIN = "http://airflow.example:8080"


@dataclass
class Catalog:
    """One policy in force; problems as a test sets them."""

    frozen: FrozenPolicy
    broken: list[str] = field(default_factory=list)

    def all(self) -> list[FrozenPolicy]:
        return [self.frozen]

    def problems(self) -> list[str]:
        return self.broken

    def for_version(self, version: RegisteredVersion, environment: str) -> FrozenPolicy:
        if not self.frozen.policy.match.covers(version, environment):
            raise RequestRefusedError(f"no policy governs {version.model} in {environment}")
        return self.frozen


class Nothing:
    """Stands where a service must never be asked: every use breaks the test."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the review room must not use .{name} here")


class ForgeableEvidence(MemoryEvidenceStore):
    """An evidence store that somebody got the better of: its lock did not hold."""

    def replace_document(self, request_id: str, name: str, data: bytes) -> None:
        """Other bytes under the same name, without a trace."""
        self._objects[f"{request_id}/_documents/{name}"] = [data]


@dataclass
class ReviewRoom:
    """The app, the twins behind it, and what was woken."""

    app: FastAPI
    services: Services
    reviews: MemoryReviewStore
    audit: MemoryAuditLog
    registry: MemoryRegistry
    artifacts: MemoryArtifactStore
    evidence: ForgeableEvidence
    catalog: Catalog
    woken: list[tuple[str, str]]
    tables: TableResults | None = None
    """What became of expectations over tables, for the requests that come into review from now on."""

    def as_(self, subject: str, *, token: bool = False) -> TestClient:
        """A browser (or, with `token`, a program) of one signed-in person."""
        headers = {"x-test-user": subject, "origin": ORIGIN}
        if token:
            headers = {"x-test-user": subject, "authorization": "Bearer of-the-test"}
        return TestClient(self.app, base_url=ORIGIN, headers=headers, follow_redirects=False)

    def add(self, *, files: Mapping[str, bytes] | None = None, **changes: Any) -> Promotion:
        """A request as it came in."""
        made = a_request(policy=self.catalog.frozen, **changes)
        self.artifacts.put("memory://fraud-scorer/7", dict(files or FILES))
        promotion = self.reviews.add(made, at=NOW)
        record(
            self.services,
            promotion_id=promotion.id,
            action=Action.REQUEST_RECEIVED,
            actor=Actor.person(made.payload.requester),
            key="1",
            subjects={"policy": self.catalog.frozen.digest, "request": made.asked_digest},
            details={"state": "requested", "reason": made.payload.reason},
        )
        return promotion

    def in_review(
        self,
        *evidence: Evidence,
        state: PromotionState = PromotionState.IN_REVIEW,
        request: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """A request whose checks are done; returns its id."""
        promotion = self.add(**(request or {}))
        candidate: Candidate = changes.pop("candidate", None) or a_candidate(promotion.request)
        found = evidence or (an_evidence("security_scan"), an_evidence("gpu_benchmark"))
        stored = tuple(a_stored_evidence(item.model_copy(update={"request_id": promotion.id})) for item in found)
        for item in stored:
            self.reviews.add_evidence(item)
            assert item.evidence is not None
            self.evidence.upload(
                self.evidence.upload_url(item.request_id, item.check, item.run, valid_s=60),
                canonical_json(item.evidence),
            )
        outcomes = evaluate_checks(
            self.catalog.frozen,
            stored,
            manifest=candidate.manifest,
            has_champion=candidate.champion is not None,
            tables={item.digest: self.tables for item in stored if item.digest and self.tables},
        )
        validating = promotion.moved(PromotionState.VALIDATING, at=NOW, candidate=candidate)
        self.reviews.save(validating)
        evaluated = validating.moved(
            state,
            at=NOW,
            check_outcomes=outcomes,
            evidence_digest=evidence_digest(stored, outcomes),
            **{"review_deadline": builders.a_promotion().review_deadline, **changes},
        )
        self._tell(evaluated)
        self.reviews.save(evaluated)
        return promotion.id

    def _tell(self, promotion: Promotion) -> None:
        """Put into the log what the stages before the review would have put there; no approval is signed without."""
        for action, subjects in (
            (Action.ARTIFACT_PINNED, {"candidate": promotion.pinned_digest}),
            (Action.EVIDENCE_EVALUATED, {"evidence": promotion.evidence_digest}),
        ):
            record(
                self.services,
                promotion_id=promotion.id,
                action=action,
                actor=Actor.service("test"),
                key="1",
                subjects={name: digest for name, digest in subjects.items() if digest},
                details={"state": promotion.state},
            )

    def seen(self, request_id: str) -> dict[str, str]:
        """The digests a form of this request carries now."""
        promotion = self.reviews.get(request_id)
        assert promotion.candidate is not None
        return {
            "seen_artifact": promotion.candidate.artifact_digest,
            "seen_policy": promotion.request.policy_digest,
            "seen_evidence": promotion.evidence_digest or "",
        }


def a_room(*, frozen: FrozenPolicy | None = None) -> ReviewRoom:
    """An empty room with one policy, one registry and version 7 of fraud-scorer."""
    signer = MemorySigner()
    catalog, reviews, artifacts = Catalog(frozen or a_frozen_policy()), MemoryReviewStore(), MemoryArtifactStore()
    evidence = ForgeableEvidence()
    audit, registry = MemoryAuditLog(signer, clock), MemoryRegistry()
    version = a_registered_version()
    registry.register(version.model, version.version, version.artifact_uri)
    reviews.freeze_policy(catalog.frozen)
    services = Services(
        registries={"mlflow": registry},
        artifacts=artifacts,
        evidence=evidence,
        reviews=reviews,
        audit=audit,
        signer=signer,
        verifier=MemoryTrustedKeys(signer),
        deployer_for=lambda target: Nothing(),  # type: ignore[arg-type,return-value]
        profiler=Nothing(),  # type: ignore[arg-type]
        policies=catalog,
        clock=clock,
    )
    woken: list[tuple[str, str]] = []

    def wake(*, dag_id: str, run_id: str) -> None:
        woken.append((dag_id, run_id))

    room = Room(services=lambda: services, wake=wake, tokens=FormTokens(b"secret of the test"), step_up=no_step_up)
    app = create_app(room, identity=header_identity)
    return ReviewRoom(app, services, reviews, audit, registry, artifacts, evidence, catalog, woken)


def header_identity(request: Request) -> Identity:
    """Stands for Airflow's auth manager: whoever a header names; nobody without one."""
    subject = request.headers.get("x-test-user")
    if not subject:
        raise HTTPException(401, "Not authenticated")
    how = TOKEN if "authorization" in request.headers else SESSION
    return Identity(subject=subject, name=subject.capitalize(), authentication=how)


def form_token(client: TestClient) -> str:
    """The token that the pages give this person."""
    found = re.search(r'name="form_token" value="([^"]+)"', client.get("/requests/new").text)
    assert found, "the page for a new request has a form token"
    return found[1]


def send(client: TestClient, path: str, fields: Mapping[str, str]) -> Response:
    """Send a form as the browser would."""
    answer: Response = client.post(path, data={"form_token": form_token(client), **fields})
    return answer
