"""Whether the facts allow an approval, and the one sentence that says so."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.evidence import Verdict
from model_approval.policy.evaluate import readiness
from tests.support.builders import NOW, a_waiver, an_outcome, passed_outcomes

pytestmark = [pytest.mark.unit, pytest.mark.governance]

NOT_PASSED = [verdict for verdict in Verdict if verdict is not Verdict.PASSED]


def test_all_passed_is_ready():
    found = readiness(passed_outcomes(), (), now=NOW)
    assert found.ready
    assert found.sentence == "Ready for review because 3 of 3 required checks passed"
    assert not found.blocking
    assert not found.final_no


@pytest.mark.parametrize("outcomes", [(), (an_outcome(required=False),)])
def test_nothing_checked_is_not_ready(outcomes):
    found = readiness(outcomes, (), now=NOW)
    assert not found.ready
    assert found.sentence == "Blocked: nothing was checked"


@pytest.mark.parametrize("verdict", NOT_PASSED)
def test_one_required_rule_that_did_not_pass_blocks(verdict):
    outcome = an_outcome(verdict=verdict, reason="61.2 ms is above 50 ms")
    found = readiness((*passed_outcomes()[:2], outcome), (), now=NOW)
    assert not found.ready
    assert found.blocking == (outcome,)
    assert found.can_be_waived
    assert found.sentence == (
        "Blocked: p99 latency: 61.2 ms is above 50 ms (1 of 3 required checks; a waiver for each would unblock it)"
    )


@pytest.mark.parametrize("verdict", NOT_PASSED)
def test_a_rule_that_is_not_required_never_blocks(verdict):
    found = readiness((*passed_outcomes(), an_outcome(rule="extra", verdict=verdict, required=False)), (), now=NOW)
    assert found.ready


def test_a_failed_rule_that_nobody_may_waive_is_a_final_no():
    found = readiness((an_outcome(verdict="failed", waivable=False, reason="61.2 ms is above 50 ms"),), (), now=NOW)
    assert found.final_no
    assert not found.can_be_waived
    assert found.sentence == "Cannot be approved: p99 latency: 61.2 ms is above 50 ms"


@pytest.mark.parametrize("verdict", [Verdict.ERRORED, Verdict.INCONCLUSIVE, Verdict.SKIPPED])
def test_what_broke_or_could_not_tell_is_no_final_no(verdict):
    found = readiness((an_outcome(verdict=verdict, waivable=False, reason="out of memory"),), (), now=NOW)
    assert not found.ready
    assert not found.final_no
    assert found.sentence == "Blocked: p99 latency: out of memory (1 of 1 required checks; re-run what broke)"


def test_a_waiver_unblocks_and_is_named():
    waiver = a_waiver()
    found = readiness((*passed_outcomes()[:2], an_outcome(verdict="failed")), (waiver,), now=NOW)
    assert found.ready
    assert found.waived == (waiver,)
    assert found.sentence == "Ready for review because 2 of 3 required checks passed and 1 is waived"


def test_several_waivers_are_counted():
    outcomes = (an_outcome(rule="a", verdict="failed"), an_outcome(rule="b", verdict="errored"), an_outcome())
    found = readiness(outcomes, (a_waiver(rule="a"), a_waiver(id="waiver-2", rule="b")), now=NOW)
    assert found.sentence == "Ready for review because 1 of 3 required checks passed and 2 are waived"


@pytest.mark.parametrize(
    ("now", "in_force"),
    [
        (NOW - timedelta(seconds=1), False),
        (NOW, True),
        (NOW + timedelta(days=2) - timedelta(microseconds=1), True),
        (NOW + timedelta(days=2), False),
        (NOW + timedelta(days=3), False),
    ],
)
def test_a_waiver_counts_from_its_grant_until_before_it_expires(now, in_force):
    waiver = a_waiver(granted_at=NOW, expires_at=NOW + timedelta(days=2))
    assert readiness((an_outcome(verdict="failed"),), (waiver,), now=now).ready == in_force


def test_a_waiver_of_another_rule_does_not_count():
    assert not readiness((an_outcome(verdict="failed"),), (a_waiver(rule="performance.memory"),), now=NOW).ready


def test_a_rule_that_cannot_be_waived_stays_blocked_whatever_waiver_there_is():
    found = readiness((an_outcome(verdict="failed", waivable=False),), (a_waiver(),), now=NOW)
    assert found.final_no
    assert found.waived == ()


def test_a_waiver_for_a_rule_that_passed_is_not_needed():
    found = readiness((an_outcome(),), (a_waiver(),), now=NOW)
    assert found.waived == ()


def test_of_two_waivers_the_longer_one_is_named_in_any_order():
    short, long = a_waiver(expires_at=NOW + timedelta(days=1)), a_waiver(id="waiver-2")
    outcomes = (an_outcome(verdict="failed"),)
    assert (
        readiness(outcomes, (short, long), now=NOW).waived
        == readiness(outcomes, (long, short), now=NOW).waived
        == (long,)
    )


def test_blocked_by_two_where_one_cannot_be_waived_offers_no_waiver():
    outcomes = (an_outcome(verdict="failed"), an_outcome(rule="x", verdict="errored", waivable=False))
    assert not readiness(outcomes, (), now=NOW).can_be_waived


OUTCOMES = st.lists(
    st.builds(
        lambda verdict, required, waivable, number: an_outcome(
            rule=f"r{number}", verdict=verdict, required=required, waivable=waivable
        ),
        st.sampled_from(Verdict),
        st.booleans(),
        st.booleans(),
        st.integers(0, 9),
    ),
    unique_by=lambda outcome: outcome.rule,
)


@given(OUTCOMES, st.sets(st.integers(0, 9)))
def test_ready_means_that_every_required_rule_passed_or_is_waived(outcomes, waived):
    waivers = [a_waiver(id=f"waiver-{number}", rule=f"r{number}") for number in waived]
    found = readiness(outcomes, waivers, now=NOW)
    rules = {waiver.rule for waiver in waivers}
    required = [outcome for outcome in outcomes if outcome.required]
    fulfilled = [
        outcome.verdict is Verdict.PASSED or (outcome.waivable and outcome.rule in rules) for outcome in required
    ]
    assert found.ready == (bool(required) and all(fulfilled))
    assert not (found.ready and (found.blocking or found.final_no or found.can_be_waived))
    assert found.sentence.startswith("Ready") == found.ready


@given(OUTCOMES, st.sets(st.integers(0, 9)), st.randoms(use_true_random=False))
def test_the_order_of_outcomes_and_waivers_does_not_matter(outcomes, waived, random):
    waivers = [a_waiver(id=f"waiver-{number}", rule=f"r{number}") for number in waived]
    before = readiness(outcomes, waivers, now=NOW)
    random.shuffle(outcomes)
    random.shuffle(waivers)
    after = readiness(outcomes, waivers, now=NOW)
    assert (after.ready, after.final_no, set(after.blocking)) == (before.ready, before.final_no, set(before.blocking))
