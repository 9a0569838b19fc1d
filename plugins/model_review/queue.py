"""The queue: which requests there are, whose move it is, and what the filters leave."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

from model_approval.domain.evidence import Verdict
from model_approval.domain.promotion import OPEN_STATES, Promotion, PromotionState
from model_approval.policy.decide import review_readiness
from model_approval.policy.schema import FrozenPolicy
from model_approval.policy.voting import tally
from model_approval.ports import Services
from model_review import standing, words

MINE, WAITING, DECIDED = "mine", "waiting", "decided"
TABS = {MINE: "Needs my review", WAITING: "Waiting for others", DECIDED: "Decided"}
DECIDED_SHOWN = 200
AGES = {"day": ("older than a day", timedelta(days=1)), "week": ("older than a week", timedelta(days=7))}
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Filters:
    """What the query string asks for; unknown or empty values ask for nothing."""

    tab: str = MINE
    text: str = ""
    model: str = ""
    environment: str = ""
    risk: str = ""
    requester: str = ""
    verdict: str = ""
    age: str = ""

    @property
    def active(self) -> bool:
        """Whether anything but the tab is chosen."""
        return any(getattr(self, field.name) for field in fields(self) if field.name != "tab")

    def query(self, **changes: str) -> str:
        """The same view as a query string, with some fields changed; what a colleague can be sent."""
        chosen = {field.name: getattr(self, field.name) for field in fields(self)} | changes
        return urlencode({key: value for key, value in chosen.items() if value})


@dataclass(frozen=True)
class QueueRow:
    """One request as a line of the queue."""

    promotion: Promotion
    look: words.Look
    checks: str
    checks_look: words.Look
    votes: str
    mine: bool
    since: words.Moment
    expires: words.Moment | None
    expires_soon: bool
    decided_by: str


@dataclass(frozen=True)
class Queue:
    """The page's content."""

    filters: Filters
    rows: tuple[QueueRow, ...]
    counts: dict[str, int]
    choices: dict[str, tuple[str, ...]]
    """For each select: the values that occur."""


def build_queue(services: Services, subject: str, filters: Filters) -> Queue:
    """Read the requests and sort them into tabs.

    Cost: one query for the open requests, one for the decided ones, one for the votes of each request in review or
    blocked, and one for the waivers of each blocked one.
    """
    now = services.clock()
    policies: dict[str, FrozenPolicy] = {}
    open_rows = [
        _row(services, promotion, _policy(services, promotion, policies), subject, now)
        for promotion in services.reviews.find(sorted(OPEN_STATES))
    ]
    closed = [state for state in PromotionState if state not in OPEN_STATES]
    decided = [
        _row(services, promotion, _policy(services, promotion, policies), subject, now)
        for promotion in services.reviews.find(closed, limit=DECIDED_SHOWN)
    ]
    tabs = {
        MINE: [row for row in open_rows if row.mine],
        WAITING: [row for row in open_rows if not row.mine],
        DECIDED: decided,
    }
    shown = [row for row in tabs[filters.tab] if _matches(row, filters, now)]
    if filters.tab != DECIDED:
        shown.sort(key=_urgency)
    return Queue(
        filters=filters,
        rows=tuple(shown),
        counts={tab: len(rows) for tab, rows in tabs.items()},
        choices=_choices([row.promotion for rows in tabs.values() for row in rows]),
    )


def next_for(services: Services, subject: str, *, after: str) -> str | None:
    """The request that waits most urgently for this person, other than the one just handled."""
    rows = build_queue(services, subject, Filters()).rows
    return next((row.promotion.id for row in rows if row.promotion.id != after), None)


def _policy(services: Services, promotion: Promotion, known: dict[str, FrozenPolicy]) -> FrozenPolicy:
    digest = promotion.request.policy_digest
    if digest not in known:
        known[digest] = services.reviews.policy(digest)
    return known[digest]


def _row(services: Services, promotion: Promotion, frozen: FrozenPolicy, subject: str, now: datetime) -> QueueRow:
    waiting = promotion.state.awaits_people
    votes = services.reviews.votes(promotion.id) if waiting else []
    mine = waiting and _is_mine(services, promotion, frozen, standing.rights(frozen, promotion, subject, votes), now)
    checks, checks_look = _checks(promotion)
    deadline = promotion.review_deadline if waiting else None
    return QueueRow(
        promotion=promotion,
        look=words.STATES[promotion.state],
        checks=checks,
        checks_look=checks_look,
        votes=standing.votes_word(tally(frozen, promotion, votes)) if waiting else "",
        mine=mine,
        since=words.moment(promotion.state_since, now),
        expires=words.moment(deadline, now) if deadline else None,
        expires_soon=deadline is not None and deadline - now < timedelta(hours=24),
        decided_by=promotion.state_reason,
    )


def _is_mine(
    services: Services, promotion: Promotion, frozen: FrozenPolicy, mine: standing.Rights, now: datetime
) -> bool:
    """My move: my vote is missing, or the request is blocked by a rule that I may waive."""
    if promotion.state is PromotionState.IN_REVIEW:
        return mine.can_vote
    facts = review_readiness(frozen, promotion, services.reviews.waivers(promotion.id), now=now)
    return mine.can_waive and facts.can_be_waived


def _checks(promotion: Promotion) -> tuple[str, words.Look]:
    required = [outcome for outcome in promotion.outcomes if outcome.required]
    if not promotion.check_outcomes:
        return "not evaluated yet", words.VERDICTS[Verdict.SKIPPED]
    passed = sum(outcome.verdict is Verdict.PASSED for outcome in required)
    worst = next((outcome.verdict for outcome in required if outcome.verdict is not Verdict.PASSED), Verdict.PASSED)
    return f"{passed} of {len(required)} passed", words.VERDICTS[worst]


def _urgency(row: QueueRow) -> tuple[bool, datetime]:
    return not row.promotion.expedited, row.promotion.review_deadline or _NEVER


def _matches(row: QueueRow, filters: Filters, now: datetime) -> bool:
    request, payload = row.promotion.request, row.promotion.request.payload
    text = " ".join((request.model, request.version, request.id, payload.reason, payload.requester)).casefold()
    verdicts = {outcome.verdict.value for outcome in row.promotion.outcomes}
    age = AGES.get(filters.age)
    return all(
        (
            filters.text.casefold() in text,
            filters.model in ("", request.model),
            filters.environment in ("", request.environment),
            filters.risk in ("", payload.risk_tier.value),
            filters.requester in ("", payload.requester),
            not filters.verdict or filters.verdict in verdicts,
            age is None or now - request.created_at > age[1],
        )
    )


def _choices(promotions: list[Promotion]) -> dict[str, tuple[str, ...]]:
    values = {
        "model": {promotion.request.model for promotion in promotions},
        "environment": {promotion.request.environment for promotion in promotions},
        "risk": {promotion.request.payload.risk_tier.value for promotion in promotions},
        "requester": {promotion.request.payload.requester for promotion in promotions},
        "verdict": {outcome.verdict.value for promotion in promotions for outcome in promotion.outcomes},
    }
    return {name: tuple(sorted(found)) for name, found in values.items()}
