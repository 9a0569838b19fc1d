"""Who may vote and which votes count, with the reason for everybody who may not."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.committee import Ability
from model_approval.domain.digests import sha256_of
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.policy.decide import eligibility, entitled_to, tally
from model_approval.policy.schema import FrozenPolicy
from model_approval.policy.voting import counting_votes, quorum_gap
from tests.support.builders import (
    NOW,
    a_candidate,
    a_committee,
    a_frozen_policy,
    a_payload,
    a_promotion,
    a_request,
    a_vote,
)

pytestmark = [pytest.mark.unit, pytest.mark.governance]

OTHER = sha256_of(b"something else")


def with_roles(**members: list[str]) -> FrozenPolicy:
    """The usual policy with another committee."""
    roles = {role.replace("_", "-"): {"title": role.title(), "members": people} for role, people in members.items()}
    return a_frozen_policy(committee=a_committee(roles=roles))


def under(frozen: FrozenPolicy, **changes: Any) -> Promotion:
    """A promotion in review under a policy."""
    return a_promotion(request=a_request(policy=frozen), **changes)


@pytest.mark.parametrize(("who", "roles"), [("ana", ("security",)), ("sam", ("security",)), ("max", ("ml-manager",))])
def test_members_of_the_quorum_s_roles_may_vote(who, roles):
    found = eligibility(a_frozen_policy(), a_promotion(), who, [])
    assert (found.roles, found.reason) == (roles, "")


@pytest.mark.parametrize(
    ("who", "reason"),
    [
        ("rita", "rita requested this promotion"),
        ("carl", "carl contributed to this model version"),
        ("olga", "olga registered this model version"),
        ("bo", "the policy fraud-scoring asks for no vote from bo's role (Risk)"),
        ("vera", "vera has no role in Model risk committee that may vote"),
        ("ANA", "ANA has no role in Model risk committee that may vote"),
        ("", " has no role in Model risk committee that may vote"),
    ],
)
def test_everybody_else_may_not_and_is_told_why(who, reason):
    request = a_request(payload=a_payload(contributors=("carl",)))
    promotion = a_promotion(request=request, candidate=a_candidate(request, owner="olga"))
    found = eligibility(a_frozen_policy(), promotion, who, [])
    assert (found.roles, found.reason) == ((), reason)


@pytest.mark.parametrize("who", ["ana", "max"])
@pytest.mark.parametrize("how", ["requester", "contributor", "owner"])
def test_a_committee_member_who_asked_for_or_made_the_model_may_not_vote(who, how):
    payload = {"requester": a_payload(requester=who), "contributor": a_payload(contributors=(who,))}.get(
        how, a_payload()
    )
    request = a_request(payload=payload)
    promotion = a_promotion(request=request, candidate=a_candidate(request, owner=who if how == "owner" else None))
    assert eligibility(a_frozen_policy(), promotion, who, []).roles == ()
    assert eligibility(a_frozen_policy(), promotion, who, []).reason.startswith(who)


@pytest.mark.parametrize("state", [state for state in PromotionState if not state.awaits_people])
def test_nobody_may_vote_when_nobody_is_asked(state):
    found = eligibility(a_frozen_policy(), a_promotion(state=state), "ana", [])
    assert found.roles == ()
    assert found.reason.endswith(f"is {state.replace('_', ' ')}; its review is not open")


def test_a_blocked_promotion_can_be_voted_on():
    assert eligibility(a_frozen_policy(), a_promotion(state="blocked"), "ana", []).roles == ("security",)


def test_who_has_voted_may_not_vote_again():
    promotion = a_promotion()
    found = eligibility(a_frozen_policy(), promotion, "ana", [a_vote(promotion)])
    assert (found.roles, found.reason) == ((), f"ana has already voted on {promotion.id}")


def test_who_voted_on_other_evidence_is_told_to_withdraw_first():
    found = eligibility(a_frozen_policy(), a_promotion(), "ana", [a_vote(evidence_digest=OTHER)])
    assert found.reason.endswith("on evidence that has changed since; withdraw it to vote again")


def test_somebody_in_two_roles_of_the_quorum_is_offered_both():
    frozen = with_roles(security=["ana"], ml_manager=["ana", "max"])
    assert eligibility(frozen, under(frozen), "ana", []).roles == ("ml-manager", "security")


def test_waiving_and_expediting_are_abilities_of_roles():
    frozen, promotion = a_frozen_policy(), a_promotion()
    assert entitled_to(frozen, promotion, "max", Ability.WAIVE).roles == ("ml-manager",)
    found = entitled_to(frozen, promotion, "ana", Ability.EXPEDITE)
    assert (found.roles, found.reason) == ((), "ana has no role in Model risk committee that may expedite")


def test_a_manager_who_asked_for_the_promotion_may_not_waive_its_rules():
    promotion = a_promotion(request=a_request(payload=a_payload(requester="max")))
    found = entitled_to(a_frozen_policy(), promotion, "max", Ability.WAIVE)
    assert (found.roles, found.reason) == ((), "max requested this promotion")


def test_the_tally_says_who_gave_what_and_who_could_still():
    promotion = a_promotion()
    security, manager = tally(a_frozen_policy(), promotion, [a_vote(promotion, by="ana")])
    assert (security.title, security.needed, security.given, security.by) == ("Security", 1, 1, ("ana",))
    assert security.still_eligible == ("sam",)
    assert security.is_complete
    assert (manager.role, manager.given, manager.still_eligible) == ("ml-manager", 0, ("max",))
    assert not manager.is_complete


def test_barred_people_are_not_counted_on():
    promotion = a_promotion(request=a_request(payload=a_payload(requester="max", contributors=("sam",))))
    security, manager = tally(a_frozen_policy(), promotion, [])
    assert (security.still_eligible, manager.still_eligible) == (("ana",), ())


@pytest.mark.parametrize(
    "changes",
    [
        {"artifact_digest": OTHER},
        {"policy_digest": OTHER},
        {"evidence_digest": OTHER},
        {"request_id": "pr-another"},
        {"role": "ml-manager"},
        {"role": "risk"},
        {"reviewer": "rita"},
        {"reviewer": "vera"},
        {"reviewer": "bo", "role": "risk"},
        {"cast_at": NOW + timedelta(hours=120)},
    ],
    ids=lambda changes: "-".join(f"{name}" for name in changes),
)
@pytest.mark.parametrize("choice", ["approve", "reject"])
def test_a_vote_that_is_stale_foreign_late_or_by_nobody_entitled_does_not_count(changes, choice):
    promotion = a_promotion()
    vote = a_vote(promotion, choice=choice, reason="because", **changes)
    assert counting_votes(a_frozen_policy(), promotion, [vote]) == ()


def test_a_vote_in_the_last_moment_counts():
    promotion = a_promotion(review_deadline=NOW)
    vote = a_vote(promotion, cast_at=NOW - timedelta(microseconds=1))
    assert counting_votes(a_frozen_policy(), promotion, [vote]) == (vote,)


def test_votes_before_anything_was_pinned_do_not_count():
    assert counting_votes(a_frozen_policy(), a_promotion(candidate=None), [a_vote()]) == ()


def test_one_person_counts_once_even_in_two_roles():
    frozen = with_roles(security=["ana"], ml_manager=["ana"])
    promotion = under(frozen)
    votes = [a_vote(promotion), a_vote(promotion, id="vote-2", role="ml-manager", cast_at=NOW)]
    for order in permutations(votes):
        assert [line.given for line in tally(frozen, promotion, order)] == [1, 0]


def test_of_two_votes_by_one_person_the_no_counts_whatever_came_first():
    promotion = a_promotion()
    yes = a_vote(promotion, cast_at=NOW)
    no = a_vote(promotion, id="vote-2", choice="reject", reason="found a leak", cast_at=NOW - timedelta(hours=1))
    later_no = no.model_copy(update={"cast_at": NOW + timedelta(hours=1)})
    for order in permutations([yes, no]):
        assert counting_votes(a_frozen_policy(), promotion, order) == (no,)
    for order in permutations([yes, later_no]):
        assert counting_votes(a_frozen_policy(), promotion, order) == (later_no,)


@pytest.mark.parametrize(
    ("needed", "people", "gap"),
    [
        ({"a": 1}, {"a": {"x"}}, ()),
        ({"a": 1, "b": 1}, {"a": {"x"}, "b": {"x"}}, ("b",)),
        ({"a": 1, "b": 1}, {"a": {"x", "y"}, "b": {"x"}}, ()),
        ({"a": 2, "b": 1}, {"a": {"x", "y"}, "b": {"x", "y"}}, ("b",)),
        ({"a": 2, "b": 1, "c": 1}, {"a": {"w", "x", "y"}, "b": {"x"}, "c": {"y", "z"}}, ()),
        ({"a": 3}, {"a": {"x"}}, ("a",)),
        ({"a": 1}, {}, ("a",)),
    ],
)
def test_a_quorum_can_be_reached_when_everybody_votes_in_one_role(needed, people, gap):
    assert quorum_gap(needed, {role: frozenset(names) for role, names in people.items()}) == gap


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 2), min_size=1),
    st.fixed_dictionaries({role: st.frozensets(st.sampled_from("vwxyz"), max_size=4) for role in "abc"}),
)
def test_a_quorum_is_reachable_exactly_when_some_seating_of_different_people_exists(needed, people):
    seats = [role for role, votes in needed.items() for _ in range(votes)]
    everybody = sorted(frozenset().union(*people.values()))
    seating = any(
        all(person in people[role] for person, role in zip(chosen, seats, strict=True))
        for chosen in permutations(everybody, len(seats))
    )
    assert (quorum_gap(needed, people) == ()) == seating
