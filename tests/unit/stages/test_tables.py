"""Expectations over the tables of evidence: checked once a run, kept locked, read again by whoever evaluates later."""

from __future__ import annotations

import pytest

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import IntegrityError, NotFoundError
from model_approval.domain.evidence import Attachment, TableResult, TableResults, Verdict
from model_approval.domain.promotion import PromotionState
from model_approval.policy.schema import TableRule
from model_approval.stages.evidence import verify_evidence
from model_approval.stages.progress import load
from model_approval.stages.validation import evaluate
from tests.support.builders import a_benchmark_check, a_frozen_policy, a_policy, a_security_check
from tests.support.world import World, a_world

pytestmark = pytest.mark.unit

RULE = "performance.latency-table"


def _world(maximum: float = 20, table: str = "latencies.csv") -> World:
    expectation: dict[str, object] = {
        "type": "expect_column_median_to_be_between",
        "kwargs": {"column": "ms", "max_value": maximum},
    }
    rule: dict[str, object] = {
        "id": RULE,
        "title": "Latencies",
        "expectations": {"table": table, "suite": [expectation]},
    }
    checks = (a_security_check(), a_benchmark_check(rules=(rule,)))
    return a_world(a_frozen_policy(policy=a_policy(checks=checks)))


def _table(*values: float) -> tuple[Attachment, ...]:
    text = "ms\n" + "".join(f"{value}\n" for value in values)
    return (Attachment(name="latencies.csv", media_type="text/csv", text=text),)


def _judged(world: World, attachments: tuple[Attachment, ...] = ()) -> tuple[Verdict, str, str]:
    """Verdict and reason of the rule, and the promotion's id."""
    promotion = world.to_review(attachments=attachments)
    (outcome,) = [one for one in promotion.check_outcomes if one.rule == RULE]
    return outcome.verdict, outcome.reason, promotion.id


def test_a_table_that_meets_the_suite_passes() -> None:
    verdict, reason, _ = _judged(_world(), attachments=_table(1, 2, 3))
    assert verdict is Verdict.PASSED
    assert reason == "the expectation over latencies.csv (3 rows) met"


def test_a_table_that_does_not_fails_naming_the_expectation() -> None:
    verdict, reason, _ = _judged(_world(maximum=1.5), attachments=_table(1, 2, 3))
    assert verdict is Verdict.FAILED
    assert "1 of 1 expectation over latencies.csv not met: ms: median to be between (max_value 1.5)" in reason


@pytest.mark.parametrize(
    ("world", "tables", "told"),
    [
        (_world(), (), "brought no table latencies.csv (tables: none)"),
        (_world(table="other.csv"), _table(1), "no table other.csv (tables: latencies.csv)"),
        (_world(), (_table(1)[0].model_copy(update={"text": ""}),), "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_checked_is_errored(world: World, tables: tuple[Attachment, ...], told: str) -> None:
    verdict, reason, _ = _judged(world, tables)
    assert verdict is Verdict.ERRORED
    assert told in reason


def test_results_and_data_docs_are_kept_with_the_evidence() -> None:
    world = _world()
    _, _, request_id = _judged(world, attachments=_table(1, 2, 3))
    kept = TableResults.model_validate_json(
        world.evidence.get_document(request_id, "expectations/gpu_benchmark-1.json")
    )
    page = kept.results[0].data_docs
    assert world.evidence.get_document(request_id, page).startswith(b"<html>")
    assert kept.library == "memory"


def test_whoever_verifies_later_reads_what_was_kept_and_checks_nothing_again() -> None:
    world = _world()
    _, _, request_id = _judged(world, attachments=_table(1, 2, 3))
    world.services.profiler.check_table = None  # type: ignore[method-assign, assignment]  # would raise if called
    promotion, frozen = load(world.services, request_id)
    assert verify_evidence(world.services, promotion, frozen) == promotion.evidence_digest


def test_whoever_verifies_later_refuses_when_nothing_was_kept_and_writes_nothing() -> None:
    world = _world()
    promotion = world.to_validation()
    world.run_check(promotion.id, "security_scan")
    world.run_check(promotion.id, "gpu_benchmark", {"attachments": _table(1, 2, 3)})
    promotion, frozen = load(world.services, promotion.id)
    with pytest.raises(IntegrityError, match="results over the tables of gpu_benchmark are gone"):
        verify_evidence(world.services, promotion, frozen)
    with pytest.raises(NotFoundError):
        world.evidence.get_document(promotion.id, "expectations/gpu_benchmark-1.json")


def test_of_two_evaluations_at_once_the_results_kept_first_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world = _world()
    promotion = world.to_validation()
    world.run_check(promotion.id, "security_scan")
    world.run_check(promotion.id, "gpu_benchmark", {"attachments": _table(1, 2, 3)})
    (stored,) = [one for one in world.reviews.evidence(promotion.id) if one.check == "gpu_benchmark"]
    assert stored.digest is not None
    result = TableResult(rule=RULE, table="latencies.csv", rows=3, problems=("told by the first",))
    first = TableResults(evidence_digest=stored.digest, library="memory", results=(result,))
    check_table = world.services.profiler.check_table

    def overtaken(csv: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
        name = "expectations/gpu_benchmark-1.json"
        world.evidence.put_document(promotion.id, name, canonical_json(first), content_type="application/json")
        return check_table(csv, rule)

    monkeypatch.setattr(world.services.profiler, "check_table", overtaken)
    evaluated = evaluate(world.services, request_id=promotion.id)
    (outcome,) = [one for one in evaluated.check_outcomes if one.rule == RULE]
    assert outcome.verdict is Verdict.FAILED
    assert "told by the first" in outcome.reason


def test_results_about_other_evidence_are_refused() -> None:
    world = _world()
    promotion = world.to_validation()
    other = TableResults(evidence_digest="sha256:" + "0" * 64, library="memory", results=())
    world.evidence.put_document(
        promotion.id, "expectations/gpu_benchmark-1.json", canonical_json(other), content_type="application/json"
    )
    world.run_check(promotion.id, "security_scan")
    world.run_check(promotion.id, "gpu_benchmark", {"attachments": _table(1)})
    with pytest.raises(IntegrityError, match="is about sha256:0000"):
        evaluate(world.services, request_id=promotion.id)


def test_a_second_run_is_checked_anew() -> None:
    world = _world(maximum=2.5)
    _, _, request_id = _judged(world, attachments=_table(5, 6, 7))
    world.run_check(request_id, "gpu_benchmark", {"attachments": _table(1, 2, 3)}, run=2)
    promotion = evaluate(world.services, request_id=request_id)
    (outcome,) = [one for one in promotion.check_outcomes if one.rule == RULE]
    assert outcome.verdict is Verdict.PASSED
    assert promotion.state is PromotionState.IN_REVIEW
