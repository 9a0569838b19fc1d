"""Evidence objects: read from the store, compared with what was asked, and later compared with the database again."""

from __future__ import annotations

from pydantic import ValidationError

from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import EvidenceError, IntegrityError
from model_approval.domain.evidence import Evidence, StoredEvidence, evidence_digest
from model_approval.domain.promotion import Promotion
from model_approval.policy.evaluate import evaluate_checks
from model_approval.policy.schema import FrozenPolicy
from model_approval.ports import Services
from model_approval.stages.tables import kept_table_results

MAX_EVIDENCE_BYTES = 64 * 1024 * 1024


def bring_home(
    services: Services, promotion: Promotion, stored: StoredEvidence, image_digest: str | None
) -> StoredEvidence:
    """The run's evidence with its digest, or the record with the reason why it cannot be used."""
    raw = services.evidence.read(promotion.id, stored.check, stored.run)
    if raw is None:
        return stored.model_copy(update={"error": "the validator ended without leaving evidence"})
    digest = sha256_of(raw)
    try:
        evidence = _parse(raw)
        _compare(evidence, promotion, stored, image_digest)
    except EvidenceError as err:
        return stored.model_copy(update={"error": str(err), "digest": digest})
    return stored.model_copy(update={"evidence": evidence, "digest": digest})


def _parse(raw: bytes) -> Evidence:
    if len(raw) > MAX_EVIDENCE_BYTES:
        raise EvidenceError(f"evidence.json has {len(raw)} bytes; at most {MAX_EVIDENCE_BYTES} are read")
    try:
        return Evidence.model_validate_json(raw)
    except ValidationError as err:
        first = err.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(f"evidence.json: {where}: {first['msg']}") from err


def _compare(evidence: Evidence, promotion: Promotion, stored: StoredEvidence, image_digest: str | None) -> None:
    pinned = promotion.candidate.artifact_digest if promotion.candidate else ""
    expected = {
        "request_id": (evidence.request_id, promotion.id),
        "check": (evidence.check, stored.check),
        "artifact_digest": (evidence.artifact_digest, pinned),
        "image_digest": (evidence.image_digest, image_digest or evidence.image_digest),
    }
    for name, (found, wanted) in expected.items():
        if found != wanted:
            raise EvidenceError(f"evidence.json: {name} is {found}, expected {wanted}")


def verify_evidence(services: Services, promotion: Promotion, frozen: FrozenPolicy) -> str:
    """Recompute the evidence digest from the locked objects, trusting no database row.

    Raises:
        IntegrityError: A stored row is not what the validator wrote, or the outcomes do not follow from it.
    """
    candidate = promotion.candidate
    if candidate is None:
        raise IntegrityError(f"{promotion.id} has no pinned artifact")
    evidence = tuple(services.reviews.evidence(promotion.id))
    for item in evidence:
        raw = services.evidence.read(promotion.id, item.check, item.run)
        if item.is_usable and (raw is None or sha256_of(raw) != item.digest or _parse(raw) != item.evidence):
            raise IntegrityError(
                f"evidence {item.check} run {item.run} of {promotion.id}: the database row is not the stored object"
            )
    outcomes = evaluate_checks(
        frozen,
        evidence,
        manifest=candidate.manifest,
        has_champion=candidate.champion is not None,
        tables=kept_table_results(services, promotion.id, frozen, evidence),
    )
    return evidence_digest(evidence, (*promotion.intake_outcomes, *outcomes))
