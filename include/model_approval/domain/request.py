"""The promotion request: somebody asks to make a candidate serve in an environment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from model_approval.domain.base import Name, Reason, Record, Sha256, Slug, Subject, UtcTime
from model_approval.domain.digests import digest_of

DocumentPath = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
ColumnName = Annotated[str, StringConstraints(max_length=256)]


class RiskTier(StrEnum):
    """How much harm a wrong model can do. Unstated means high: fail closed."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Channel(StrEnum):
    """How a request reached us."""

    TAG = "tag"
    CLI = "cli"
    PAGE = "page"


class RequestPayload(Record):
    """The metadata that comes with the tag (`promotion.payload`, JSON)."""

    environment: Slug
    reason: Reason
    requester: Subject
    semantic_version: Annotated[str, StringConstraints(max_length=64)] | None = None
    risk_tier: RiskTier = RiskTier.HIGH
    contributors: Annotated[tuple[Subject, ...], Field(max_length=50)] = ()
    """People who made this model; like the requester they cannot vote on it."""
    documents: Annotated[dict[Slug | Name, DocumentPath], Field(max_length=50)] = {}
    """Kind of document -> path inside the artifact, for example `model_card: docs/model_card.md`."""
    classification: Annotated[str, StringConstraints(max_length=64)] | None = None
    licence: Annotated[str, StringConstraints(max_length=64)] | None = None
    personal_data_columns: Annotated[tuple[ColumnName, ...], Field(max_length=500)] = ()
    """Input columns that are declared to hold personal data."""


class RegisteredVersion(Record):
    """A model version as its registry tells it."""

    registry: Slug
    model: Name
    version: Name
    artifact_uri: Annotated[str, StringConstraints(max_length=2048)]
    ready: bool
    """Whether the registry calls the version complete and immutable."""
    source_run: str | None = None
    owner: Subject | None = None
    """Who registered it or ran its source run, if the registry knows."""
    tags: dict[str, str] = {}
    page_url: str | None = None


class PromotionRequest(Record):
    """One ask. Its id is derived from what is asked for, so the same ask can never run twice."""

    id: Slug
    registry: Slug
    model: Name
    version: Name
    environment: Slug
    attempt: Annotated[int, Field(ge=1)]
    """1 for the first ask for this version and environment; a resubmission counts up."""
    payload: RequestPayload
    channel: Channel
    policy_name: Slug
    policy_digest: Sha256
    """The policy (with its committee and target) as it was when the request came in; edits never reach it."""
    created_at: UtcTime
    previous_id: Slug | None = None
    """The request that this one follows after remediation, refusal or expiry."""

    @property
    def contributors(self) -> frozenset[str]:
        """Everybody who cannot vote on this request: requester and contributors."""
        return frozenset((self.payload.requester, *self.payload.contributors))

    @property
    def asked_digest(self) -> str:
        """Names what was asked for, by whom and under which policy; taking the same ask in again gives the same."""
        return digest_of(self.model_dump(mode="json", exclude={"created_at"}))


def request_id(*, registry: str, model: str, version: str, environment: str, attempt: int) -> str:
    """Derive the id: readable, and unique by eight hexadecimal digits over everything it names."""
    unique = digest_of([registry, model, version, environment, attempt]).removeprefix("sha256:")[:8]
    words = "".join(char if char.isalnum() else "-" for char in f"{model}-{version}".lower() if char.isascii())
    return f"pr-{'-'.join(filter(None, words.split('-')))[:40].strip('-')}-{environment[:9].strip('-')}-{unique}"
