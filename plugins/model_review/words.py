"""How things are said: states, verdicts, times, numbers and digests, in the words of the glossary.

Every status is an icon, a word and a colour; the colour is never alone (`tone` names a design token).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime, timedelta

from model_approval.domain.audit import Action
from model_approval.domain.evidence import Severity, Verdict
from model_approval.domain.promotion import PromotionState
from model_approval.domain.review import Choice


@dataclass(frozen=True)
class Look:
    """How a status appears."""

    word: str
    tone: str
    """Design token: `passed`, `failed`, `attention` or `waiting`."""
    icon: str
    """A shape of its own (`icon` in templates/_macros.html), for those who do not see the colour."""


_S = PromotionState
STATES: dict[PromotionState, Look] = {
    _S.REQUESTED: Look("Requested", "waiting", "dot"),
    _S.REFUSED: Look("Refused at intake", "failed", "octagon"),
    _S.VALIDATING: Look("Validating", "waiting", "clock"),
    _S.BLOCKED: Look("Blocked", "attention", "triangle"),
    _S.IN_REVIEW: Look("In review", "attention", "person"),
    _S.APPROVED: Look("Approved", "passed", "check"),
    _S.REJECTED: Look("Rejected", "failed", "octagon"),
    _S.REMEDIATION_REQUESTED: Look("Remediation requested", "attention", "triangle"),
    _S.EXPIRED: Look("Expired", "waiting", "clock"),
    _S.WITHDRAWN: Look("Withdrawn", "waiting", "dash"),
    _S.DEPLOYING: Look("Deploying", "waiting", "clock"),
    _S.DEPLOYED: Look("Deployed", "passed", "check"),
    _S.DEPLOYMENT_FAILED: Look("Deployment failed", "failed", "octagon"),
    _S.SUPERSEDED: Look("Superseded", "waiting", "dash"),
    _S.ROLLED_BACK: Look("Rolled back", "attention", "triangle"),
    _S.REVOKED: Look("Revoked", "failed", "octagon"),
}

VERDICTS: dict[Verdict, Look] = {
    Verdict.PASSED: Look("passed", "passed", "check"),
    Verdict.FAILED: Look("failed", "failed", "octagon"),
    Verdict.ERRORED: Look("errored", "failed", "bolt"),
    Verdict.INCONCLUSIVE: Look("inconclusive", "attention", "triangle"),
    Verdict.SKIPPED: Look("skipped", "waiting", "dash"),
}
WAIVED = Look("waived", "attention", "person")

SEVERITIES: dict[Severity, Look] = {
    Severity.CRITICAL: Look("critical", "failed", "octagon"),
    Severity.HIGH: Look("high", "failed", "octagon"),
    Severity.MEDIUM: Look("medium", "attention", "triangle"),
    Severity.LOW: Look("low", "waiting", "dot"),
    Severity.INFO: Look("info", "waiting", "dot"),
}

CHOICES: dict[Choice, Look] = {
    Choice.APPROVE: Look("approved", "passed", "check"),
    Choice.REJECT: Look("rejected", "failed", "octagon"),
    Choice.REQUEST_REMEDIATION: Look("asked for remediation", "attention", "triangle"),
}

_A = Action
EVENTS: dict[Action, str] = {
    _A.REQUEST_RECEIVED: "requested the promotion",
    _A.REQUEST_REFUSED: "refused the request",
    _A.ARTIFACT_PINNED: "pinned the artifact",
    _A.CHECK_STARTED: "started a check",
    _A.CHECK_FINISHED: "finished a check",
    _A.EVIDENCE_EVALUATED: "held the evidence against the policy",
    _A.REVIEW_OPENED: "opened the review",
    _A.VOTE_CAST: "voted",
    _A.VOTE_WITHDRAWN: "withdrew the vote",
    _A.WAIVER_GRANTED: "waived a rule",
    _A.REQUEST_EXPEDITED: "expedited the review",
    _A.REQUEST_WITHDRAWN: "withdrew the request",
    _A.DECISION_SIGNED: "signed the decision",
    _A.APPROVAL_EXPIRED: "saw the approval expire before its deployment",
    _A.DEPLOYMENT_STARTED: "started the deployment",
    _A.DEPLOYMENT_VERIFIED: "verified the live endpoint",
    _A.DEPLOYMENT_FAILED: "saw the deployment fail",
    _A.DEPLOYMENT_ROLLED_BACK: "rolled the deployment back",
    _A.REGISTRY_UPDATED: "updated the registry",
    _A.PROMOTION_SUPERSEDED: "recorded that a newer version serves",
    _A.PROMOTION_CLOSED: "closed the promotion",
}


@dataclass(frozen=True)
class Moment:
    """A time for people: relative in the text, absolute beside it."""

    iso: str
    absolute: str
    relative: str
    span: str
    """How far away, without saying before or after."""


def moment(at: datetime, now: datetime) -> Moment:
    """Both forms of a time."""
    return Moment(
        iso=at.isoformat(),
        absolute=f"{at:%a} {at.day} {at:%b %Y, %H:%M} UTC",
        relative=relative(at, now),
        span=duration(abs(now - at)),
    )


def relative(at: datetime, now: datetime) -> str:
    """`3 h ago`, `in 2 days`, `just now`."""
    span = duration(abs(now - at))
    if span == "0 s":
        return "just now"
    return f"{span} ago" if at <= now else f"in {span}"


def duration(span: timedelta) -> str:
    """One unit, rounded: `40 s`, `12 min`, `3 h`, `2 days`."""
    seconds = span.total_seconds()
    for size, least, unit in ((86_400, 2, "day"), (3600, 1, "h"), (60, 1, "min")):
        if seconds >= size * least:
            return f"{round(seconds / size)} {unit}{'s' if unit == 'day' else ''}"
    return f"{int(seconds)} s"


def number(value: float, unit: str = "") -> str:
    """Four significant digits, thousands apart, with the unit after a narrow space."""
    digits = f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:.4g}"
    return f"{digits}\u202f{unit}".rstrip("\u202f").replace(",", "\u202f").replace("-", "\u2212")


def change(value: float, baseline: float) -> str:
    """Difference to the champion, absolute and relative: `+2.3 (+5 %)`."""
    difference = value - baseline
    if difference == 0:
        return "no change"
    sign = "+" if difference > 0 else ""
    share = f" ({sign}{number(round(100 * difference / abs(baseline), 1))}\u202f%)" if baseline else ""
    return f"{sign}{number(difference)}{share}"


def short(digest: str) -> str:
    """The first twelve hexadecimal digits; the full digest is one click away."""
    return digest.removeprefix("sha256:")[:12]


def size(size_bytes: int) -> str:
    """Bytes in binary units: `4.2 MiB`."""
    amount = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.4g}\u202f{unit}"
        amount /= 1024
    return f"{amount:.4g}\u202fTiB"


def ratio(value: float) -> str:
    """Three decimals at most, four significant digits below a tenth: `1.02`, `0.9985`."""
    return number(round(value, 3) if value >= 0.1 else value)


_SHOWN_CONTROLS = "\n\r\t"
_JOINERS = "\u200c\u200d"
"""Scripts and emoji need these two within words; they move nothing."""


def visible(text: str) -> str:
    r"""Text with the characters spelled out that hide or turn around what stands beside them: `\u202e`.

    A file called `model<U+202E>xno.exe` would otherwise read as something else than it is.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelled(character) if _deceives(character) else character for character in text)


def _deceives(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cf", "Cs", "Zl", "Zp") and character not in _SHOWN_CONTROLS + _JOINERS


def _spelled(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def listed(words: list[str], joint: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return f" {joint} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))
