"""OpenVEX out and in: what is written can be read back, and a statement counts for exactly what it names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Finding, Severity
from model_approval.domain.openvex import Document, accepted_by, parse_document, vex_document
from tests.support.builders import an_evidence

pytestmark = pytest.mark.unit

FOUND = Finding(
    rule="pickle.dangerous-import", severity=Severity.CRITICAL, file="m.pkl", subject="os.system", message="runs"
)
EVIDENCE = an_evidence("security_scan", findings=(FOUND,))
DIGEST = EVIDENCE.artifact_digest
FINGERPRINT = {"name": FOUND.fingerprint}


def a_statement(**changes: Any) -> dict[str, Any]:
    return {
        "vulnerability": FINGERPRINT,
        "products": [{"@id": f"urn:{DIGEST}"}],
        "status": "not_affected",
        "justification": "vulnerable_code_not_in_execute_path",
        "impact_statement": "never loaded",
        **changes,
    }


def a_document(*statements: dict[str, Any], **changes: Any) -> Document:
    fields = {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "urn:x",
        "author": "ana@example.org",
        "timestamp": "2026-06-01T12:00:00Z",
        "version": 1,
        "statements": statements,
        **changes,
    }
    return parse_document(json.dumps(fields).encode(), what="a.vex.json")


def taken_back(*documents: Document, model: str = "") -> bool:
    return FOUND.fingerprint in accepted_by(documents, [FOUND], digest=DIGEST, model=model)


@pytest.mark.parametrize(
    "product",
    [{"@id": f"urn:{DIGEST}"}, {"@id": DIGEST}, {"hashes": {"sha-256": DIGEST.removeprefix("sha256:").upper()}}],
)
def test_a_statement_about_these_bytes_counts(product):
    assert taken_back(a_document(a_statement(products=[product])))


def test_a_statement_about_the_model_counts_only_for_the_model_that_was_named():
    about_model = a_document(a_statement(products=[{"@id": "pkg:generic/fraud-scorer"}]))
    assert taken_back(about_model, model="fraud-scorer")
    assert not taken_back(about_model, model="fraud")
    assert not taken_back(about_model)


@pytest.mark.parametrize(
    "changes",
    [
        {"products": []},
        {"products": [{"@id": "urn:sha256:" + "0" * 64}]},
        {"products": [{"@id": "pkg:generic/"}]},
        {"vulnerability": {"name": "pickle.dangerous-import"}},
        {"vulnerability": {"name": FOUND.fingerprint[:-1]}},
        {"status": "under_investigation"},
        {"status": "affected"},
    ],
)
def test_a_statement_about_something_else_or_without_a_verdict_changes_nothing(changes):
    assert not taken_back(a_document(a_statement(**changes)))


def test_the_latest_statement_counts_in_whatever_order_they_stand():
    accepted = a_document(a_statement())
    revoked = a_document(a_statement(status="affected"), timestamp="2026-06-02T12:00:00Z")
    assert not taken_back(accepted, revoked)
    assert not taken_back(revoked, accepted)


def test_a_dangerous_pickle_is_taken_back_by_its_own_fingerprint_alone():
    other = FOUND.model_copy(update={"subject": "os.popen"})
    assert accepted_by([a_document(a_statement())], [other], digest=DIGEST) == {}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"@context": "https://openvex.dev/ns/v9.0.0"}, "not OpenVEX 0.2"),
        ({"author": ""}, "author"),
        ({"timestamp": "2026-06-01T12:00:00"}, "timestamp"),
        ({"statements": [{"status": "fixed"}]}, "statements.0.vulnerability"),
        ({"statements": [a_statement(justification=None, impact_statement=" ")]}, "needs a justification"),
    ],
)
def test_a_malformed_document_is_refused_by_field(changes, words):
    with pytest.raises(EvidenceError, match=words):
        a_document(**changes)


def test_what_is_no_json_is_refused():
    with pytest.raises(EvidenceError, match=r"a\.vex\.json"):
        parse_document(b"\xff", what="a.vex.json")


def test_findings_are_written_as_open_questions_and_the_same_evidence_gives_the_same_bytes():
    written: Any = vex_document(EVIDENCE, {}, author="us")
    assert written == vex_document(EVIDENCE, {}, author="us")
    (statement,) = written["statements"]
    assert statement["status"] == "under_investigation"
    assert statement["vulnerability"]["name"] == FOUND.fingerprint
    assert statement["products"][0]["@id"] == f"urn:{DIGEST}"
    parse_document(json.dumps(written).encode(), what="ours")


def test_what_was_taken_back_is_written_with_its_reason_and_counts_when_read_again():
    accepted = accepted_by([a_document(a_statement())], [FOUND], digest=DIGEST)
    written: Any = vex_document(EVIDENCE, accepted, author="us", model="fraud-scorer")
    (statement,) = written["statements"]
    assert (statement["status"], statement["impact_statement"]) == ("not_affected", "never loaded")
    again = parse_document(json.dumps(written).encode(), what="ours")
    assert taken_back(again)
    assert taken_back(again, model="fraud-scorer")
