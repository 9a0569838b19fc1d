"""Who may vote, which votes count, and how far the quorum is. Pure.

A vote counts when its reviewer holds that role with the ability to vote, is not barred (requester, contributor,
owner), and was looking at today's artifact, policy and evidence. One person counts once, whatever roles they hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from model_approval.domain.committee import Ability
from model_approval.domain.promotion import Promotion
from model_approval.domain.review import Choice, Vote
from model_approval.policy.schema import FrozenPolicy

_WEIGHT = {Choice.REJECT: 0, Choice.REQUEST_REMEDIATION: 1, Choice.APPROVE: 2}


@dataclass(frozen=True)
class Eligibility:
    """Whether somebody may act; `reason` says why not, and is empty when they may."""

    roles: tuple[str, ...]
    """The roles in which they may, sorted; empty: they may not."""
    reason: str = ""


@dataclass(frozen=True)
class RoleTally:
    """One line of the quorum."""

    role: str
    title: str
    needed: int
    given: int
    by: tuple[str, ...]
    """Who approved in this role, sorted."""
    still_eligible: tuple[str, ...]
    """Who could still vote in this role, sorted."""

    @property
    def is_complete(self) -> bool:
        """Enough approvals from this role."""
        return self.given >= self.needed


def eligibility(frozen: FrozenPolicy, promotion: Promotion, subject: str, votes: Sequence[Vote]) -> Eligibility:
    """In which roles somebody may vote now, or why not.

    Args:
        frozen: The policy of the request.
        promotion: The promotion as it stands.
        subject: Who, as the auth manager names them.
        votes: The votes that stand (not withdrawn).
    """
    if not promotion.state.awaits_people:
        return Eligibility((), f"{promotion.id} is {promotion.state.replace('_', ' ')}; its review is not open")
    roles, reason = _entitled(frozen, promotion, subject)
    if not roles:
        return Eligibility((), reason)
    mine = next((vote for vote in votes if vote.reviewer == subject), None)
    if mine is not None:
        stale = "" if is_current(promotion, mine) else ", on evidence that has changed since; withdraw it to vote again"
        return Eligibility((), f"{subject} has already voted on {promotion.id}{stale}")
    return Eligibility(roles)


def entitled_to(frozen: FrozenPolicy, promotion: Promotion, subject: str, ability: Ability) -> Eligibility:
    """In which roles somebody may waive or expedite on this promotion, or why not; barred people may neither."""
    barred = _why_barred(promotion, subject)
    roles = frozen.committee.roles_of(subject, ability)
    if barred or not roles:
        return Eligibility((), barred or f"{subject} has no role in {frozen.committee.title} that may {ability}")
    return Eligibility(roles)


def counting_votes(frozen: FrozenPolicy, promotion: Promotion, votes: Iterable[Vote]) -> tuple[Vote, ...]:
    """The votes that count: entitled, current, in time, one a person; in order of time.

    Should a person ever have two, the one against an approval counts: no order of arrival can turn a no into a yes.
    """
    found: dict[str, Vote] = {}
    for vote in sorted(votes, key=lambda one: (_WEIGHT[one.choice], one.cast_at, one.id)):
        entitled = vote.role in _entitled(frozen, promotion, vote.reviewer)[0]
        if entitled and is_current(promotion, vote) and _in_time(promotion, vote):
            found.setdefault(vote.reviewer, vote)
    return tuple(sorted(found.values(), key=lambda one: (one.cast_at, one.reviewer)))


def tally(frozen: FrozenPolicy, promotion: Promotion, votes: Iterable[Vote]) -> tuple[RoleTally, ...]:
    """The quorum, role by role, in the policy's order."""
    standing = tuple(votes)
    approvals = [one for one in counting_votes(frozen, promotion, standing) if one.choice is Choice.APPROVE]
    voted = {vote.reviewer for vote in standing}
    lines = []
    for rule in frozen.policy.review.quorum:
        by = tuple(sorted(vote.reviewer for vote in approvals if vote.role == rule.role))
        left = frozen.committee.members_with(rule.role) - promotion.barred_voters - voted
        role = frozen.committee.roles.get(rule.role)
        title = role.title if role else rule.role
        lines.append(RoleTally(rule.role, title, rule.votes, len(by), by, tuple(sorted(left))))
    return tuple(lines)


def is_current(promotion: Promotion, vote: Vote) -> bool:
    """Whether a vote is about this promotion's artifact, policy and evidence as they are now."""
    candidate = promotion.candidate
    return (
        candidate is not None
        and vote.request_id == promotion.id
        and vote.artifact_digest == candidate.artifact_digest
        and vote.policy_digest == promotion.request.policy_digest
        and vote.evidence_digest == promotion.evidence_digest
    )


def quorum_gap(needed: Mapping[str, int], people: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """The roles that cannot be filled when everybody votes in one role only; empty when the quorum can be reached.

    Args:
        needed: Votes needed by role.
        people: Who could vote in each role; somebody may be in several.
    """
    seats = [role for role, votes in needed.items() for _ in range(votes)]
    sitting: dict[str, int] = {}
    unfilled = [role for seat, role in enumerate(seats) if not _seat(seat, seats, people, sitting, set())]
    return tuple(dict.fromkeys(unfilled))


def _seat(
    seat: int, seats: Sequence[str], people: Mapping[str, frozenset[str]], sitting: dict[str, int], tried: set[str]
) -> bool:
    """Find somebody for a seat, moving others to another seat of theirs if need be (bipartite matching, Kuhn 1955)."""
    for person in sorted(people.get(seats[seat], frozenset()) - tried):
        tried.add(person)
        if person not in sitting or _seat(sitting[person], seats, people, sitting, tried):
            sitting[person] = seat
            return True
    return False


def _entitled(frozen: FrozenPolicy, promotion: Promotion, subject: str) -> tuple[tuple[str, ...], str]:
    barred = _why_barred(promotion, subject)
    if barred:
        return (), barred
    mine = frozen.committee.roles_of(subject, Ability.VOTE)
    asked = {rule.role for rule in frozen.policy.review.quorum}
    roles = tuple(role for role in mine if role in asked)
    if roles:
        return roles, ""
    if mine:
        titles = ", ".join(frozen.committee.roles[role].title for role in mine)
        return (), f"the policy {frozen.policy.name} asks for no vote from {subject}'s role ({titles})"
    return (), f"{subject} has no role in {frozen.committee.title} that may vote"


def _why_barred(promotion: Promotion, subject: str) -> str:
    if subject == promotion.request.payload.requester:
        return f"{subject} requested this promotion"
    if subject in promotion.request.contributors:
        return f"{subject} contributed to this model version"
    if subject in promotion.barred_voters:
        return f"{subject} registered this model version"
    return ""


def _in_time(promotion: Promotion, vote: Vote) -> bool:
    return promotion.review_deadline is None or vote.cast_at < promotion.review_deadline
