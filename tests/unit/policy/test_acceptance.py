"""Accepted findings: exactly these, until that day, and named with who answers for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from model_approval.domain.evidence import Finding, RuleOutcome, Severity, Verdict
from model_approval.policy.evaluate import evaluate_checks
from model_approval.policy.schema import Check
from tests.support.builders import (
    a_frozen_policy,
    a_manifest,
    a_policy,
    a_security_check,
    a_stored_evidence,
    an_evidence,
)
from tests.support.reference import DOCS

pytestmark = [pytest.mark.unit, pytest.mark.governance]

FOUND = Finding(
    rule="pickle.unlisted-import",
    severity=Severity.HIGH,
    file="model.onnx",
    subject="own.Scaler",
    message="x",
    offset=7,
)
OTHER = FOUND.model_copy(update={"subject": "own.Trap"})


def accepting(finding: Finding = FOUND, **changes: Any) -> dict[str, Any]:
    return {
        "fingerprint": finding.fingerprint,
        "reason": "our own class, reviewed",
        "owner": "ana",
        "expires": "2026-06-30",
        "justification": "vulnerable_code_cannot_be_controlled_by_adversary",
        **changes,
    }


def judge(*findings: Finding, accepted: tuple[dict[str, Any], ...], on: str = "2026-06-01") -> RuleOutcome:
    policy = a_policy(checks=(a_security_check(accepted_findings=accepted),))
    moment = datetime.fromisoformat(on).replace(tzinfo=UTC)
    evidence = an_evidence("security_scan", findings=findings, started_at=moment, finished_at=moment)
    stored = a_stored_evidence(evidence, recorded_at=moment)
    outcomes = evaluate_checks(a_frozen_policy(policy=policy), [stored], manifest=a_manifest(), has_champion=False)
    return outcomes[0]


def test_an_accepted_finding_does_not_count_and_its_owner_is_named():
    outcome = judge(FOUND, accepted=(accepting(),))
    assert outcome.verdict is Verdict.PASSED
    assert outcome.reason == (
        "no finding of severity high or worse; 1 accepted by ana until 2026-06-30 (our own class, reviewed)"
    )


def test_another_finding_of_the_same_rule_and_file_still_counts():
    outcome = judge(FOUND, OTHER, accepted=(accepting(),))
    assert outcome.verdict is Verdict.FAILED
    assert outcome.reason.startswith("1 finding of severity high or worse, 0 allowed: pickle.unlisted-import in")


@pytest.mark.parametrize(
    ("moment", "verdict"), [("2026-06-30T23:59:59", Verdict.PASSED), ("2026-07-01T00:00:00", Verdict.FAILED)]
)
def test_an_acceptance_holds_to_the_end_of_its_last_day_in_utc(moment, verdict):
    assert judge(FOUND, accepted=(accepting(),), on=moment).verdict is verdict


def test_an_expired_acceptance_says_that_it_has_expired():
    outcome = judge(FOUND, accepted=(accepting(),), on="2026-07-02")
    assert outcome.reason.endswith(
        "; the acceptance of one of them has expired: ana until 2026-06-30 (our own class, reviewed)"
    )


def test_a_finding_that_moved_within_its_file_stays_accepted():
    moved = FOUND.model_copy(update={"offset": 99, "message": "other words"})
    assert judge(moved, accepted=(accepting(),)).verdict is Verdict.PASSED


def test_the_later_of_both_clocks_counts_so_that_a_slow_clock_in_a_pod_extends_nothing():
    policy = a_policy(checks=(a_security_check(accepted_findings=(accepting(),)),))
    early, late = datetime(2026, 6, 30, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)
    evidence = an_evidence("security_scan", findings=(FOUND,), started_at=early, finished_at=early)
    stored = a_stored_evidence(evidence, recorded_at=late)
    found = evaluate_checks(a_frozen_policy(policy=policy), [stored], manifest=a_manifest(), has_champion=False)
    assert found[0].verdict is Verdict.FAILED


@pytest.mark.parametrize(
    "wrong",
    [
        {"fingerprint": "pickle.unlisted-import"},
        {"fingerprint": "mf1-*"},
        {"reason": "  "},
        {"owner": ""},
        {"justification": "we like it"},
        {"expires": None},
    ],
)
def test_an_acceptance_needs_an_exact_fingerprint_a_reason_an_owner_and_an_end(wrong):
    with pytest.raises(ValidationError):
        a_policy(checks=(a_security_check(accepted_findings=(accepting(**wrong),)),))


def test_one_fingerprint_is_accepted_once():
    with pytest.raises(ValidationError, match="accepted twice"):
        a_policy(checks=(a_security_check(accepted_findings=(accepting(), accepting(owner="bo"))),))


def test_the_example_of_the_documentation_is_a_check():
    page = (DOCS / "security-scan.md").read_text()
    check = YAML(typ="safe").load(page.partition("```yaml\n")[2].partition("```")[0])["checks"][0]
    found = Check.model_validate({**check, "rules": a_security_check()["rules"]})
    assert [one.expires.isoformat() for one in found.accepted_findings] == ["2026-12-31"]
