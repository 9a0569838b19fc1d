"""Between records and rows: whole records as canonical JSON, columns for queries, and both compared on the way back.

A row that does not fit itself was changed behind our back: `IntegrityError` names table and key.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy import inspect

from model_approval.adapters.sql.models import (
    RECORD_SCHEMA,
    DecisionRow,
    EvidenceRow,
    PolicyRow,
    PromotionRow,
    VoteRow,
    WaiverRow,
)
from model_approval.domain.attestation import Envelope
from model_approval.domain.digests import canonical_json, digest_of
from model_approval.domain.errors import IntegrityError
from model_approval.domain.evidence import StoredEvidence
from model_approval.domain.promotion import Promotion
from model_approval.domain.review import Vote, Waiver
from model_approval.policy.schema import FrozenPolicy

R = TypeVar("R", bound=BaseModel)


class _Row(Protocol):
    __tablename__: str
    record: str
    schema_version: int


def dump(record: BaseModel) -> str:
    """A record as it is stored; keys as the file formats spell them (`schema`, not `schema_id`)."""
    return canonical_json(record.model_dump(mode="json", by_alias=True)).decode()


def policy_row(policy: FrozenPolicy) -> PolicyRow:
    """The row of a frozen policy."""
    return PolicyRow(digest=policy.digest, name=policy.policy.name, record=dump(policy))


def policy_of(row: PolicyRow) -> FrozenPolicy:
    """The frozen policy of a row; its digest is computed anew."""
    policy = _load(row, FrozenPolicy)
    return _matching(row, policy, {"digest": policy.digest})


def promotion_columns(promotion: Promotion) -> dict[str, object]:
    """The columns of a promotion, `record` among them."""
    request = promotion.request
    return {
        "id": promotion.id,
        "registry_name": request.registry,
        "model": request.model,
        "version": request.version,
        "environment": request.environment,
        "attempt": request.attempt,
        "state": promotion.state.value,
        "is_open": promotion.state.is_open,
        "policy_name": request.policy_name,
        "policy_digest": request.policy_digest,
        "created_at": request.created_at,
        "state_since": promotion.state_since,
        "review_deadline": promotion.review_deadline,
        "record_version": promotion.record_version,
        "record": dump(promotion),
    }


def promotion_of(row: PromotionRow) -> Promotion:
    """The promotion of a row."""
    promotion = _load(row, Promotion)
    columns = promotion_columns(promotion)
    del columns["record"]
    return _matching(row, promotion, columns)


def evidence_row(evidence: StoredEvidence) -> EvidenceRow:
    """The row of one run of a check."""
    return EvidenceRow(**_evidence_columns(evidence), record=dump(evidence))


def evidence_of(row: EvidenceRow) -> StoredEvidence:
    """The evidence of a row."""
    evidence = _load(row, StoredEvidence)
    return _matching(row, evidence, _evidence_columns(evidence))


def _evidence_columns(evidence: StoredEvidence) -> dict[str, object]:
    return {
        "request_id": evidence.request_id,
        "check_name": evidence.check,
        "run": evidence.run,
        "digest": evidence.digest,
        "recorded_at": evidence.recorded_at,
    }


def vote_row(vote: Vote) -> VoteRow:
    """The row of a vote that stands."""
    return VoteRow(**_vote_columns(vote), record=dump(vote))


def vote_of(row: VoteRow) -> Vote:
    """The vote of a row."""
    vote = _load(row, Vote)
    return _matching(row, vote, _vote_columns(vote))


def _vote_columns(vote: Vote) -> dict[str, object]:
    return {
        "id": vote.id,
        "request_id": vote.request_id,
        "reviewer": vote.reviewer,
        "role": vote.role,
        "choice": vote.choice.value,
        "digest": vote.digest,
        "cast_at": vote.cast_at,
    }


def waiver_row(waiver: Waiver) -> WaiverRow:
    """The row of a waiver."""
    return WaiverRow(**_waiver_columns(waiver), record=dump(waiver))


def waiver_of(row: WaiverRow) -> Waiver:
    """The waiver of a row."""
    waiver = _load(row, Waiver)
    return _matching(row, waiver, _waiver_columns(waiver))


def _waiver_columns(waiver: Waiver) -> dict[str, object]:
    return {
        "id": waiver.id,
        "request_id": waiver.request_id,
        "rule": waiver.rule,
        "granted_by": waiver.granted_by,
        "digest": waiver.digest,
        "granted_at": waiver.granted_at,
        "expires_at": waiver.expires_at,
    }


def decision_row(request_id: str, envelope: Envelope) -> DecisionRow:
    """The row of a signed decision."""
    return DecisionRow(request_id=request_id, digest=digest_of(envelope), record=dump(envelope))


def envelope_of(row: DecisionRow) -> Envelope:
    """The envelope of a row. Its signature is the verifier's business."""
    envelope = _load(row, Envelope)
    return _matching(row, envelope, {"digest": digest_of(envelope)})


def _load(row: _Row, model: type[R]) -> R:
    if row.schema_version != RECORD_SCHEMA:
        raise _damaged(row, f"its record has form {row.schema_version}, this release reads form {RECORD_SCHEMA}")
    try:
        return model.model_validate_json(row.record)
    except ValidationError as err:
        first = err.errors(include_input=False, include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise _damaged(row, f"its record cannot be read: {field}: {first['msg']}") from err


def _matching(row: _Row, record: R, columns: dict[str, object]) -> R:
    for name, said in columns.items():
        if getattr(row, name) != said:
            raise _damaged(row, f"the column {name} holds {getattr(row, name)!r}, its record says {said!r}")
    return record


def _damaged(row: _Row, message: str) -> IntegrityError:
    key = ", ".join(str(part) for part in inspect(row).identity)
    return IntegrityError(
        f"table {row.__tablename__}, row {key}: {message}",
        hint="the review database was changed from outside; compare it with the audit log",
    )
