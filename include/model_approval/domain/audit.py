"""The audit log's records: events, entries, and what verification may find.

An event is what happened; an entry is an event at its place in a stream: sequence number and the hash of the
entry before it. One stream per promotion, `system` for everything outside a run.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue

from model_approval.domain.base import Record, Sha256, Slug, Subject, Text, UtcTime
from model_approval.domain.digests import digest_of

SYSTEM_STREAM = "system"
GENESIS = "sha256:" + "0" * 64
"""The previous hash of a stream's first entry."""


class Action(StrEnum):
    """Closed list of what can happen, `subject.verb`."""

    REQUEST_RECEIVED = "request.received"
    REQUEST_REFUSED = "request.refused"
    ARTIFACT_PINNED = "artifact.pinned"
    CHECK_STARTED = "check.started"
    CHECK_FINISHED = "check.finished"
    EVIDENCE_EVALUATED = "evidence.evaluated"
    REVIEW_OPENED = "review.opened"
    VOTE_CAST = "vote.cast"
    VOTE_WITHDRAWN = "vote.withdrawn"
    WAIVER_GRANTED = "waiver.granted"
    REQUEST_EXPEDITED = "request.expedited"
    REQUEST_WITHDRAWN = "request.withdrawn"
    DECISION_SIGNED = "decision.signed"
    APPROVAL_EXPIRED = "approval.expired"
    DEPLOYMENT_STARTED = "deployment.started"
    DEPLOYMENT_VERIFIED = "deployment.verified"
    DEPLOYMENT_FAILED = "deployment.failed"
    DEPLOYMENT_ROLLED_BACK = "deployment.rolled_back"
    REGISTRY_UPDATED = "registry.updated"
    PROMOTION_SUPERSEDED = "promotion.superseded"
    PROMOTION_CLOSED = "promotion.closed"


class ActorKind(StrEnum):
    """Whether a person or a program acted."""

    PERSON = "person"
    SERVICE = "service"


class Actor(Record):
    """Who did it."""

    kind: ActorKind
    subject: Subject

    @classmethod
    def service(cls, name: str) -> Actor:
        """One of our own programs, for example `intake`."""
        return cls(kind=ActorKind.SERVICE, subject=name)

    @classmethod
    def person(cls, subject: str) -> Actor:
        """A person as the auth manager names them."""
        return cls(kind=ActorKind.PERSON, subject=subject)


class AuditEvent(Record):
    """Something that happened, or is about to: events are appended before their effect is visible."""

    id: Sha256
    """Same event, same id: appending twice gives one entry."""
    stream: Slug
    action: Action
    actor: Actor
    occurred_at: UtcTime
    subjects: dict[str, Sha256] = {}
    """What it was about, by digest: `artifact`, `policy`, `evidence`, `vote`, `decision` ..."""
    details: dict[str, JsonValue] = {}
    """Names, states, reasons. Never secrets, tokens, document bodies or samples."""


class AuditEntry(Record):
    """An event at its place."""

    sequence: Annotated[int, Field(ge=0)]
    previous: Sha256
    event: AuditEvent
    retention_days: Annotated[int, Field(ge=1)]
    """How long the entry was promised to be locked, counted from the event: signed, so that an auditor can check it."""
    writer: str
    """Key id of the writer whose signature is on the entry."""


class AuditReceipt(Record):
    """Proof for the caller that an event is in the log."""

    stream: Slug
    sequence: int
    entry_hash: Sha256


class ProblemKind(StrEnum):
    """What verification can find."""

    EDITED = "edited"
    MISSING = "missing"
    REORDERED = "reordered"
    DUPLICATED = "duplicated"
    BAD_SIGNATURE = "bad_signature"
    UNKNOWN_KEY = "unknown_key"
    BROKEN_CHAIN = "broken_chain"
    EXTRA_VERSION = "extra_version"
    DELETE_MARKER = "delete_marker"
    SHORT_RETENTION = "short_retention"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"


class AuditProblem(Record):
    """One thing that is wrong with the log, named by its place."""

    kind: ProblemKind
    stream: str
    sequence: int | None
    message: Text


class StreamHead(Record):
    """The last entry of a stream, to be kept outside the store: without it a cut-off tail cannot be seen."""

    stream: Slug
    sequence: int
    entry_hash: Sha256


def event_id(*, stream: str, action: Action, key: str) -> str:
    """Derive an event's id from what makes it that event (`key`: a state, a digest, a run number)."""
    return digest_of([stream, action.value, key])
