"""Audit events: the same event has the same id, another never has."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_approval.domain.audit import GENESIS, Action, Actor, ActorKind, AuditEntry, AuditEvent, event_id
from tests.support.builders import NOW

pytestmark = [pytest.mark.unit, pytest.mark.proof]

EVENTS = st.tuples(st.sampled_from(["system", "pr-1", "pr-2"]), st.sampled_from(Action), st.text(max_size=20))


def id_of(event: tuple[str, Action, str]) -> str:
    stream, action, key = event
    return event_id(stream=stream, action=action, key=key)


def an_event(**changes: object) -> AuditEvent:
    fields = {
        "id": id_of(("pr-1", Action.VOTE_CAST, "1")),
        "stream": "pr-1",
        "action": "vote.cast",
        "actor": Actor.person("ana"),
        "occurred_at": NOW,
    }
    return AuditEvent.model_validate({**fields, **changes})


@given(EVENTS, EVENTS)
def test_only_the_same_event_has_the_same_id(one, two):
    assert (id_of(one) == id_of(two)) == (one == two)


def test_ids_do_not_depend_on_where_words_are_cut():
    assert id_of(("pr-1", Action.VOTE_CAST, "2")) != id_of(("pr-2", Action.VOTE_CAST, "1"))


@pytest.mark.parametrize("action", list(Action))
def test_actions_read_subject_and_verb(action):
    subject, verb = action.split(".")
    assert subject.isidentifier()
    assert verb.isidentifier()


def test_people_and_programs_are_told_apart():
    assert Actor.person("intake").kind is ActorKind.PERSON
    assert Actor.service("intake").kind is ActorKind.SERVICE


@pytest.mark.parametrize(
    ("field", "value"),
    [("action", "vote.forged"), ("stream", "../other"), ("subjects", {"vote": "md5:0"}), ("actor", "ana")],
)
def test_an_event_that_says_something_else_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        an_event(**{field: value})


def test_an_entry_survives_being_stored_as_json():
    entry = AuditEntry(sequence=0, previous=GENESIS, event=an_event(), retention_days=365, writer="key-1")
    assert AuditEntry.model_validate_json(entry.model_dump_json()) == entry


def test_a_stream_starts_at_zero():
    with pytest.raises(ValidationError, match="sequence"):
        AuditEntry(sequence=-1, previous=GENESIS, event=an_event(), retention_days=365, writer="key-1")
