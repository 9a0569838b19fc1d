"""An acceptance of a script is one of these bytes; an acceptance of a name holds for the next version too."""

from __future__ import annotations

import pytest

from model_approval.domain.content_rules import CONTENT_RULES, bind_to_content
from model_approval.domain.evidence import Finding, Severity
from tests.support.rules import rules_in_code

pytestmark = pytest.mark.unit


def _bound(rule: str, digest: str, severity: Severity = Severity.HIGH, subject: str = "Lambda") -> Finding:
    finding = Finding(rule=rule, severity=severity, file="a.keras", subject=subject, message="m")
    (bound,) = bind_to_content([finding], {"a.keras": digest * 64})
    return bound


def test_every_rule_that_is_bound_to_content_exists() -> None:
    assert sorted(CONTENT_RULES - {rule.id for rule in rules_in_code()}) == []


@pytest.mark.parametrize("rule", ["keras.lambda", "folder.code", "pickle.computed-call", "modelaudit.s302"])
def test_other_bytes_give_another_fingerprint(rule: str) -> None:
    assert _bound(rule, "a").subject == "Lambda (sha256:aaaaaaaaaaaaaaaa)"
    assert _bound(rule, "a").fingerprint == _bound(rule, "a").fingerprint
    assert _bound(rule, "a").fingerprint != _bound(rule, "b").fingerprint


@pytest.mark.parametrize(
    "rule",
    ["pickle.dangerous-import", "pickle.unlisted-import", "config.code", "secret.token", "dependency.vulnerable"],
)
def test_a_finding_about_a_name_keeps_its_fingerprint_over_versions(rule: str) -> None:
    assert _bound(rule, "a").fingerprint == _bound(rule, "b").fingerprint


def test_a_finding_that_fails_no_scan_is_left_alone() -> None:
    assert _bound("folder.code", "a", Severity.MEDIUM).subject == "Lambda"


def test_a_long_subject_makes_room_for_the_digest() -> None:
    subject = _bound("keras.lambda", "a", subject="x" * 300).subject
    assert len(subject) == 300
    assert subject.endswith("(sha256:aaaaaaaaaaaaaaaa)")
