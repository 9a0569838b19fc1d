"""The history of a request as the signed audit log tells it, each entry's signature and place checked as it is read."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime

from model_approval.domain.audit import Action, ActorKind, AuditEntry
from model_approval.domain.errors import OutsideSystemError
from model_approval.domain.promotion import PromotionState
from model_approval.domain.review import Choice
from model_approval.ports import Services
from model_approval.stages.audit.verify import StreamCheck
from model_review import words

log = logging.getLogger(__name__)
SHOWN_ENTRIES = 500
"""A re-run a day for a year; longer streams are in the download."""
_QUIET = {Action.REGISTRY_UPDATED}
"""In the log and in the download, not on the page."""


@dataclass(frozen=True)
class TimelineEntry:
    """One audit event, in words."""

    sequence: int
    actor: str
    by_person: bool
    verb: str
    detail: str
    reason: str
    at: words.Moment
    look: words.Look


@dataclass(frozen=True)
class Timeline:
    """A request's events, oldest first."""

    entries: tuple[TimelineEntry, ...] = ()
    head: str = ""
    """Hash of the last entry: kept outside, it shows later whether the tail was cut off."""
    problems: tuple[str, ...] = ()
    """What is wrong with the stream; anything here means that somebody changed it."""
    out_of_reach: str = ""
    """Why the log could not be read just now."""


def read_timeline(services: Services, request_id: str) -> Timeline:
    """Read and check a stream. A log out of reach never hides the request itself."""
    check, now = StreamCheck(request_id, services.verifier), services.clock()
    entries: list[TimelineEntry] = []
    try:
        for stored in services.audit.entries(request_id):
            entry = check.take(stored)
            if entry and entry.event.action not in _QUIET and len(entries) < SHOWN_ENTRIES:
                entries.append(_entry(entry, now))
    except OutsideSystemError as err:
        log.warning("promotion %s: its audit stream cannot be read: %s", request_id, err)
        return Timeline(tuple(entries), out_of_reach=str(err))
    problems = tuple(problem.message for problem in check.finish())
    if problems:
        log.error("promotion %s: %d problems in its audit stream, first: %s", request_id, len(problems), problems[0])
    return Timeline(tuple(entries), head=check.head.entry_hash if check.head else "", problems=problems)


def _entry(entry: AuditEntry, now: datetime) -> TimelineEntry:
    event = entry.event
    verb, detail, look = words.EVENTS.get(event.action, event.action.value), "", words.Look("", "waiting", "dot")
    state = event.details.get("state")
    if event.action in (Action.CHECK_STARTED, Action.CHECK_FINISHED):
        detail = f"{event.details.get('check', '')}, run {event.details.get('run', '')}"
    elif event.action is Action.VOTE_CAST and event.details.get("choice") in list(Choice):
        look = words.CHOICES[Choice(str(event.details["choice"]))]
        verb, detail = look.word, f"as {event.details.get('role', '')}"
    elif event.action is Action.WAIVER_GRANTED:
        detail, look = str(event.details.get("rule", "")), words.WAIVED
    elif state in list(PromotionState) and event.action is not Action.REQUEST_EXPEDITED:
        look = words.STATES[PromotionState(str(state))]
    return TimelineEntry(
        sequence=entry.sequence,
        actor=event.actor.subject,
        by_person=event.actor.kind is ActorKind.PERSON,
        verb=verb,
        detail=detail,
        reason=str(event.details.get("reason", "")),
        at=words.moment(event.occurred_at, now),
        look=look,
    )
