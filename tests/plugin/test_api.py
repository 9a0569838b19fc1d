"""The JSON API: what programs (and the demo) lean on."""

from __future__ import annotations

from typing import Any

import pytest

from model_approval.domain.promotion import PromotionState
from tests.plugin.rooms import ReviewRoom, a_room
from tests.support.builders import an_evidence

pytestmark = pytest.mark.unit


def detail(room: ReviewRoom, who: str, request_id: str) -> dict[str, Any]:
    found: dict[str, Any] = room.as_(who, token=True).get(f"/api/requests/{request_id}").json()
    return found


def vote(room: ReviewRoom, who: str, request_id: str, **changes: object):
    body = {"choice": "approve", "seen": detail(room, who, request_id)["seen"], **changes}
    return room.as_(who, token=True).post(f"/api/requests/{request_id}/votes", json=body)


def test_detail_tells_everything_a_vote_needs() -> None:
    room = a_room()
    request_id = room.in_review()
    found = detail(room, "ana", request_id)
    promotion = room.reviews.get(request_id)
    assert promotion.candidate is not None
    assert found["seen"] == {
        "artifact": promotion.candidate.artifact_digest,
        "policy": promotion.request.policy_digest,
        "evidence": promotion.evidence_digest,
    }
    assert found["ready"] is True
    assert found["you_may_vote_as"] == ["security"]
    assert found["needed"] == {"Security": 1, "ML manager": 1}
    assert [item["check"] for item in found["evidence"]] == ["gpu_benchmark", "security_scan"]
    assert found["decision"] is None


def test_votes_lead_to_a_signed_decision() -> None:
    room = a_room()
    request_id = room.in_review()
    assert vote(room, "ana", request_id).json()["needed"] == {"ML manager": 1}
    decided = vote(room, "max", request_id, role="ml-manager", reason="fine").json()
    assert decided["state"] == "approved"
    assert decided["decision"]["payloadType"] == "application/vnd.in-toto+json"
    assert room.woken == [("promote__fraud_scoring", request_id)]


def test_requester_is_told_why_not() -> None:
    room = a_room()
    request_id = room.in_review()
    assert detail(room, "rita", request_id)["why_not"] == "You cannot vote: you requested this promotion."
    answer = vote(room, "rita", request_id)
    assert answer.status_code == 403
    assert answer.json() == {"code": "MA-5001", "message": "rita requested this promotion", "hint": ""}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"choice": "reject"}, 422),
        ({"choice": "request_remediation"}, 422),
        ({"choice": "maybe"}, 422),
        ({"seen": {"artifact": "", "policy": "", "evidence": ""}}, 409),
        ({"role": "ml-manager"}, 403),
        ({"unknown": 1}, 422),
        ({"reason": "x" * 4001}, 422),
    ],
)
def test_a_bad_vote_is_refused_in_one_form_of_error(changes: dict[str, object], status: int) -> None:
    room = a_room()
    request_id = room.in_review()
    answer = vote(room, "ana", request_id, **changes)
    assert answer.status_code == status
    assert set(answer.json()) == {"code", "message", "hint"}
    assert room.reviews.votes(request_id) == []


def test_a_request_that_does_not_exist_is_404_in_json() -> None:
    answer = a_room().as_("ana", token=True).get("/api/requests/pr-none")
    assert (answer.status_code, answer.json()["code"]) == (404, "MA-2404")


def test_nobody_signed_in_gets_json_too() -> None:
    from starlette.testclient import TestClient

    answer = TestClient(a_room().app).get("/api/requests")
    assert (answer.status_code, answer.json()["message"]) == (401, "Not authenticated")


def test_listing_filters_by_state_model_and_requester() -> None:
    room = a_room()
    request_id, waiting = room.in_review(), room.add(version="8").id
    client = room.as_("vera", token=True)

    def ids(**filters: str) -> list[str]:
        return [item["id"] for item in client.get("/api/requests", params=filters).json()["requests"]]

    assert set(ids()) == {request_id, waiting}
    assert ids(state="in_review") == [request_id]
    assert ids(model="other") == []
    assert set(ids(requester="rita", environment="production")) == {request_id, waiting}


def test_a_vote_can_be_withdrawn() -> None:
    room = a_room()
    request_id = room.in_review()
    vote(room, "ana", request_id)
    answer = room.as_("ana", token=True).post(f"/api/requests/{request_id}/votes/withdraw")
    assert (answer.status_code, answer.json()["votes"]) == (200, [])


def test_a_waiver_unblocks() -> None:
    room = a_room()
    metric = {"name": "latency_p99", "value": 80.0, "unit": "ms"}
    slow = an_evidence("gpu_benchmark", metrics=(metric,))
    request_id = room.in_review(an_evidence(), slow, state=PromotionState.BLOCKED)
    body = {
        "rule": "performance.latency-p99",
        "reason": "batch path only",
        "days": 7,
        "seen": detail(room, "max", request_id)["seen"],
    }
    answer = room.as_("max", token=True).post(f"/api/requests/{request_id}/waivers", json=body)
    assert (answer.status_code, answer.json()["state"]) == (200, "in_review")


def test_requester_withdraws_and_manager_expedites() -> None:
    room = a_room()
    request_id = room.in_review()
    reason = {"reason": "found a bug"}
    expedited = room.as_("max", token=True).post(f"/api/requests/{request_id}/expedite", json=reason)
    assert expedited.json()["expedited"] is True
    withdrawn = room.as_("rita", token=True).post(f"/api/requests/{request_id}/withdraw", json=reason)
    assert withdrawn.json()["state"] == "withdrawn"


def test_a_new_request_is_made_in_the_callers_name_only() -> None:
    room = a_room()
    body = {
        "registry": "mlflow",
        "model": "fraud-scorer",
        "version": "7",
        "payload": {"environment": "production", "reason": "better recall"},
    }
    made = room.as_("rita", token=True).post("/api/requests", json=body)
    assert (made.status_code, made.json()["requester"]) == (201, "rita")
    body["payload"] = {"environment": "production", "reason": "better recall", "requester": "ana"}
    refused = room.as_("rita", token=True).post("/api/requests", json=body)
    assert refused.status_code == 403


def test_the_registry_out_of_reach_is_503() -> None:
    room = a_room()
    room.registry.down = True
    body = {"registry": "mlflow", "model": "fraud-scorer", "version": "7", "payload": {}}
    answer = room.as_("rita", token=True).post("/api/requests", json=body)
    assert (answer.status_code, answer.json()["code"]) == (503, "MA-7001")


def test_health_tells_who_asks() -> None:
    assert a_room().as_("ana").get("/healthz").json() == {"status": "ok", "you_are": "ana"}


def test_the_api_describes_itself() -> None:
    described = a_room().as_("ana").get("/api/openapi.json").json()
    assert "/api/requests/{request_id}/votes" in described["paths"]
