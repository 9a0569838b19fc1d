"""Signed statements: in-toto Statement v1 in a DSSE envelope.

The subject of a decision is the artifact digest; the predicate says who decided what, in which role, on which
evidence, under which policy, for which target, until when. in-toto has no predicate for a human approval
(in-toto/attestation#77), so the type below is ours.
"""

from __future__ import annotations

import base64
from typing import Annotated

from pydantic import Field, JsonValue, ValidationError

from model_approval.domain.audit import AuditEntry
from model_approval.domain.base import Record
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import IntegrityError
from model_approval.domain.review import Decision

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
HUMAN_APPROVAL = "urn:model-approval:human-approval:v1"
AUDIT_ENTRY = "urn:model-approval:audit-entry:v1"


class Signature(Record):
    """One signature; `keyid` is a hint, never trusted by itself."""

    keyid: str
    sig: str


class Envelope(Record):
    """A DSSE envelope (https://github.com/secure-systems-lab/dsse), field names as its specification has them."""

    payloadType: str = PAYLOAD_TYPE
    payload: str
    signatures: Annotated[tuple[Signature, ...], Field(min_length=1)]

    @property
    def payload_bytes(self) -> bytes:
        """The signed bytes, decoded."""
        return base64.b64decode(self.payload, validate=True)


class StatementSubject(Record):
    """What a statement is about."""

    name: str
    digest: dict[str, str]


class Statement(Record):
    """An in-toto Statement v1."""

    type_: Annotated[str, Field(alias="_type")] = STATEMENT_TYPE
    subject: tuple[StatementSubject, ...]
    predicateType: str
    predicate: dict[str, JsonValue]

    def to_bytes(self) -> bytes:
        """Canonical bytes, the ones that are signed."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @classmethod
    def from_bytes(cls, data: bytes, *, predicate_type: str) -> Statement:
        """Parse verified bytes.

        Raises:
            IntegrityError: Not a statement, or of another predicate type.
        """
        try:
            statement = cls.model_validate_json(data)
        except ValidationError as err:
            raise IntegrityError(f"the signed payload is not an in-toto statement: {err}") from err
        if statement.type_ != STATEMENT_TYPE or statement.predicateType != predicate_type:
            raise IntegrityError(f"expected a {predicate_type} statement, found {statement.predicateType}")
        return statement


def subject(name: str, digest: str) -> StatementSubject:
    """A subject from our `sha256:<hex>` form."""
    algorithm, _, value = digest.partition(":")
    return StatementSubject(name=name, digest={algorithm: value})


def decision_statement(decision: Decision) -> Statement:
    """The statement that is signed for a decision."""
    return Statement(
        subject=(subject(f"{decision.model}/{decision.version}", decision.artifact_digest),),
        predicateType=HUMAN_APPROVAL,
        predicate=decision.model_dump(mode="json"),
    )


def decision_from(payload: bytes) -> Decision:
    """Read a decision back from verified payload bytes.

    Raises:
        IntegrityError: The payload is not a decision, or its subject is not what the predicate is about.
    """
    statement = Statement.from_bytes(payload, predicate_type=HUMAN_APPROVAL)
    try:
        decision = Decision.model_validate(statement.predicate)
    except ValidationError as err:
        raise IntegrityError(f"the signed decision cannot be read: {err}") from err
    if statement.subject != (subject(f"{decision.model}/{decision.version}", decision.artifact_digest),):
        raise IntegrityError("the signed statement's subject is not the artifact that its decision names")
    return decision


def entry_statement(entry: AuditEntry) -> Statement:
    """The statement that is signed for an audit entry; its first subject is the event itself."""
    named = {"event": entry.event.id, **entry.event.subjects}
    return Statement(
        subject=tuple(subject(name, digest) for name, digest in named.items()),
        predicateType=AUDIT_ENTRY,
        predicate=entry.model_dump(mode="json"),
    )


def entry_from(payload: bytes) -> AuditEntry:
    """Read an audit entry back from verified payload bytes.

    Raises:
        IntegrityError: The payload is not an audit entry.
    """
    statement = Statement.from_bytes(payload, predicate_type=AUDIT_ENTRY)
    try:
        return AuditEntry.model_validate(statement.predicate)
    except ValidationError as err:
        raise IntegrityError(f"the signed audit entry cannot be read: {err.errors()[0]['msg']}") from err
