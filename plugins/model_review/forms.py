"""What people can do on a request: one entry an act, and how a sent form becomes a use case's input."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from model_approval.domain.errors import DecisionError, Denial
from model_approval.domain.review import Choice, RemediationItem
from model_approval.stages.review import Ballot, SeenDigests

MAX_FIELD_CHARS = 20_000
"""Longer than any bound below it: the domain says what is too long, this keeps a page from holding a flood."""
MAX_ITEMS = 100


@dataclass(frozen=True)
class Act:
    """One thing a person can do to a request."""

    name: str
    opener: str
    """The button that opens the dialog."""
    title: str
    button: str
    """The button that does it; names the effect."""
    tone: str
    prompt: str
    reason_required: bool = True
    choice: Choice | None = None
    past: str = ""
    """What the page says afterwards."""


ACTS = {
    act.name: act
    for act in (
        Act(
            "approve", "Approve…", "Approve", "Approve", "passed", "Comment (optional, kept in the record)",
            reason_required=False, choice=Choice.APPROVE, past="Your approval is recorded.",
        ),
        Act(
            "reject", "Reject…", "Reject", "Reject", "failed", "Why is this rejected?",
            choice=Choice.REJECT, past="Your rejection is recorded.",
        ),
        Act(
            "remediate", "Ask for remediation…", "Ask for remediation", "Ask for remediation", "attention",
            "Comment (optional)", reason_required=False, choice=Choice.REQUEST_REMEDIATION,
            past="Your request for remediation is recorded.",
        ),
        Act(
            "withdraw-vote", "Withdraw my vote…", "Withdraw my vote", "Withdraw my vote", "waiting",
            "", reason_required=False, past="Your vote is withdrawn.",
        ),
        Act(
            "withdraw-request", "Withdraw the request…", "Withdraw the request", "Withdraw the request",
            "failed", "Why is it withdrawn?", past="The request is withdrawn.",
        ),
        Act(
            "waive", "Waive…", "Waive a rule", "Waive this rule", "attention",
            "Why is it acceptable that this rule did not pass?", past="The waiver is recorded.",
        ),
        Act(
            "expedite", "Expedite…", "Expedite the review", "Expedite", "attention",
            "Why can it not wait?", past="The review is expedited.",
        ),
    )
}  # fmt: skip


_NOTHING_SEEN = SeenDigests("", "", "")


@dataclass(frozen=True)
class Sent:
    """A form as it came in, before anything is accepted; kept so that a refused form can be shown again."""

    reason: str = ""
    role: str = ""
    items: str = ""
    rule: str = ""
    days: str = ""
    seen: SeenDigests = _NOTHING_SEEN


def read_sent(form: Mapping[str, object]) -> Sent:
    """Take the known text fields, bounded."""

    def text(name: str) -> str:
        value = form.get(name)
        return value[:MAX_FIELD_CHARS].replace("\r\n", "\n") if isinstance(value, str) else ""

    return Sent(
        reason=text("reason"),
        role=text("role"),
        items=text("items"),
        rule=text("rule"),
        days=text("days"),
        seen=SeenDigests(text("seen_artifact"), text("seen_policy"), text("seen_evidence")),
    )


def ballot(sent: Sent, choice: Choice, authentication: str) -> Ballot:
    """The vote in a form.

    Raises:
        DecisionError: (invalid) A remediation item is too short or too long; says which.
    """
    items = parse_items(sent.items) if choice is Choice.REQUEST_REMEDIATION else ()
    return Ballot(
        choice=choice, role=sent.role or None, reason=sent.reason.strip(), items=items, authentication=authentication
    )


def parse_items(text: str) -> tuple[RemediationItem, ...]:
    """One item a line; a last word `@name` names its owner."""
    lines = [line.strip(" -*\t") for line in text.splitlines()]
    lines = [line for line in lines if line]
    if len(lines) > MAX_ITEMS:
        raise DecisionError(f"{len(lines)} items are too many; give at most {MAX_ITEMS}", denial=Denial.INVALID)
    return tuple(_item(line) for line in lines)


def _item(line: str) -> RemediationItem:
    words, _, last = line.rpartition(" ")
    owner = last[1:] if words and last.startswith("@") and len(last) > 1 else None
    try:
        return RemediationItem(text=words if owner else line, owner=owner)
    except ValidationError as err:
        raise DecisionError(f"item {line[:60]!r}: {err.errors()[0]['msg']}", denial=Denial.INVALID) from err


def days(sent: Sent) -> int:
    """How long a waiver shall last.

    Raises:
        DecisionError: (invalid) Not a number of days.
    """
    if not sent.days.isascii() or not sent.days.isdigit() or len(sent.days) > 4:
        raise DecisionError("say for how many days the waiver shall hold, for example 14", denial=Denial.INVALID)
    return int(sent.days)


NEW_FIELDS = (
    "registry", "model", "version", "environment", "reason", "semantic_version", "risk_tier",
    "contributors", "documents", "classification", "licence", "personal_data_columns",
)  # fmt: skip


def read_new(form: Mapping[str, object]) -> dict[str, str]:
    """The fields of the form for a new request, as typed."""
    found = {name: form.get(name) for name in NEW_FIELDS}
    return {name: value[:MAX_FIELD_CHARS].strip() if isinstance(value, str) else "" for name, value in found.items()}


def payload_json(fields: Mapping[str, str], requester: str) -> str:
    """The metadata payload of a new request; the requester is who is signed in, whatever the form says.

    Raises:
        DecisionError: (invalid) A line of the documents is not `kind: path`.
    """
    plain = ("environment", "reason", "semantic_version", "risk_tier", "classification", "licence")
    payload: dict[str, object] = {name: fields[name] for name in plain if fields[name]}
    payload["requester"] = requester
    for name in ("contributors", "personal_data_columns"):
        payload[name] = [word.strip() for word in fields[name].replace("\n", ",").split(",") if word.strip()]
    payload["documents"] = _documents(fields["documents"])
    return json.dumps(payload)


def _documents(text: str) -> dict[str, str]:
    documents = {}
    for line in filter(None, (line.strip() for line in text.splitlines())):
        kind, colon, path = line.partition(":")
        if not colon or not path.strip():
            raise DecisionError(f"documents: {line[:60]!r} is not `kind: path`", denial=Denial.INVALID)
        documents[kind.strip()] = path.strip()
    return documents
