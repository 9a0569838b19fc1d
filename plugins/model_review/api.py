"""The same room for programs: JSON in, JSON out, the same use cases, the same refusals.

Signed in by `Authorization: Bearer <Airflow token>`, or by the session cookie with `X-Requested-With: model-review`.
Errors are `{"code", "message", "hint"}` with 401, 403, 404, 409, 422 or 503.
"""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from model_approval.domain.base import Reason
from model_approval.domain.errors import DecisionError, Denial
from model_approval.domain.evidence import RuleOutcome
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.request import Channel
from model_approval.domain.review import Choice, RemediationItem, Vote, Waiver
from model_approval.policy.decide import review_readiness
from model_approval.policy.voting import tally
from model_approval.ports import Services
from model_approval.stages import request as requests
from model_approval.stages import review
from model_review import evidence_api, standing
from model_review.auth import CHANGES, DECIDES, Identity, Me
from model_review.evidence_view import check_sections
from model_review.presenters import Dossier, read_dossier
from model_review.room import TheRoom, TheServices

router = APIRouter()
MAX_LISTED = 1000


class Body(BaseModel):
    """JSON that comes in; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Seen(Body):
    """The digests somebody decides on, as `GET /requests/{id}` gave them."""

    artifact: Annotated[str, Field(max_length=100)]
    policy: Annotated[str, Field(max_length=100)]
    evidence: Annotated[str, Field(max_length=100)]

    def digests(self) -> review.SeenDigests:
        """The use cases' form of it."""
        return review.SeenDigests(artifact=self.artifact, policy=self.policy, evidence=self.evidence)


class NewRequest(Body):
    """Ask for a promotion; the requester is who is signed in."""

    registry: Annotated[str, Field(max_length=64)]
    model: Annotated[str, Field(max_length=128)]
    version: Annotated[str, Field(max_length=128)]
    payload: dict[str, JsonValue]
    """`RequestPayload` without `requester`."""


class NewVote(Body):
    """One reviewer's word."""

    choice: Choice
    role: str | None = None
    reason: Annotated[str, Field(max_length=4000)] = ""
    items: Annotated[tuple[RemediationItem, ...], Field(max_length=100)] = ()
    seen: Seen


class NewWaiver(Body):
    """Accept one rule that did not pass."""

    rule: Annotated[str, Field(max_length=128)]
    reason: Reason
    days: int
    seen: Seen


class WithReason(Body):
    """An act that needs nothing but a reason."""

    reason: Reason


class Summary(BaseModel):
    """A request in a list."""

    id: str
    registry: str
    model: str
    version: str
    environment: str
    state: PromotionState
    state_reason: str
    requester: str
    reason: str
    policy: str
    expedited: bool
    created_at: str
    review_deadline: str | None


class Detail(Summary):
    """A request with all that is known about it."""

    promotion: Promotion
    seen: dict[str, str]
    """The digests to send with a vote or waiver."""
    ready: bool
    readiness: str
    outcomes: tuple[RuleOutcome, ...]
    evidence: tuple[dict[str, JsonValue], ...]
    """All runs as they came home, attachments without their text."""
    findings: tuple[evidence_api.FindingFact, ...]
    """Of each check's last run, worst first, with fingerprint and acceptance."""
    ratios: tuple[evidence_api.RatioFact, ...]
    downloads: tuple[evidence_api.DownloadFact, ...]
    votes: tuple[Vote, ...]
    waivers: tuple[Waiver, ...]
    needed: dict[str, int]
    """Role title -> approvals still missing."""
    you_may_vote_as: tuple[str, ...]
    why_not: str
    decision: JsonValue
    """The signed decision (DSSE envelope), once there is one."""


class Listing(BaseModel):
    """A list of requests, newest first."""

    requests: tuple[Summary, ...]


class Health(BaseModel):
    """That the room answers, and to whom."""

    status: str
    you_are: str


@router.get("/openapi.json", include_in_schema=False)
def description(request: Request) -> dict[str, JsonValue]:
    """This API, described."""
    described: dict[str, JsonValue] = request.app.openapi()
    return described


@router.get("/requests")
def list_requests(
    services: TheServices,
    state: Annotated[list[PromotionState] | None, Query()] = None,
    model: str = "",
    environment: str = "",
    requester: str = "",
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = 100,
) -> Listing:
    """Requests by state, model, environment and requester."""
    found = [
        promotion
        for promotion in services.reviews.find(
            state, model=model or None, environment=environment or None, limit=MAX_LISTED
        )
        if requester in ("", promotion.request.payload.requester)
    ]
    return Listing(requests=tuple(Summary.model_validate(_summary(promotion)) for promotion in found[:limit]))


@router.get("/requests/{request_id}")
def get_request(me: Me, services: TheServices, request_id: str) -> Detail:
    """One request with its evidence, votes, and the digests to vote on."""
    return _detail(services, me, request_id)


@router.post("/requests", status_code=201, dependencies=[CHANGES])
def create_request(me: Me, services: TheServices, body: NewRequest) -> Detail:
    """Ask for a promotion."""
    if body.payload.get("requester", me.subject) != me.subject:
        raise DecisionError(
            "payload.requester: you can ask only in your own name", denial=Denial.FORBIDDEN, hint="leave it out"
        )
    payload = {**body.payload, "requester": me.subject}
    payload_json = json.dumps(payload)
    promotion = requests.submit(
        services,
        registry=body.registry,
        model=body.model,
        version=body.version,
        payload_json=payload_json,
        channel=Channel.PAGE,
    )
    return _detail(services, me, promotion.id)


@router.post("/requests/{request_id}/votes", dependencies=[DECIDES])
def cast_vote(me: Me, room: TheRoom, request_id: str, body: NewVote) -> Detail:
    """Approve, reject, or ask for remediation."""
    ballot = review.Ballot(
        choice=body.choice, role=body.role, reason=body.reason, items=body.items, authentication=me.authentication
    )
    seen = body.seen.digests()
    with room.deciding(request_id):
        review.cast_vote(room.services(), request_id=request_id, reviewer=me.subject, ballot=ballot, seen=seen)
    return _detail(room.services(), me, request_id)


@router.post("/requests/{request_id}/votes/withdraw", dependencies=[DECIDES])
def withdraw_vote(me: Me, room: TheRoom, request_id: str) -> Detail:
    """Take your vote back."""
    with room.deciding(request_id):
        review.withdraw_vote(room.services(), request_id=request_id, reviewer=me.subject)
    return _detail(room.services(), me, request_id)


@router.post("/requests/{request_id}/waivers", dependencies=[DECIDES])
def grant_waiver(me: Me, room: TheRoom, request_id: str, body: NewWaiver) -> Detail:
    """Accept a rule that did not pass."""
    with room.deciding(request_id):
        review.grant_waiver(
            room.services(),
            request_id=request_id,
            rule=body.rule,
            reason=body.reason,
            subject=me.subject,
            days=body.days,
            seen=body.seen.digests(),
        )
    return _detail(room.services(), me, request_id)


@router.post("/requests/{request_id}/withdraw", dependencies=[DECIDES])
def withdraw_request(me: Me, room: TheRoom, request_id: str, body: WithReason) -> Detail:
    """End the review: the requester's or a manager's wish."""
    with room.deciding(request_id):
        review.withdraw_request(room.services(), request_id=request_id, subject=me.subject, reason=body.reason)
    return _detail(room.services(), me, request_id)


@router.post("/requests/{request_id}/expedite", dependencies=[DECIDES])
def expedite(me: Me, room: TheRoom, request_id: str, body: WithReason) -> Detail:
    """Shorten the deadline and go to the front."""
    review.expedite(room.services(), request_id=request_id, subject=me.subject, reason=body.reason)
    return _detail(room.services(), me, request_id)


def health(me: Me) -> Health:
    """Whether the room answers, for somebody who is signed in."""
    return Health(status="ok", you_are=me.subject)


def _summary(promotion: Promotion) -> dict[str, object]:
    request, deadline = promotion.request, promotion.review_deadline
    return {
        "id": promotion.id,
        "registry": request.registry,
        "model": request.model,
        "version": request.version,
        "environment": request.environment,
        "state": promotion.state,
        "state_reason": promotion.state_reason,
        "requester": request.payload.requester,
        "reason": request.payload.reason,
        "policy": request.policy_name,
        "expedited": promotion.expedited,
        "created_at": request.created_at.isoformat(),
        "review_deadline": deadline.isoformat() if deadline else None,
    }


def _detail(services: Services, me: Identity, request_id: str) -> Detail:
    dossier: Dossier = read_dossier(services, request_id)
    promotion, frozen = dossier.promotion, dossier.frozen
    ready = review_readiness(frozen, promotion, dossier.waivers, now=services.clock())
    mine = standing.rights(frozen, promotion, me.subject, dossier.votes)
    decision = services.reviews.decision(request_id)
    sections = check_sections(promotion, frozen, dossier.evidence, {}, ())
    return Detail.model_validate(
        {
            **_summary(promotion),
            "promotion": promotion,
            "seen": {
                "artifact": dossier.seen.artifact,
                "policy": dossier.seen.policy,
                "evidence": dossier.seen.evidence,
            },
            "ready": ready.ready,
            "readiness": ready.sentence,
            "outcomes": promotion.outcomes,
            "evidence": evidence_api.without_texts(dossier.evidence),
            "findings": evidence_api.finding_facts(frozen, dossier.evidence),
            "ratios": evidence_api.ratio_facts(sections),
            "downloads": evidence_api.download_facts(request_id, sections),
            "votes": dossier.votes,
            "waivers": dossier.waivers,
            "needed": {
                line.title: standing.missing(line)
                for line in tally(frozen, promotion, dossier.votes)
                if not line.is_complete
            },
            "you_may_vote_as": mine.roles,
            "why_not": mine.why_not_vote,
            "decision": decision.model_dump(mode="json") if decision else None,
        }
    )
