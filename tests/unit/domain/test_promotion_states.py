"""The state table: one way, terminal states are terminal, and no way to an approval around the review."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from model_approval.domain.errors import TransitionError
from model_approval.domain.promotion import OPEN_STATES, TRANSITIONS, PromotionState
from tests.support.builders import NOW, a_candidate, a_payload, a_promotion, a_request

pytestmark = pytest.mark.unit

STATES = st.sampled_from(PromotionState)
S = PromotionState


def reachable(start: PromotionState, *, without: frozenset[PromotionState] = frozenset()) -> set[PromotionState]:
    """Every state that steps from `start` can lead to when some states are closed."""
    found: set[PromotionState] = set()
    ahead = [start]
    while ahead:
        for following in TRANSITIONS[ahead.pop()] - without - found:
            found.add(following)
            ahead.append(following)
    return found


def test_every_state_has_its_line_in_the_table():
    assert set(TRANSITIONS) == set(PromotionState)


def test_every_state_can_be_reached_from_a_request():
    assert reachable(S.REQUESTED) == set(PromotionState) - {S.REQUESTED}


@pytest.mark.parametrize(
    "state",
    [
        S.REFUSED,
        S.REJECTED,
        S.REMEDIATION_REQUESTED,
        S.EXPIRED,
        S.WITHDRAWN,
        S.DEPLOYMENT_FAILED,
        S.ROLLED_BACK,
        S.REVOKED,
    ],
)
def test_no_step_leads_out_of_a_terminal_state(state):
    assert state.is_terminal
    for following in PromotionState:
        with pytest.raises(TransitionError):
            a_promotion(state=state).moved(following, at=NOW)


def test_exactly_the_states_without_a_step_are_terminal():
    assert {state for state in S if state.is_terminal} == {state for state in S if not reachable(state)}


@pytest.mark.governance
@pytest.mark.parametrize("closed", [S.IN_REVIEW, S.APPROVED, S.VALIDATING])
def test_nothing_is_deployed_without_validation_review_and_approval(closed):
    assert S.DEPLOYED not in reachable(S.REQUESTED, without=frozenset({closed}))


def test_no_open_state_is_terminal_and_every_open_state_can_end():
    for state in OPEN_STATES:
        assert state.is_open
        assert not state.is_terminal
        assert any(following.is_terminal or following is S.DEPLOYED for following in reachable(state))


def test_only_blocked_and_in_review_await_people():
    assert {state for state in S if state.awaits_people} == {S.BLOCKED, S.IN_REVIEW}


@given(STATES, STATES)
def test_a_step_succeeds_exactly_when_the_table_has_it(state, following):
    promotion = a_promotion(state=state)
    if following in TRANSITIONS[state]:
        assert promotion.moved(following, at=NOW).state is following
    else:
        with pytest.raises(TransitionError, match=f"is {state}; it cannot become {following}"):
            promotion.moved(following, at=NOW)


@given(st.lists(STATES, max_size=20))
def test_no_sequence_of_attempts_leads_out_of_the_table(attempts):
    promotion = a_promotion(state="requested")
    for following in attempts:
        before = promotion
        try:
            promotion = promotion.moved(following, at=NOW)
        except TransitionError:
            assert promotion is before
        else:
            assert following in TRANSITIONS[before.state]
            assert promotion.record_version == before.record_version + 1


def test_a_step_notes_state_reason_and_time_and_leaves_the_old_record_alone():
    before = a_promotion(state="requested")
    later = NOW + timedelta(minutes=1)
    after = before.moved(S.REFUSED, at=later, reason="no semantic version")
    assert (after.state, after.state_reason, after.state_since) == (S.REFUSED, "no semantic version", later)
    assert (before.state, before.record_version) == (S.REQUESTED, 1)


def test_a_step_can_bring_other_fields_along():
    candidate = a_candidate()
    after = a_promotion(state="requested").moved(S.VALIDATING, at=NOW, candidate=candidate)
    assert after.candidate == candidate


def test_changed_fields_are_validated():
    with pytest.raises(ValidationError, match="evidence_digest"):
        a_promotion().changed(evidence_digest="not a digest")


def test_a_change_cannot_set_the_record_version_itself():
    assert a_promotion(record_version=4).changed(expedited=True, record_version=99).record_version == 5


@pytest.mark.governance
def test_requester_contributors_and_owner_are_barred():
    request = a_request(payload=a_payload(requester="rita", contributors=("carl", "cora")))
    promotion = a_promotion(request=request, candidate=a_candidate(request, owner="olga"))
    assert promotion.barred_voters == {"rita", "carl", "cora", "olga"}


def test_a_promotion_survives_being_stored_as_json():
    promotion = a_promotion()
    assert type(promotion).model_validate_json(promotion.model_dump_json()) == promotion
