"""Votes, waivers and the decision."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, model_validator

from model_approval.domain.base import Name, Reason, Record, Sha256, Slug, Subject, Text, UtcTime
from model_approval.domain.digests import digest_of


class Choice(StrEnum):
    """One reviewer's word."""

    APPROVE = "approve"
    REJECT = "reject"
    REQUEST_REMEDIATION = "request_remediation"


class RemediationItem(Record):
    """Something to mend before asking again."""

    text: Reason
    owner: Subject | None = None


class Vote(Record):
    """One reviewer's word, bound to what was on the page when it was given."""

    id: Slug
    request_id: Slug
    reviewer: Subject
    role: Slug
    choice: Choice
    reason: Text = ""
    items: Annotated[tuple[RemediationItem, ...], Field(max_length=100)] = ()
    artifact_digest: Sha256
    policy_digest: Sha256
    evidence_digest: Sha256
    authentication: Annotated[str, Field(max_length=64)]
    """How the reviewer proved who they are, for example `airflow-session`."""
    cast_at: UtcTime

    @model_validator(mode="after")
    def _says_why(self) -> Vote:
        if self.choice is Choice.REJECT and len(self.reason.strip()) < 3:
            raise ValueError("a rejection needs a reason")
        if self.choice is Choice.REQUEST_REMEDIATION and not self.items:
            raise ValueError("asking for remediation needs at least one item")
        return self

    @property
    def digest(self) -> str:
        """Names this vote in the audit log and the decision."""
        return digest_of(self)


class Waiver(Record):
    """Named, reasoned, expiring acceptance of one rule that did not pass (the override)."""

    id: Slug
    request_id: Slug
    rule: Name
    reason: Reason
    granted_by: Subject
    role: Slug
    granted_at: UtcTime
    expires_at: UtcTime
    evidence_digest: Sha256

    @property
    def digest(self) -> str:
        """Names this waiver in the audit log and the decision."""
        return digest_of(self)


class Outcome(StrEnum):
    """How a review ended."""

    APPROVED = "approved"
    REJECTED = "rejected"
    REMEDIATION_REQUESTED = "remediation_requested"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Signatory(Record):
    """A person as the decision names them."""

    subject: Subject
    role: Slug
    meaning: str
    vote_digest: Sha256
    cast_at: UtcTime
    authentication: str


class Decision(Record):
    """The end of a review. Computed by a pure function, then signed; the signed form is what counts."""

    request_id: Slug
    outcome: Outcome
    reason: Text
    artifact_digest: Sha256
    policy_digest: Sha256
    evidence_digest: Sha256
    model: Name
    version: Name
    environment: Slug
    target: Slug
    signatories: tuple[Signatory, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    remediation: tuple[RemediationItem, ...] = ()
    decided_at: UtcTime
    valid_until: UtcTime
    """After this moment the decision no longer allows a deployment."""
