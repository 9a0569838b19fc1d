"""What people do on a request page, and what the page says back."""

from __future__ import annotations

import pytest

from model_approval.domain.promotion import PromotionState
from model_approval.domain.review import Choice
from tests.plugin.rooms import ReviewRoom, a_room, send
from tests.support.builders import a_payload, an_evidence

pytestmark = pytest.mark.unit


def slow_evidence():
    """Evidence on which the (waivable) latency rule fails."""
    metric = {"name": "latency_p99", "value": 80.0, "unit": "ms", "low": 79.0, "high": 81.0}
    return an_evidence("security_scan"), an_evidence("gpu_benchmark", metrics=(metric,))


def act(room: ReviewRoom, who: str, request_id: str, name: str, **fields: str):
    """Send one act's form, bound to what the request shows now."""
    return send(room.as_(who), f"/requests/{request_id}/act/{name}", {**room.seen(request_id), **fields})


def test_two_approvals_from_the_asked_roles_approve_and_wake_the_run() -> None:
    room = a_room()
    request_id = room.in_review()
    first = act(room, "ana", request_id, "approve", reason="bench looks right")
    assert (first.status_code, first.headers["location"]) == (303, f"../../../requests/{request_id}?done=approve")
    assert room.reviews.get(request_id).state is PromotionState.IN_REVIEW
    assert room.woken == []
    act(room, "max", request_id, "approve")
    assert room.reviews.get(request_id).state is PromotionState.APPROVED
    assert room.reviews.decision(request_id) is not None
    assert room.woken == [("promote__fraud_scoring", request_id)]


def test_after_a_vote_the_page_says_so_and_leads_to_the_next_request() -> None:
    room = a_room()
    request_id, other = room.in_review(), room.in_review(request={"version": "8"})
    act(room, "ana", request_id, "approve")
    page = room.as_("ana").get(f"/requests/{request_id}?done=approve").text
    assert "Your approval is recorded." in page
    assert f"requests/{other}" in page
    assert "You have voted." in page


def test_requester_sees_why_they_cannot_vote_and_is_refused_when_they_try() -> None:
    room = a_room()
    request_id = room.in_review()
    page = room.as_("rita").get(f"/requests/{request_id}").text
    assert "You cannot vote: you requested this promotion." in page
    assert "act/approve" not in page
    answer = act(room, "rita", request_id, "approve")
    assert answer.status_code == 403
    assert "Rita requested this promotion" in answer.text
    assert room.reviews.votes(request_id) == []


def test_contributor_sees_why_they_cannot_vote() -> None:
    room = a_room()
    request_id = room.in_review(request={"payload": a_payload(contributors=("ana",))})
    assert (
        "You cannot vote: you made or registered this model version."
        in room.as_("ana").get(f"/requests/{request_id}").text
    )


def test_viewer_without_a_role_reads_everything_and_is_told_why_they_cannot_vote() -> None:
    room = a_room()
    request_id = room.in_review()
    page = room.as_("vera").get(f"/requests/{request_id}")
    assert page.status_code == 200
    assert "vera has no role in Model risk committee that may vote" in page.text
    assert act(room, "vera", request_id, "approve").status_code == 403


def test_rejection_without_reason_is_refused_and_nothing_is_recorded() -> None:
    room = a_room()
    request_id = room.in_review()
    answer = act(room, "ana", request_id, "reject", reason="  ")
    assert answer.status_code == 422
    assert "A rejection needs a reason" in answer.text
    assert room.reviews.votes(request_id) == []


def test_one_rejection_ends_the_request_and_wakes_the_run() -> None:
    room = a_room()
    request_id = room.in_review()
    act(room, "ana", request_id, "reject", reason="the sample leaks card numbers")
    assert room.reviews.get(request_id).state is PromotionState.REJECTED
    assert [run for _, run in room.woken] == [request_id]
    assert "the sample leaks card numbers" in room.as_("rita").get(f"/requests/{request_id}").text


def test_remediation_needs_an_item_and_keeps_items_with_owners() -> None:
    room = a_room()
    request_id = room.in_review()
    assert act(room, "ana", request_id, "remediate", reason="soon").status_code == 422
    act(room, "ana", request_id, "remediate", items="- drop the column phone @rita\r\n\r\nexplain the outlier")
    vote = room.reviews.votes(request_id)[0]
    assert vote.choice is Choice.REQUEST_REMEDIATION
    assert [(item.text, item.owner) for item in vote.items] == [
        ("drop the column phone", "rita"),
        ("explain the outlier", None),
    ]


def test_stale_evidence_answers_409_keeps_the_comment_and_offers_the_current_digests() -> None:
    room = a_room()
    request_id = room.in_review()
    old = {**room.seen(request_id), "seen_evidence": "sha256:" + "0" * 64}
    answer = send(room.as_("ana"), f"/requests/{request_id}/act/reject", {**old, "reason": "my long thoughts"})
    assert answer.status_code == 409
    assert "Evidence changed since you opened the page" in answer.text
    assert "my long thoughts</textarea>" in answer.text
    assert room.seen(request_id)["seen_evidence"] in answer.text
    assert room.reviews.votes(request_id) == []


def test_a_second_vote_from_another_tab_is_a_conflict_that_keeps_the_comment() -> None:
    room = a_room()
    request_id = room.in_review()
    act(room, "ana", request_id, "approve")
    answer = act(room, "ana", request_id, "reject", reason="on second thought")
    assert answer.status_code == 409
    assert "on second thought</textarea>" in answer.text


def test_a_vote_after_the_decision_is_a_conflict() -> None:
    room = a_room()
    request_id = room.in_review()
    act(room, "ana", request_id, "reject", reason="no")  # too short, refused
    act(room, "ana", request_id, "reject", reason="no good")
    assert act(room, "max", request_id, "approve").status_code == 409


def test_a_withdrawn_vote_can_be_cast_again() -> None:
    room = a_room()
    request_id = room.in_review()
    act(room, "ana", request_id, "approve")
    act(room, "ana", request_id, "withdraw-vote")
    assert room.reviews.votes(request_id) == []
    assert "act/approve" in room.as_("ana").get(f"/requests/{request_id}").text


def test_requester_may_withdraw_the_request_and_others_may_not() -> None:
    room = a_room()
    request_id = room.in_review()
    assert act(room, "ana", request_id, "withdraw-request", reason="I say so").status_code == 403
    act(room, "rita", request_id, "withdraw-request", reason="found a bug")
    assert room.reviews.get(request_id).state is PromotionState.WITHDRAWN
    assert room.woken[-1][1] == request_id


def test_manager_waives_the_blocking_rule_and_the_review_opens() -> None:
    room = a_room()
    request_id = room.in_review(*slow_evidence(), state=PromotionState.BLOCKED)
    page = room.as_("max").get(f"/requests/{request_id}").text
    assert "act/waive?rule=performance.latency-p99" in page
    assert "It cannot be approved while it is blocked" in page
    act(room, "max", request_id, "waive", rule="performance.latency-p99", days="14", reason="batch path only")
    assert room.reviews.get(request_id).state is PromotionState.IN_REVIEW
    after = room.as_("ana").get(f"/requests/{request_id}").text
    assert "Waived by max" in after
    assert "Waived, not passed: p99 latency" in after, "who approves is told what they overrule"


@pytest.mark.parametrize(("days", "status"), [("", 422), ("soon", 422), ("0", 422), ("31", 422), ("\u0663", 422)])
def test_a_waiver_needs_a_sensible_number_of_days(days: str, status: int) -> None:
    room = a_room()
    request_id = room.in_review(*slow_evidence(), state=PromotionState.BLOCKED)
    answer = act(room, "max", request_id, "waive", rule="performance.latency-p99", days=days, reason="batch only")
    assert answer.status_code == status
    assert "batch only</textarea>" in answer.text


def test_reviewer_without_the_ability_is_offered_no_waiver() -> None:
    room = a_room()
    request_id = room.in_review(*slow_evidence(), state=PromotionState.BLOCKED)
    assert "act/waive" not in room.as_("ana").get(f"/requests/{request_id}").text
    answer = act(room, "ana", request_id, "waive", rule="performance.latency-p99", days="3", reason="why not")
    assert answer.status_code == 403


def test_manager_expedites_once() -> None:
    room = a_room()
    request_id = room.in_review()
    act(room, "max", request_id, "expedite", reason="fraud wave")
    assert room.reviews.get(request_id).expedited
    assert "act/expedite" not in room.as_("max").get(f"/requests/{request_id}").text
    assert room.woken == []


def test_an_unknown_act_is_not_found() -> None:
    room = a_room()
    request_id = room.in_review()
    assert act(room, "ana", request_id, "approve-anyway").status_code == 404


def test_a_registry_that_is_down_does_not_make_a_decision_look_like_none() -> None:
    room = a_room()
    request_id = room.in_review()
    act(room, "ana", request_id, "approve")
    room.registry.down = True
    assert act(room, "max", request_id, "approve").status_code == 303
    assert room.reviews.get(request_id).state is PromotionState.APPROVED
    assert [run for _, run in room.woken] == [request_id]


def test_without_script_every_act_has_a_page_of_its_own() -> None:
    room = a_room()
    request_id = room.in_review()
    for name in ("approve", "reject", "remediate", "withdraw-vote", "withdraw-request", "waive", "expedite"):
        page = room.as_("max").get(f"/requests/{request_id}/act/{name}")
        assert page.status_code == 200
        assert 'name="form_token"' in page.text
