"""Outcomes and waivers -> whether a promotion may be approved at all, in one sentence. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from model_approval.domain.evidence import RuleOutcome, Verdict
from model_approval.domain.review import Waiver


@dataclass(frozen=True)
class Readiness:
    """Whether the facts allow an approval."""

    ready: bool
    """Every required rule passed or is validly waived. Only then can votes approve."""
    blocking: tuple[RuleOutcome, ...]
    """Required, not passed, not waived; in the order of the outcomes."""
    waived: tuple[Waiver, ...]
    """The waivers that are needed and in force, one a rule."""
    can_be_waived: bool
    """Something blocks, and a waiver may be asked for all of it."""
    final_no: bool
    """A check said no (not: broke, or could not tell) to a rule that nobody may waive."""
    sentence: str


def readiness(outcomes: Sequence[RuleOutcome], waivers: Sequence[Waiver], *, now: datetime) -> Readiness:
    """Whether a promotion may be approved.

    Waivers count from when they were granted until before they expire, for rules that may be waived. That they were
    granted by somebody entitled, on this evidence, is `decide.standing_waivers`' concern.
    """
    required = [outcome for outcome in outcomes if outcome.required]
    not_passed = [outcome for outcome in required if outcome.verdict is not Verdict.PASSED]
    waived = tuple(found for outcome in not_passed if (found := _waiver_for(outcome, waivers, now)))
    accepted = {waiver.rule for waiver in waived}
    blocking = tuple(outcome for outcome in not_passed if outcome.rule not in accepted)
    final = [outcome for outcome in blocking if outcome.verdict is Verdict.FAILED and not outcome.waivable]
    return Readiness(
        ready=bool(required) and not blocking,
        blocking=blocking,
        waived=waived,
        can_be_waived=bool(blocking) and all(outcome.waivable for outcome in blocking),
        final_no=bool(final),
        sentence=_sentence(len(required), blocking, len(waived), final),
    )


def _waiver_for(outcome: RuleOutcome, waivers: Sequence[Waiver], now: datetime) -> Waiver | None:
    if not outcome.waivable:
        return None
    in_force = [one for one in waivers if one.rule == outcome.rule and one.granted_at <= now < one.expires_at]
    # Whichever order they come in, the one that lasts longest is named.
    return max(in_force, key=lambda one: (one.expires_at, one.id), default=None)


def _sentence(total: int, blocking: tuple[RuleOutcome, ...], waived: int, final: list[RuleOutcome]) -> str:
    if not total:
        return "Blocked: nothing was checked"
    if final:
        return f"Cannot be approved: {_told(final)}"
    if not blocking:
        also = f" and {waived} {'is' if waived == 1 else 'are'} waived" if waived else ""
        return f"Ready for review because {total - waived} of {total} required checks passed{also}"
    way = "a waiver for each would unblock it" if all(one.waivable for one in blocking) else "re-run what broke"
    return f"Blocked: {_told(list(blocking))} ({len(blocking)} of {total} required checks; {way})"


def _told(outcomes: list[RuleOutcome]) -> str:
    return "; ".join(f"{one.title}: {one.reason}" for one in outcomes)
