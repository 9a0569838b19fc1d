"""Signed statements: what goes in comes out, and nothing else is taken for a decision."""

from __future__ import annotations

import base64
import json

import pytest
from pydantic import ValidationError

from model_approval.domain.attestation import (
    AUDIT_ENTRY,
    HUMAN_APPROVAL,
    Envelope,
    Statement,
    decision_from,
    decision_statement,
)
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import IntegrityError
from model_approval.domain.review import Outcome
from tests.support.builders import a_decision, a_promotion, a_waiver

pytestmark = [pytest.mark.unit, pytest.mark.proof]


def changed(payload: bytes, **changes: object) -> bytes:
    return canonical_json({**json.loads(payload), **changes})


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_decision_reads_back_as_it_was_signed(outcome):
    decision = a_decision(outcome=outcome, waivers=(a_waiver(),), remediation=({"text": "add tests", "owner": "rita"},))
    assert decision_from(decision_statement(decision).to_bytes()) == decision


def test_a_statement_is_an_in_toto_statement_about_the_artifact():
    decision = a_decision()
    written = json.loads(decision_statement(decision).to_bytes())
    assert written["_type"] == "https://in-toto.io/Statement/v1"
    assert written["predicateType"] == HUMAN_APPROVAL
    assert written["subject"] == [
        {"name": "fraud-scorer/7", "digest": {"sha256": decision.artifact_digest.removeprefix("sha256:")}}
    ]


def test_the_signed_bytes_are_the_same_every_time():
    assert decision_statement(a_decision()).to_bytes() == decision_statement(a_decision()).to_bytes()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"predicateType": AUDIT_ENTRY}, "expected a urn:model-approval:human-approval:v1 statement"),
        ({"_type": "https://in-toto.io/Statement/v0.1"}, "expected a"),
        ({"subject": []}, "subject is not the artifact"),
        ({"subject": [{"name": "fraud-scorer/7", "digest": {"sha256": "0" * 64}}]}, "subject is not the artifact"),
        ({"subject": [{"name": "other/7", "digest": {"sha256": "0" * 64}}]}, "subject is not the artifact"),
        ({"predicate": {}}, "the signed decision cannot be read"),
        ({"extra": 1}, "is not an in-toto statement"),
    ],
)
def test_anything_else_is_not_taken_for_a_decision(changes, complaint):
    payload = changed(decision_statement(a_decision()).to_bytes(), **changes)
    with pytest.raises(IntegrityError, match=complaint):
        decision_from(payload)


@pytest.mark.parametrize("payload", [b"", b"null", b"{", b"\xff\xfe", b"[]"])
def test_bytes_that_are_no_statement_are_an_integrity_error(payload):
    with pytest.raises(IntegrityError, match="not an in-toto statement"):
        decision_from(payload)


def test_a_statement_of_another_kind_reads_back_only_as_that_kind():
    data = Statement(subject=(), predicateType=AUDIT_ENTRY, predicate={"sequence": 1}).to_bytes()
    assert Statement.from_bytes(data, predicate_type=AUDIT_ENTRY).predicate == {"sequence": 1}
    with pytest.raises(IntegrityError, match=f"found {AUDIT_ENTRY}"):
        Statement.from_bytes(data, predicate_type=HUMAN_APPROVAL)


def test_an_envelope_without_signature_is_none():
    with pytest.raises(ValidationError, match="signatures"):
        Envelope(payload="", signatures=())


def test_an_envelope_gives_back_exactly_the_signed_bytes():
    payload = decision_statement(a_decision(a_promotion())).to_bytes()
    envelope = Envelope.model_validate(
        {"payload": base64.b64encode(payload).decode(), "signatures": [{"keyid": "k", "sig": "s"}]}
    )
    assert envelope.payload_bytes == payload
