"""The state table of a promotion. One table; terminal states are terminal."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from model_approval.domain.base import Name, Record, Sha256, Text, UtcTime
from model_approval.domain.digests import digest_of
from model_approval.domain.errors import TransitionError
from model_approval.domain.evidence import RuleOutcome
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.request import PromotionRequest


class PromotionState(StrEnum):
    """Where a promotion stands."""

    REQUESTED = "requested"
    REFUSED = "refused"
    VALIDATING = "validating"
    BLOCKED = "blocked"
    IN_REVIEW = "in_review"
    APPROVED = "approved"
    REJECTED = "rejected"
    REMEDIATION_REQUESTED = "remediation_requested"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    DEPLOYING = "deploying"
    DEPLOYED = "deployed"
    DEPLOYMENT_FAILED = "deployment_failed"
    SUPERSEDED = "superseded"
    ROLLED_BACK = "rolled_back"
    REVOKED = "revoked"

    @property
    def is_terminal(self) -> bool:
        """No step leads out of it."""
        return not TRANSITIONS[self]

    @property
    def is_open(self) -> bool:
        """Still on its way to a decision or deployment; a second request for the same version must wait."""
        return self in OPEN_STATES

    @property
    def awaits_people(self) -> bool:
        """Waiting for votes or waivers."""
        return self in (PromotionState.BLOCKED, PromotionState.IN_REVIEW)


_S = PromotionState
_REVIEW_ENDINGS = {_S.REJECTED, _S.REMEDIATION_REQUESTED, _S.EXPIRED, _S.WITHDRAWN}

TRANSITIONS: dict[PromotionState, frozenset[PromotionState]] = {
    _S.REQUESTED: frozenset({_S.REFUSED, _S.VALIDATING, _S.WITHDRAWN}),
    _S.REFUSED: frozenset(),
    # A check is re-run from the Airflow UI by clearing its task: that leads back to `validating`.
    _S.VALIDATING: frozenset({_S.BLOCKED, _S.IN_REVIEW, _S.WITHDRAWN}),
    _S.BLOCKED: frozenset({_S.VALIDATING, _S.IN_REVIEW, *_REVIEW_ENDINGS}),
    _S.IN_REVIEW: frozenset({_S.VALIDATING, _S.BLOCKED, _S.APPROVED, *_REVIEW_ENDINGS}),
    _S.APPROVED: frozenset({_S.DEPLOYING, _S.EXPIRED, _S.REVOKED}),
    _S.REJECTED: frozenset(),
    _S.REMEDIATION_REQUESTED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.DEPLOYING: frozenset({_S.DEPLOYED, _S.DEPLOYMENT_FAILED}),
    _S.DEPLOYED: frozenset({_S.SUPERSEDED, _S.ROLLED_BACK, _S.REVOKED}),
    _S.DEPLOYMENT_FAILED: frozenset(),
    # A superseded version comes back when its successor is rolled back; its approval can still be revoked.
    _S.SUPERSEDED: frozenset({_S.DEPLOYED, _S.REVOKED}),
    _S.ROLLED_BACK: frozenset(),
    _S.REVOKED: frozenset(),
}

OPEN_STATES = frozenset({_S.REQUESTED, _S.VALIDATING, _S.BLOCKED, _S.IN_REVIEW, _S.APPROVED, _S.DEPLOYING})


class ChampionRef(Record):
    """The version serving when the candidate was pinned."""

    model: Name
    version: Name
    artifact_digest: Sha256
    artifact_uri: str
    semantic_version: str | None = None
    request_id: str | None = None


class Document(Record):
    """A document inside the artifact, named by its bytes."""

    kind: str
    path: str
    sha256: str
    size_bytes: int


class Candidate(Record):
    """What intake pinned: from here on, only these bytes are talked about."""

    request_id: str
    artifact_uri: str
    manifest: ArtifactManifest
    artifact_digest: Sha256
    champion: ChampionRef | None = None
    documents: tuple[Document, ...] = ()
    owner: str | None = None
    pinned_at: UtcTime


def pinned_digest(candidate: Candidate, outcomes: tuple[RuleOutcome, ...]) -> str:
    """Digest over a candidate and intake's outcomes, without the moment at which it was pinned."""
    return digest_of(
        {
            "candidate": candidate.model_dump(mode="json", exclude={"pinned_at"}),
            "outcomes": [outcome.model_dump(mode="json") for outcome in outcomes],
        }
    )


class Promotion(Record):
    """One request with all that became of it. The review store holds exactly one per request."""

    request: PromotionRequest
    state: PromotionState = PromotionState.REQUESTED
    state_reason: Text = ""
    state_since: UtcTime
    record_version: Annotated[int, Field(ge=1)] = 1
    """Counts every change; a writer that read an older one is refused."""
    candidate: Candidate | None = None
    intake_outcomes: tuple[RuleOutcome, ...] = ()
    check_outcomes: tuple[RuleOutcome, ...] = ()
    evidence_digest: Sha256 | None = None
    """Digest over all evidence and outcomes; a vote names the one that was on the page."""
    review_deadline: UtcTime | None = None
    run_seen: bool = False
    """Whether its DAG run has begun; until then the intake sensor sees to it that one is started."""
    expedited: bool = False

    @property
    def id(self) -> str:
        """The request's id; also the DAG run's id and the audit stream."""
        return self.request.id

    @property
    def outcomes(self) -> tuple[RuleOutcome, ...]:
        """Intake's and the checks' outcomes together."""
        return (*self.intake_outcomes, *self.check_outcomes)

    @property
    def pinned_digest(self) -> str | None:
        """Names all that intake found, but for the moment; pinning the same again gives the same."""
        return pinned_digest(self.candidate, self.intake_outcomes) if self.candidate else None

    @property
    def barred_voters(self) -> frozenset[str]:
        """Who made or asked for this; segregation of duties keeps them from voting."""
        owner = self.candidate.owner if self.candidate else None
        return self.request.contributors | ({owner} if owner else frozenset())

    def moved(self, to: PromotionState, *, at: UtcTime, reason: str = "", **changes: object) -> Promotion:
        """The next record: another state, one version up.

        Raises:
            TransitionError: The table has no such step.
        """
        if to not in TRANSITIONS[self.state]:
            raise TransitionError(f"promotion {self.id} is {self.state}; it cannot become {to}")
        return self.changed(state=to, state_reason=reason, state_since=at, **changes)

    def changed(self, **changes: object) -> Promotion:
        """The next record with some fields replaced, validated, one version up."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_validate({**fields, **changes, "record_version": self.record_version + 1})
