"""Whatever is done to the log, verification names it; and what it believes, the decision may rest on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.adapters.memory.audit import MemoryAuditLog
from model_approval.adapters.memory.signing import MemorySigner, MemoryTrustedKeys
from model_approval.domain.attestation import Envelope, entry_from, entry_statement
from model_approval.domain.audit import Action, Actor, AuditEntry, ProblemKind, StreamHead
from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.errors import IntegrityError
from model_approval.ports import StoredEntry
from model_approval.stages.audit import (
    export_log,
    export_stream,
    heads,
    pin_heads,
    read_heads,
    record,
    verify_bundle,
    verify_entries,
    verify_log,
    votes_in_log,
    waivers_in_log,
)
from tests.support.builders import NOW, clock

pytestmark = [pytest.mark.unit, pytest.mark.proof]

OURS, FOREIGN = MemorySigner(), MemorySigner()
TRUST = MemoryTrustedKeys(OURS)
ANA = Actor.person("ana")
Entries = list[StoredEntry]


@pytest.fixture
def log():
    return MemoryAuditLog(OURS, clock)


@pytest.fixture
def services(log):
    """All that `record` may use."""
    return SimpleNamespace(audit=log, clock=clock)


def write(services, key: str, *, stream="pr-7", action=Action.REVIEW_OPENED, **more):
    return record(services, promotion_id=stream, action=action, actor=ANA, key=key, **more)


@pytest.fixture
def five(services, log) -> Entries:
    """Five entries of stream pr-7, to be tampered with."""
    for number in range(5):
        write(services, str(number))
    entries: Entries = log.stored["pr-7"]
    return entries


def found(entries: Iterable[StoredEntry], pinned: StreamHead | None = None) -> list[tuple[ProblemKind, int | None]]:
    return [(problem.kind, problem.sequence) for problem in verify_entries(entries, TRUST, pinned=pinned)]


def entry_in(stored: StoredEntry) -> AuditEntry:
    return entry_from(Envelope.model_validate_json(stored.envelope).payload_bytes)


def forged(stored: StoredEntry, signer: MemorySigner = OURS, **changes: object) -> StoredEntry:
    """The entry with other content, signed anew."""
    entry = entry_in(stored).model_copy(update={"writer": signer.key_id, **changes})
    return replace(stored, envelope=canonical_json(signer.sign(entry_statement(entry).to_bytes())))


def with_envelope(stored: StoredEntry, change: Callable[[Any], object]) -> StoredEntry:
    plain = json.loads(stored.envelope)
    change(plain)
    return replace(stored, envelope=json.dumps(plain).encode())


# --------------------------------------------------------------------------------------------------------------- record


def test_the_same_event_twice_gives_one_entry(services, log):
    first, second = write(services, "a"), write(services, "a")
    assert first == second
    assert len(log.stored["pr-7"]) == 1


def test_an_event_carries_what_it_was_told(services, log):
    write(services, "a", subjects={"vote": sha256_of(b"v")}, details={"choice": "approve"}, retention_days=30)
    entry = entry_in(log.stored["pr-7"][0])
    assert entry.event.actor == ANA
    assert entry.event.occurred_at == NOW
    assert entry.event.subjects == {"vote": sha256_of(b"v")}
    assert entry.event.details == {"choice": "approve"}
    assert entry.retention_days == 30
    assert log.stored["pr-7"][0].retain_until == NOW + timedelta(days=30)


def test_streams_are_chained_apart(services, log):
    write(services, "a", stream="pr-7")
    write(services, "a", stream="pr-8")
    report = verify_log(log, TRUST)
    assert (report.streams, report.entries, report.is_sound) == (2, 2, True)


# -------------------------------------------------------------------------------------------------------- tamper matrix


def test_an_untouched_stream_verifies(five):
    assert found(five) == []


def test_an_edited_payload_is_named(five):
    five[2] = with_envelope(five[2], lambda plain: plain.update(payload=json.loads(five[3].envelope)["payload"]))
    assert found(five) == [(ProblemKind.EDITED, 2)]


def test_an_entry_replaced_by_nonsense_is_named(five):
    five[2] = replace(five[2], envelope=b"nonsense")
    assert found(five) == [(ProblemKind.EDITED, 2)]


def test_an_entry_that_never_had_a_good_signature_is_named(services, log):
    write(services, "a")
    log.stored["pr-7"][0] = with_envelope(
        log.stored["pr-7"][0], lambda plain: plain["signatures"][0].update(sig="AAAA" * 21 + "AA==")
    )
    write(services, "b")  # chained to the bytes with the bad signature
    assert found(log.stored["pr-7"]) == [(ProblemKind.BAD_SIGNATURE, 0)]


def test_an_entry_with_a_second_signature_is_named(five):
    def sign_again(plain: Any) -> None:
        plain["signatures"].append({"keyid": FOREIGN.key_id, "sig": plain["signatures"][0]["sig"]})

    five[4] = with_envelope(five[4], sign_again)
    assert found(five) == [(ProblemKind.BAD_SIGNATURE, 4)]


def test_an_entry_in_the_name_of_another_writer_is_named(five):
    entry = entry_in(five[4]).model_copy(update={"writer": FOREIGN.key_id})
    five[4] = replace(five[4], envelope=canonical_json(OURS.sign(entry_statement(entry).to_bytes())))
    assert found(five) == [(ProblemKind.BAD_SIGNATURE, 4)]


@pytest.mark.parametrize("place", [2, 4])
def test_an_entry_by_a_foreign_key_is_named(five, place):
    five[place] = forged(five[place], FOREIGN)
    assert found(five) == [(ProblemKind.UNKNOWN_KEY, place)]


def test_an_entry_rewritten_with_a_stolen_key_breaks_the_chain_behind_it(five):
    changed = entry_in(five[2]).event.model_copy(update={"details": {"choice": "approve"}})
    five[2] = forged(five[2], event=changed)
    assert found(five) == [(ProblemKind.BROKEN_CHAIN, 3)]


@pytest.mark.parametrize(("gone", "said"), [({2}, [2]), ({1, 2}, [1]), ({0}, [0])])
def test_missing_entries_are_named(five, gone, said):
    left = [stored for stored in five if stored.sequence not in gone]
    assert found(left) == [(ProblemKind.MISSING, place) for place in said]


def test_swapped_entries_are_named(five):
    five[1], five[3] = replace(five[3], sequence=1), replace(five[1], sequence=3)
    assert found(five) == [(ProblemKind.REORDERED, 1), (ProblemKind.REORDERED, 3)]


def test_an_entry_of_another_stream_is_named(services, log, five):
    write(services, "0", stream="pr-8")
    foreign = replace(log.stored["pr-8"][0], stream="pr-7")
    assert found([foreign, *five[1:]]) == [(ProblemKind.REORDERED, 0), (ProblemKind.BROKEN_CHAIN, 1)]


def test_an_entry_listed_out_of_place_is_named(five):
    assert found([*five, five[1]]) == [(ProblemKind.REORDERED, 1)]


def test_a_place_taken_twice_is_named(five):
    assert found([*five[:3], five[2], *five[3:]]) == [(ProblemKind.DUPLICATED, 2)]


def test_an_event_recorded_twice_is_named(five):
    five[4] = forged(five[4], event=entry_in(five[1]).event)
    assert found(five) == [(ProblemKind.DUPLICATED, 4)]


def test_a_second_version_is_named(five):
    five[2] = replace(five[2], versions=2)
    assert found(five) == [(ProblemKind.EXTRA_VERSION, 2)]


def test_a_delete_marker_is_named(five):
    five[2] = replace(five[2], delete_marker=True)
    assert found(five) == [(ProblemKind.DELETE_MARKER, 2)]


@pytest.mark.parametrize("until", [None, NOW + timedelta(days=364)])
def test_a_retention_shorter_than_promised_is_named(five, until):
    five[2] = replace(five[2], retain_until=until)
    assert found(five) == [(ProblemKind.SHORT_RETENTION, 2)]


def test_an_object_that_is_no_entry_is_named(five):
    assert found([replace(five[0], sequence=-1, envelope=b"?"), *five]) == [(ProblemKind.UNREADABLE, None)]


def test_a_cut_off_tail_is_unseen_without_and_named_with_a_pinned_head(log, five):
    pinned = heads(log, TRUST)["pr-7"]
    del five[3:]
    assert found(five) == []
    assert found(five, pinned) == [(ProblemKind.TRUNCATED, 3)]


def test_a_rewritten_tail_is_named_with_a_pinned_head(log, five):
    pinned = heads(log, TRUST)["pr-7"]
    five[4] = forged(five[4], event=entry_in(five[4]).event.model_copy(update={"details": {"by": "nobody"}}))
    assert found(five) == []
    assert found(five, pinned) == [(ProblemKind.EDITED, 4)]


def test_a_stream_removed_as_a_whole_is_named_with_pinned_heads(services, log, five):
    write(services, "a", stream="pr-8")
    pinned = heads(log, TRUST)
    del log.stored["pr-7"]
    report = verify_log(log, TRUST, pinned)
    assert [(problem.kind, problem.stream) for problem in report.problems] == [(ProblemKind.TRUNCATED, "pr-7")]
    assert "pr-7 entry 0" in report.problems[0].message


def test_a_log_that_grew_still_verifies_against_old_heads(services, log, five):
    pinned = heads(log, TRUST)
    write(services, "later")
    assert verify_log(log, TRUST, pinned).is_sound


def test_every_message_names_stream_and_entry(five):
    five[2] = replace(five[2], versions=3)
    (problem,) = verify_entries(five, TRUST)
    assert problem.message == "pr-7 entry 2: was written over: 3 versions; the first one is the entry"


@given(data=st.data())
def test_any_changed_byte_drop_or_swap_is_found(data):
    log = MemoryAuditLog(OURS, clock)
    services = SimpleNamespace(audit=log, clock=clock)
    for number in range(data.draw(st.integers(2, 6))):
        write(services, str(number))
    pinned, entries = heads(log, TRUST)["pr-7"], list(log.stored["pr-7"])
    place = data.draw(st.integers(0, len(entries) - 1))
    attack = data.draw(st.sampled_from(["flip", "drop", "swap"]))
    if attack == "flip":
        body = bytearray(entries[place].envelope)
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        entries[place] = replace(entries[place], envelope=bytes(body))
    elif attack == "drop":
        del entries[place]
    else:
        other = (place + 1) % len(entries)
        first, second = entries[place].envelope, entries[other].envelope
        entries[place], entries[other] = (
            replace(entries[place], envelope=second),
            replace(entries[other], envelope=first),
        )
    assert verify_entries(entries, TRUST, pinned=pinned)


# ------------------------------------------------------------------------------------------------------ heads, bundles


def test_heads_survive_a_file(log, five):
    pinned = heads(log, TRUST)
    assert read_heads(pin_heads(pinned)) == pinned


def test_a_file_that_holds_no_heads_is_refused():
    with pytest.raises(IntegrityError, match="not a file of pinned heads"):
        read_heads(b"{}")


def test_heads_of_a_log_that_does_not_verify_are_refused(log, five):
    five[2] = replace(five[2], versions=2)
    with pytest.raises(IntegrityError, match="does not verify: pr-7 entry 2"):
        heads(log, TRUST)


def test_a_bundle_verifies_without_the_store(services, log, five):
    write(services, "a", stream="pr-8")
    report = verify_bundle(export_log(log), TRUST, heads(log, TRUST))
    assert (report.streams, report.entries, report.problems) == (2, 6, ())


def test_a_bundle_of_one_stream_is_not_held_against_the_heads_of_others(services, log, five):
    write(services, "a", stream="pr-8")
    assert verify_bundle(export_stream(log, "pr-7"), TRUST, heads(log, TRUST)).is_sound


def test_a_bundle_shows_what_was_wrong_in_the_store(log, five):
    five[1] = replace(five[1], delete_marker=True)
    (problem,) = verify_bundle(export_log(log), TRUST).problems
    assert (problem.kind, problem.sequence) == (ProblemKind.DELETE_MARKER, 1)


def test_a_line_taken_from_a_bundle_is_missed(log, five):
    lines = export_log(log).splitlines(keepends=True)
    report = verify_bundle(b"".join(lines[:3] + lines[4:]), TRUST)
    assert [(problem.kind, problem.sequence) for problem in report.problems] == [(ProblemKind.MISSING, 2)]


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "line 1: this is not an audit bundle"), (b"{}\n", "line 1"), (b"not json\n", "line 1")],
)
def test_a_file_that_is_no_bundle_is_refused_by_its_line(data, message):
    with pytest.raises(IntegrityError, match=message):
        verify_bundle(data, TRUST)


def test_a_broken_line_of_a_bundle_is_refused_by_its_number(log, five):
    lines = export_log(log).splitlines(keepends=True)
    with pytest.raises(IntegrityError, match="line 4: not an entry"):
        verify_bundle(b"".join([*lines[:3], b"{}\n", *lines[4:]]), TRUST)


def test_a_stream_that_the_header_does_not_name_is_refused(services, log, five):
    write(services, "a", stream="pr-8")
    header = export_stream(log, "pr-7").splitlines(keepends=True)[0]
    with pytest.raises(IntegrityError, match=r"line 7: stream 'pr-8'"):
        verify_bundle(header + b"".join(export_log(log).splitlines(keepends=True)[1:]), TRUST)


# --------------------------------------------------------------------------------------- what people did, by the log


def test_votes_in_the_log_are_those_cast_and_not_withdrawn(services, log):
    kept, taken_back = sha256_of(b"ana's"), sha256_of(b"bo's")
    for vote in (kept, taken_back):
        write(services, vote, action=Action.VOTE_CAST, subjects={"vote": vote})
    write(services, taken_back, action=Action.VOTE_WITHDRAWN, subjects={"vote": taken_back})
    assert votes_in_log(log, TRUST, "pr-7") == {kept}


def test_waivers_in_the_log_are_those_granted(services, log):
    waiver = sha256_of(b"a waiver")
    write(services, waiver, action=Action.WAIVER_GRANTED, subjects={"waiver": waiver})
    assert waivers_in_log(log, TRUST, "pr-7") == {waiver}


def test_no_vote_is_believed_in_a_stream_that_does_not_verify(services, log):
    vote = sha256_of(b"a forged vote")
    write(services, vote, action=Action.VOTE_CAST, subjects={"vote": vote})
    log.stored["pr-7"][0] = forged(log.stored["pr-7"][0], FOREIGN)
    with pytest.raises(IntegrityError, match=r"audit log of pr-7 does not verify: .*signed by key"):
        votes_in_log(log, TRUST, "pr-7")


def test_a_stream_without_entries_holds_no_votes(log):
    assert votes_in_log(log, TRUST, "pr-7") == frozenset()
