"""Every terminal state of the state table, reached by the real DAGs on the real stack.

In each, the registry entry, the review page and the audit log must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from model_approval.domain.audit import Action
from model_approval.embedded.airflow_api import wait_until
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.stack import Stack
from model_approval.embedded.steps import Progress
from model_approval.stages.audit import verify_log
from tests.support.promoter import Promoter, quick_config

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


MODELS: dict[str, dict[str, object]] = {
    "fraud-champion": {},
    "fraud-refused": {"semantic_version": "one"},
    "fraud-garbled": {"environment": ""},
    "brief-expired": {},
    "fraud-rejected": {},
    "fraud-remediated": {},
    "fraud-withdrawn": {},
    "fraud-broken": {"files": {"smoke_input.json": b'{"inputs": {"no_such_input": [[1.0]]}}'}},
    "fraud-marked": {},
}
"""What the module tags at its start, but for the model whose whole way is disturbed."""


@pytest.fixture(scope="module")
def promoter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoter]:
    folder = tmp_path_factory.mktemp("states")
    ports = StackOptions(
        state_dir=folder / "state",
        airflow_port=0,
        mlflow_port=0,
        store_port=0,
        sample=False,
        config_dir=quick_config(folder),
    )
    with Stack(ports, Progress()) as stack:
        stack.start()
        stack.wait_for_dags({"promotion_intake__mlflow", "promote__fraud_scoring", "promote__brief_review"})
        with closing(Promoter(stack)) as promoter:
            # All at once: they are validated side by side while the first test waits for the first of them.
            for name, changes in MODELS.items():
                promoter.tag(promoter.variant(name, **changes))  # type: ignore[arg-type]
            yield promoter


def assert_agreement(promoter: Promoter, model: str, state: str, *, version: str = "1") -> str:
    """Registry, page and log say the same; returns the request's id."""
    request = promoter.reach(model, state, version=version)
    promoter.run_ended(request)
    assert promoter.tag_of(model, version) == state
    states = [event.details["state"] for event in promoter.events(request["id"])]
    assert states[-1] == state
    return str(request["id"])


def test_a_request_that_breaks_a_static_rule_is_refused(promoter: Promoter) -> None:
    request_id = assert_agreement(promoter, "fraud-refused", "refused")
    assert Action.CHECK_STARTED not in promoter.actions(request_id)
    assert "versioning.semantic-version" in promoter.registry.tags("fraud-refused", "1")["promotion.reason"]


def test_a_bad_payload_is_answered_on_the_registry_entry(promoter: Promoter) -> None:
    def answered() -> bool:
        return promoter.registry.tags("fraud-garbled", "1")["promotion"] == "refused"

    wait_until(answered, what="an answer to the bad payload", deadline_s=60.0)
    assert "payload.environment" in promoter.registry.tags("fraud-garbled", "1")["promotion.reason"]


def test_a_rejection_by_a_reviewer_ends_it(promoter: Promoter) -> None:
    request = promoter.reach("fraud-rejected", "in_review")
    promoter.vote("bo", request["id"], "reject", reason="no monitoring plan")
    request_id = assert_agreement(promoter, "fraud-rejected", "rejected")
    assert Action.DEPLOYMENT_STARTED not in promoter.actions(request_id)


def test_a_wish_for_remediation_ends_it_with_its_items(promoter: Promoter) -> None:
    request = promoter.reach("fraud-remediated", "in_review")
    promoter.vote("ana", request["id"], "request_remediation", items=[{"text": "add the drift report"}])
    assert_agreement(promoter, "fraud-remediated", "remediation_requested")
    assert "add the drift report" in promoter.registry.tags("fraud-remediated", "1")["promotion.reason"]


def test_the_requester_withdraws_it(promoter: Promoter) -> None:
    request = promoter.reach("fraud-withdrawn", "in_review")
    promoter.stack.user("rita").review("POST", f"/requests/{request['id']}/withdraw", {"reason": "found a data leak"})
    assert_agreement(promoter, "fraud-withdrawn", "withdrawn")


def test_a_review_that_nobody_answers_expires_and_approves_nothing(promoter: Promoter) -> None:
    request_id = assert_agreement(promoter, "brief-expired", "expired")
    assert Action.DEPLOYMENT_STARTED not in promoter.actions(request_id)


def test_a_deployment_that_does_not_answer_as_promised_fails_and_serves_nothing(promoter: Promoter) -> None:
    promoter.approve(promoter.reach("fraud-broken", "in_review")["id"])
    request_id = assert_agreement(promoter, "fraud-broken", "deployment_failed")
    assert Action.DEPLOYMENT_ROLLED_BACK in promoter.actions(request_id)
    assert promoter.registry.alias("fraud-broken", "champion-production") is None


def test_marking_the_review_successful_in_airflow_deploys_nothing(promoter: Promoter) -> None:
    request = promoter.reach("fraud-marked", "in_review")
    olga = promoter.stack.user("olga")
    task = f"/api/v2/dags/promote__fraud_scoring/dagRuns/{request['id']}/taskInstances/review"
    olga.call("PATCH", task, {"new_state": "success"})
    assert promoter.run_ended(request)["state"] == "failed"
    assert Action.DEPLOYMENT_STARTED not in promoter.actions(request["id"])
    assert promoter.reach("fraud-marked", "in_review")["state"] == "in_review"


def test_a_successor_supersedes_and_can_be_rolled_back_and_revoked(promoter: Promoter) -> None:
    model = "fraud-champion"
    promoter.approve(promoter.reach(model, "in_review")["id"])
    first = assert_agreement(promoter, model, "deployed")
    second_version = promoter.tag(promoter.variant(model, semantic_version="1.1.0"))
    promoter.approve(promoter.reach(model, "in_review", version=second_version)["id"])
    second = assert_agreement(promoter, model, "deployed", version=second_version)
    assert promoter.tag_of(model) == "superseded"

    take_out(promoter, second, revoke=False)
    assert promoter.reach(model, "rolled_back", version=second_version)["id"] == second
    assert promoter.tag_of(model, second_version) == "rolled_back"
    assert promoter.reach(model, "deployed")["id"] == first
    assert promoter.registry.alias(model, "champion-production") == "1"

    take_out(promoter, first, revoke=True)
    assert promoter.reach(model, "revoked")["id"] == first
    assert promoter.tag_of(model) == "revoked"
    assert promoter.registry.alias(model, "champion-production") is None


def take_out(promoter: Promoter, request_id: str, *, revoke: bool) -> None:
    """Start the operators' DAG and wait for its run."""
    olga = promoter.stack.user("olga")
    conf = {"request_id": request_id, "reason": "errors in production", "revoke": revoke}
    runs = "/api/v2/dags/promotion_roll_back/dagRuns"
    run = olga.call("POST", runs, {"conf": conf, "logical_date": None})
    path = f"{runs}/{run['dag_run_id']}"
    ended = wait_until(
        lambda: next((r for r in [olga.call("GET", path)] if r["state"] in ("success", "failed")), None),
        what="the run of promotion_roll_back",
        deadline_s=120.0,
    )
    assert ended["state"] == "success"


def test_every_component_killed_in_turn_and_the_promotion_still_ends_once(promoter: Promoter) -> None:
    promoter.tag(promoter.variant("fraud-survivor"))
    promoter.reach("fraud-survivor", "accepted", "requested", "validating", "in_review")
    promoter.kill("airflow-scheduler")
    request = promoter.reach("fraud-survivor", "in_review")
    for program in ("airflow-triggerer", "airflow-api-server", "airflow-dag-processor"):
        promoter.kill(program)
    promoter.reach("fraud-survivor", "in_review")
    promoter.approve(request["id"])
    request_id = assert_agreement(promoter, "fraud-survivor", "deployed")
    actions = promoter.actions(request_id)
    for once in (Action.ARTIFACT_PINNED, Action.DECISION_SIGNED, Action.DEPLOYMENT_VERIFIED):
        assert actions.count(once) == 1, once


def test_the_whole_log_verifies_at_the_end(promoter: Promoter) -> None:
    services = promoter.services
    report = verify_log(services.audit, services.verifier)
    assert report.problems == ()
