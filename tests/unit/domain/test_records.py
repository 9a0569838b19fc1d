"""What all records share, and the small rules of votes, waivers, committees, targets and evidence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_approval.domain.committee import Ability
from model_approval.domain.deployment import Target
from model_approval.domain.errors import OutsideSystemError, PolicyError, RequestRefusedError
from model_approval.domain.evidence import Metric, Severity, Verdict, evidence_digest, worst
from model_approval.domain.promotion import Promotion
from tests.support.builders import (
    NOW,
    a_committee,
    a_kubernetes_target,
    a_missing_evidence,
    a_promotion,
    a_serving_config,
    a_stored_evidence,
    a_target,
    a_vote,
    a_waiver,
    an_evidence,
    an_outcome,
    passed_outcomes,
)

pytestmark = pytest.mark.unit


def test_records_do_not_change():
    with pytest.raises(ValidationError, match="frozen"):
        a_promotion().state = "approved"  # type: ignore[misc, assignment]  # that is the point


def test_unknown_keys_are_refused():
    with pytest.raises(ValidationError, match="Extra inputs"):
        a_vote(votes=2)


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValidationError, match="the time needs a zone"):
        a_vote(cast_at=datetime(2026, 6, 1, 12, 0))  # noqa: DTZ001 - a naive time is the point


def test_times_are_kept_in_utc():
    there = datetime(2026, 6, 1, 14, 0, tzinfo=timezone(timedelta(hours=2)))
    assert a_vote(cast_at=there).cast_at == NOW
    assert a_vote(cast_at=there).cast_at.tzinfo is UTC


@pytest.mark.parametrize(
    "record", [a_committee(), a_target(), a_kubernetes_target()], ids=["committee", "target", "kubernetes target"]
)
def test_a_stored_record_reads_back_under_its_own_names(record):
    assert type(record).model_validate_json(record.model_dump_json()) == record


@pytest.mark.governance
@pytest.mark.parametrize("reason", ["", "  ", "no"])
def test_a_rejection_needs_a_reason(reason):
    with pytest.raises(ValidationError, match="a rejection needs a reason"):
        a_vote(choice="reject", reason=reason)


@pytest.mark.governance
def test_a_wish_for_remediation_needs_an_item():
    with pytest.raises(ValidationError, match="at least one item"):
        a_vote(choice="request_remediation", reason="much is wrong")


@pytest.mark.governance
def test_a_waiver_needs_a_reason():
    with pytest.raises(ValidationError, match="reason"):
        a_waiver(reason=" ")


def test_votes_and_waivers_are_named_by_all_they_say():
    assert a_vote().digest != a_vote(reason="looks good").digest
    assert a_waiver().digest != a_waiver(expires_at=NOW + timedelta(days=29)).digest


@pytest.mark.governance
def test_abilities_come_through_roles():
    committee = a_committee()
    assert committee.roles_of("max", Ability.WAIVE) == ("ml-manager",)
    assert committee.roles_of("ana", Ability.WAIVE) == ()
    assert committee.members_with("security") == {"ana", "sam"}
    assert committee.members_with("security", Ability.WAIVE) == frozenset()
    assert committee.members_with("no-such-role") == frozenset()


@pytest.mark.governance
def test_somebody_in_two_roles_has_both_sorted():
    roles = {name: {"title": name, "members": ["ana"]} for name in ("security", "risk")}
    assert a_committee(roles=roles).roles_of("ana") == ("risk", "security")


@pytest.mark.parametrize(
    ("runtime", "block"), [("kubernetes", None), ("local", {"validator_image": "a", "server_image": "b"})]
)
def test_a_target_has_a_kubernetes_block_exactly_when_it_is_one(runtime, block):
    with pytest.raises(ValidationError, match="exactly when runtime is kubernetes"):
        Target.model_validate({**a_target().model_dump(), "runtime": runtime, "kubernetes": block})


@pytest.mark.parametrize(
    "headers", [{"X-A": "1", "x-a": "2"}, {"X A": "1"}, {"X-A": "line\r\nSet-Cookie: a"}, {"X-A": "ü"}]
)
def test_headers_that_could_smuggle_something_are_refused(headers):
    with pytest.raises(ValidationError, match="headers"):
        a_serving_config(headers=headers)


def test_severities_are_ordered():
    assert sorted(Severity, key=lambda severity: severity.rank) == ["info", "low", "medium", "high", "critical"]


def test_of_no_verdicts_the_worst_is_inconclusive():
    assert worst(()) is Verdict.INCONCLUSIVE


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_several_verdicts_pass_only_when_none_of_them_is_worse(verdicts):
    found = worst(tuple(verdicts))
    assert (found is Verdict.PASSED) == (
        Verdict.PASSED in verdicts and set(verdicts) <= {Verdict.PASSED, Verdict.SKIPPED}
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_metric_is_a_finite_number(value):
    with pytest.raises(ValidationError, match="finite"):
        Metric(name="latency_p99", value=value, unit="ms")


def test_evidence_without_bytes_is_not_usable():
    assert a_stored_evidence().is_usable
    assert not a_stored_evidence(digest=None).is_usable
    assert not a_missing_evidence(error="out of memory").is_usable


def test_the_evidence_digest_does_not_depend_on_order():
    evidence = (a_stored_evidence(), a_stored_evidence(an_evidence("gpu_benchmark")))
    outcomes = passed_outcomes()
    assert evidence_digest(evidence, outcomes) == evidence_digest(evidence[::-1], outcomes[::-1])


@pytest.mark.proof
@pytest.mark.parametrize(
    "other",
    [
        ((a_stored_evidence(run=2),), (an_outcome(),)),
        (
            (a_stored_evidence(an_evidence(findings=({"rule": "r", "severity": "low", "message": "m"},))),),
            (an_outcome(),),
        ),
        ((a_missing_evidence(error="evicted"),), (an_outcome(),)),
        ((a_stored_evidence(),), (an_outcome(verdict="failed"),)),
        ((a_stored_evidence(),), (an_outcome(reason="other words"),)),
        ((a_stored_evidence(),), ()),
    ],
)
def test_the_evidence_digest_changes_with_all_that_was_shown(other):
    assert evidence_digest(*other) != evidence_digest((a_stored_evidence(),), (an_outcome(),))


def test_an_error_says_where_what_and_how_to_mend_it():
    error = PolicyError("is missing", file="policies/a.yaml", line=3, field="owner", hint="write `owner:`")
    assert str(error) == "policies/a.yaml:3: owner: is missing (write `owner:`)"
    assert str(PolicyError("is empty", file="a.yaml")) == "a.yaml: is empty"


def test_an_outside_error_names_the_system_and_whether_to_try_again():
    error = OutsideSystemError("MLflow", "no answer in 10 s")
    assert (str(error), error.retryable) == ("MLflow: no answer in 10 s", True)
    assert not RequestRefusedError("no").retryable


def test_a_promotion_needs_a_request():
    with pytest.raises(ValidationError, match="request"):
        Promotion.model_validate({"state_since": NOW})
