"""A promotion's row held against its audit stream, before anything irreversible rests on the row.

Whoever edits the review database can change what was asked for, by whom, under which policy, what was pinned, how the
checks came out, and where a promotion stands. None of it can be changed in the log; so an approval is signed, and a
model deployed, only when the log tells the same story.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from model_approval.domain.audit import Action, AuditEvent
from model_approval.domain.errors import IntegrityError
from model_approval.domain.evidence import StoredEvidence, evidence_digest
from model_approval.domain.promotion import Promotion
from model_approval.domain.review import Choice, Outcome, Vote
from model_approval.policy.schema import FrozenPolicy

_HINT = "somebody edited the review database; compare it with `model-approval audit verify`, then request it again"


@dataclass
class Told:
    """What a verified stream tells about a promotion."""

    request: str | None = None
    candidate: str | None = None
    evidence: str | None = None
    """What was evaluated last; None while a check has run since."""
    evaluated_at: datetime | None = None
    """The first evaluation: from then on the review's time runs."""
    votes: dict[str, AuditEvent] = field(default_factory=dict)
    """Each reviewer's last word; none once it is withdrawn."""
    outcomes: set[str] = field(default_factory=set)
    """Of every decision that was ever signed."""
    served: bool = False
    ended: str = ""
    """Why it may never serve (again), in words."""

    @classmethod
    def by(cls, events: Iterable[AuditEvent]) -> Told:
        """Read a stream's events in their order."""
        told = cls()
        for event in events:
            told._take(event)
        return told

    def _take(self, event: AuditEvent) -> None:
        self._take_facts(event)
        self._take_acts(event)

    def _take_facts(self, event: AuditEvent) -> None:
        subjects = event.subjects
        match event.action:
            case Action.REQUEST_RECEIVED:
                self.request = self.request or subjects.get("request")
            case Action.ARTIFACT_PINNED:
                self.candidate = subjects.get("candidate")
            case Action.CHECK_STARTED | Action.CHECK_FINISHED:
                self.evidence = None
            case Action.EVIDENCE_EVALUATED:
                self.evidence = subjects.get("evidence")
                self.evaluated_at = self.evaluated_at or event.occurred_at
            case _:
                pass

    def _take_acts(self, event: AuditEvent) -> None:
        details = event.details
        match event.action:
            case Action.VOTE_CAST:
                self.votes[event.actor.subject] = event
            case Action.VOTE_WITHDRAWN:
                self.votes.pop(event.actor.subject, None)
            case Action.DECISION_SIGNED:
                self.outcomes.add(str(details.get("outcome")))
            case Action.DEPLOYMENT_VERIFIED:
                self.served = True
            case Action.DEPLOYMENT_FAILED | Action.APPROVAL_EXPIRED:
                self.ended = event.action.value
            # Putting the champion back after a failure has the same name; only a person's act says `revoked`.
            case Action.DEPLOYMENT_ROLLED_BACK if "revoked" in details:
                self.ended = "revoked" if details["revoked"] else "rolled back"
            case _:
                pass


def require_approvable(
    told: Told,
    promotion: Promotion,
    frozen: FrozenPolicy,
    *,
    evidence: Sequence[StoredEvidence],
    votes: Sequence[Vote],
    now: datetime,
) -> None:
    """Before an approval is signed.

    Raises:
        IntegrityError: The row says something else than the log; names everything.
    """
    review = frozen.policy.review
    longest = timedelta(hours=max(review.response_timeout_h, review.expedited_timeout_h))
    deadline = told.evaluated_at and told.evaluated_at + longest
    problems = [*_other_facts(told, promotion, evidence), *_hidden_votes(told, votes)]
    if told.outcomes - {Outcome.APPROVED.value}:
        problems.append(f"it was decided already: {', '.join(sorted(told.outcomes))}")
    if told.ended:
        problems.append(f"it ended already: {told.ended}")
    if deadline is None or promotion.review_deadline is None or now >= deadline:
        problems.append("its review's time, counted from its first evaluation, is over")
    _refuse(promotion, problems)


def require_deployable(
    told: Told, promotion: Promotion, evidence: Sequence[StoredEvidence], *, serves_again: bool = False
) -> None:
    """Before a model is made to serve, or named the champion.

    Args:
        told: The promotion's verified stream.
        promotion: As the database has it.
        evidence: All its runs, as the database has them.
        serves_again: Whether it is said to have served before.

    Raises:
        IntegrityError: The row says something else than the log; names everything.
    """
    problems = list(_other_facts(told, promotion, evidence))
    if told.outcomes != {Outcome.APPROVED.value}:
        problems.append(f"its signed decisions are: {', '.join(sorted(told.outcomes)) or 'none'}")
    if told.ended:
        problems.append(f"it ended: {told.ended}")
    if serves_again and not told.served:
        problems.append("it was never deployed")
    _refuse(promotion, problems)


def _other_facts(told: Told, promotion: Promotion, evidence: Sequence[StoredEvidence]) -> Iterator[str]:
    if told.request != promotion.request.asked_digest:
        yield "another request was received (its people, policy or payload differ)"
    if told.candidate is None or told.candidate != promotion.pinned_digest:
        yield "another artifact, champion, owner or intake result was pinned"
    if told.evidence is None or told.evidence != promotion.evidence_digest:
        yield "other evidence was evaluated last, or a check has run since"
    elif told.evidence != evidence_digest(tuple(evidence), promotion.outcomes):
        yield "its runs or rule outcomes are not those that were evaluated"


def _hidden_votes(told: Told, votes: Sequence[Vote]) -> Iterator[str]:
    """A no that was cast and is no longer in the database. A missing yes only delays."""
    stored = {vote.digest for vote in votes}
    for reviewer, event in sorted(told.votes.items()):
        against = event.details.get("choice") != Choice.APPROVE.value
        if against and event.subjects.get("evidence") == told.evidence and event.subjects.get("vote") not in stored:
            yield f"{reviewer} voted {event.details.get('choice')}, and that vote is gone"


def _refuse(promotion: Promotion, problems: Sequence[str]) -> None:
    if problems:
        raise IntegrityError(f"{promotion.id} is not what the audit log tells: {'; '.join(problems)}", hint=_HINT)
