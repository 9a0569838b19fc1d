"""Evidence held against the policy: only what it plainly shows passes, and each reason can be read aloud."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.digests import sha256_of
from model_approval.domain.evidence import Device, RuleOutcome, StoredEvidence, Verdict
from model_approval.policy.evaluate import evaluate_checks, last_run
from model_approval.policy.schema import Policy
from tests.support.builders import (
    FILES,
    a_benchmark_check,
    a_frozen_policy,
    a_manifest,
    a_missing_evidence,
    a_policy,
    a_security_check,
    a_stored_evidence,
    an_evidence,
)

pytestmark = pytest.mark.unit

GOOD_SCAN = a_stored_evidence()
GOOD_BENCHMARK = a_stored_evidence(an_evidence("gpu_benchmark"))
LATENCY, FINDINGS, COVERAGE = "performance.latency-p99", "security.no-high-findings", "security.full-coverage"


def a_finding(severity: str = "high", **changes: object) -> dict[str, object]:
    return {"rule": "pickle.dangerous-import", "severity": severity, "file": "prep.pkl", "message": "x", **changes}


def a_scan(**changes: Any) -> StoredEvidence:
    return a_stored_evidence(an_evidence("security_scan", **changes))


def a_benchmark(**changes: Any) -> StoredEvidence:
    return a_stored_evidence(an_evidence("gpu_benchmark", **changes))


def a_latency(value: float, **changes: object) -> tuple[dict[str, object], ...]:
    return ({"name": "latency_p99", "value": value, "unit": "ms", **changes},)


def evaluate(
    *evidence: StoredEvidence, policy: Policy | None = None, has_champion: bool = False
) -> dict[str, RuleOutcome]:
    frozen = a_frozen_policy(policy=policy)
    found = evaluate_checks(frozen, evidence, manifest=a_manifest(), has_champion=has_champion)
    return {outcome.rule: outcome for outcome in found}


def test_good_evidence_passes_every_rule_with_words_for_each():
    found = evaluate(GOOD_SCAN, GOOD_BENCHMARK)
    assert {rule: (outcome.verdict, outcome.reason) for rule, outcome in found.items()} == {
        FINDINGS: (Verdict.PASSED, "no finding of severity high or worse"),
        COVERAGE: (Verdict.PASSED, "looked into all 3 files"),
        LATENCY: (
            Verdict.PASSED,
            "latency p99 41.2 ms is within the limit of at most 50 ms; measured on a CPU, as the policy allows",
        ),
    }


def test_an_outcome_carries_the_figures_for_a_table():
    outcome = evaluate(GOOD_SCAN, a_benchmark(metrics=a_latency(61.2, baseline=40.0)))[LATENCY]
    assert (outcome.value, outcome.unit, outcome.limit, outcome.baseline) == (61.2, "ms", "<= 50 ms", 40.0)
    assert (outcome.check, outcome.title, outcome.device) == ("gpu_benchmark", "p99 latency", Device.CPU)


def test_whether_a_rule_is_required_and_waivable_comes_from_the_policy():
    found = evaluate(GOOD_SCAN, GOOD_BENCHMARK)
    assert [(rule, outcome.required, outcome.waivable) for rule, outcome in found.items()] == [
        (FINDINGS, True, False),
        (COVERAGE, True, True),
        (LATENCY, True, True),
    ]


def test_without_any_evidence_every_rule_is_errored():
    found = evaluate()
    assert {outcome.verdict for outcome in found.values()} == {Verdict.ERRORED}
    assert found[LATENCY].reason == "gpu_benchmark brought no evidence: it has not run"
    assert found[LATENCY].device is Device.NONE


def test_a_run_that_broke_errors_its_rules_with_its_own_reason():
    found = evaluate(a_missing_evidence("security_scan", error="the pod was evicted: node out of disk"), GOOD_BENCHMARK)
    expected = "security_scan brought no evidence: the pod was evicted: node out of disk"
    assert [(found[rule].verdict, found[rule].reason) for rule in (FINDINGS, COVERAGE)] == [
        (Verdict.ERRORED, expected)
    ] * 2
    assert found[LATENCY].verdict is Verdict.PASSED


def test_evidence_without_a_digest_is_not_believed():
    assert evaluate(a_stored_evidence(digest=None))[FINDINGS].verdict is Verdict.ERRORED


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (a_scan(validator="gpu_benchmark"), "the evidence is of gpu_benchmark for security_scan, not of security_scan"),
        (a_scan(artifact_digest=sha256_of(b"other bytes")), "not about the pinned sha256:"),
        (
            a_stored_evidence(an_evidence("gpu_benchmark"), check="security_scan"),
            "is of gpu_benchmark for gpu_benchmark",
        ),
    ],
)
def test_evidence_about_something_else_is_errored(stored, words):
    outcome = evaluate(stored)[FINDINGS]
    assert outcome.verdict is Verdict.ERRORED
    assert words in outcome.reason


def test_the_last_run_counts_when_it_is_better():
    broke = a_missing_evidence("security_scan", error="out of memory", run=1)
    again = a_stored_evidence(run=2)
    assert evaluate(again, broke)[FINDINGS].verdict is Verdict.PASSED


def test_the_last_run_counts_when_it_is_worse():
    broke = a_missing_evidence("security_scan", error="out of memory", run=10)
    assert evaluate(GOOD_SCAN, broke, a_stored_evidence(run=9))[FINDINGS].verdict is Verdict.ERRORED


@given(st.permutations([1, 2, 9, 10]))
def test_the_last_run_is_the_one_with_the_highest_number_in_any_order(runs):
    found = last_run([a_stored_evidence(run=run) for run in runs], "security_scan")
    assert found is not None
    assert found.run == 10


def test_runs_of_other_checks_do_not_count():
    assert last_run([GOOD_SCAN], "gpu_benchmark") is None


@pytest.mark.parametrize(
    ("severities", "verdict", "reason"),
    [
        ((), Verdict.PASSED, "no finding of severity high or worse"),
        (("info", "low", "medium"), Verdict.PASSED, "no finding of severity high or worse"),
        (
            ("high",),
            Verdict.FAILED,
            "1 finding of severity high or worse, 0 allowed: pickle.dangerous-import in prep.pkl",
        ),
        (
            ("critical", "medium"),
            Verdict.FAILED,
            "1 finding of severity high or worse, 0 allowed: pickle.dangerous-import in prep.pkl",
        ),
    ],
)
def test_findings_count_from_their_severity_upwards(severities, verdict, reason):
    outcome = evaluate(a_scan(findings=tuple(a_finding(severity) for severity in severities)))[FINDINGS]
    assert (outcome.verdict, outcome.reason) == (verdict, reason)


def test_a_policy_may_accept_some_findings():
    rule = {"id": FINDINGS, "title": "Few", "findings": {"severity": "medium", "maximum": 2}}
    policy = a_policy(checks=(a_security_check(rules=(rule,)),))
    two, three = (a_scan(findings=tuple(a_finding("medium") for _ in range(count))) for count in (2, 3))
    assert evaluate(two, policy=policy)[FINDINGS].reason == "2 findings of severity medium or worse"
    assert evaluate(three, policy=policy)[FINDINGS].verdict is Verdict.FAILED


def test_the_worst_findings_are_named_and_the_rest_is_counted():
    findings = [a_finding("high", file=f"f{number}") for number in range(6)] + [a_finding("critical", file="worst")]
    reason = evaluate(a_scan(findings=tuple(findings)))[FINDINGS].reason
    assert "0 allowed: pickle.dangerous-import in worst, pickle.dangerous-import in f0" in reason
    assert reason.endswith("and 2 more")


def test_a_finding_without_a_file_is_named_by_its_rule():
    found = evaluate(a_scan(findings=(a_finding(file=""),)))
    assert found[FINDINGS].reason.endswith("0 allowed: pickle.dangerous-import")


@pytest.mark.parametrize(
    ("coverage", "reason"),
    [
        ((), "3 of 3 files not looked into: docs/model_card.md, model.onnx, serving.yaml"),
        (
            (
                {"path": "docs/model_card.md", "covered": True},
                {"path": "serving.yaml", "covered": True},
                {"path": "model.onnx", "covered": False, "note": "truncated"},
            ),
            "1 of 3 files not looked into: model.onnx (truncated)",
        ),
        (
            (*({"path": path, "covered": True} for path in FILES), {"path": "model.onnx", "covered": False}),
            "1 of 3 files not looked into: model.onnx",
        ),
        (
            tuple({"path": path.upper(), "covered": True} for path in FILES),
            "3 of 3 files not looked into: docs/model_card.md, model.onnx, serving.yaml",
        ),
    ],
)
def test_a_file_that_was_not_looked_into_leaves_the_question_open(coverage, reason):
    outcome = evaluate(a_scan(coverage=coverage))[COVERAGE]
    assert (outcome.verdict, outcome.reason) == (Verdict.INCONCLUSIVE, reason)


@given(st.sets(st.sampled_from(sorted(FILES))))
def test_coverage_passes_exactly_when_every_file_was_looked_into(covered):
    coverage = tuple({"path": path, "covered": True} for path in covered)
    outcome = evaluate(a_scan(coverage=coverage))[COVERAGE]
    assert (outcome.verdict is Verdict.PASSED) == (covered == set(FILES))


def test_no_findings_in_files_that_were_not_looked_into_say_nothing():
    rule = {"id": FINDINGS, "title": "No high findings", "findings": {"severity": "high"}}
    policy = a_policy(checks=(a_security_check(rules=(rule,)),))
    outcome = evaluate(a_scan(coverage=()), policy=policy)[FINDINGS]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert "but not looked into: docs/model_card.md" in outcome.reason


def test_where_a_coverage_rule_answers_for_open_files_the_findings_rule_need_not():
    assert evaluate(a_scan(coverage=()))[FINDINGS].verdict is Verdict.PASSED


@pytest.mark.parametrize(
    ("stored", "rule"),
    [
        (a_scan(limitations=("one archive was not unfolded",)), FINDINGS),
        (a_scan(limitations=("one archive was not unfolded",)), COVERAGE),
        (a_benchmark(limitations=("one archive was not unfolded",)), LATENCY),
    ],
)
def test_a_limitation_turns_a_pass_into_an_open_question(stored, rule):
    outcome = evaluate(stored)[rule]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.reason.endswith("; one archive was not unfolded")


def test_a_limitation_does_not_soften_a_no():
    found = evaluate(
        a_scan(findings=(a_finding(),), limitations=("too few samples",)),
        a_benchmark(metrics=a_latency(61.2), limitations=("too few samples",)),
    )
    assert (found[FINDINGS].verdict, found[LATENCY].verdict) == (Verdict.FAILED, Verdict.FAILED)
    assert "too few samples" not in found[LATENCY].reason


@pytest.mark.parametrize("value", [41.2, 61.2])
def test_a_cpu_says_neither_yes_nor_no_where_a_gpu_is_asked_for(value):
    policy = a_policy(checks=(a_benchmark_check(allow_cpu=False),))
    outcome = evaluate(a_benchmark(metrics=a_latency(value)), policy=policy)[LATENCY]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.reason.endswith("measured on a CPU; the policy asks for a GPU")
    assert outcome.device is Device.CPU


def test_a_gpu_satisfies_a_policy_that_would_allow_a_cpu():
    outcome = evaluate(a_benchmark(device="cuda"))[LATENCY]
    assert (outcome.verdict, outcome.reason) == (
        Verdict.PASSED,
        "latency p99 41.2 ms is within the limit of at most 50 ms",
    )


@pytest.mark.parametrize(
    ("environment", "verdict", "words"),
    [
        ({"gpu": "NVIDIA H100 80GB HBM3"}, Verdict.PASSED, "within the limit of at most 50 ms"),
        ({"gpu": "NVIDIA-H100-80GB-HBM3"}, Verdict.PASSED, "within the limit of at most 50 ms"),
        ({"gpu": "NVIDIA H1000"}, Verdict.INCONCLUSIVE, "measured on NVIDIA H1000; the policy asks for h100"),
        ({"gpu": "NVIDIA A10G"}, Verdict.INCONCLUSIVE, "measured on NVIDIA A10G; the policy asks for h100"),
        ({}, Verdict.INCONCLUSIVE, "measured on an unknown GPU; the policy asks for h100"),
    ],
)
def test_another_gpu_than_the_policy_names_says_neither_yes_nor_no(environment, verdict, words):
    policy = a_policy(checks=(a_benchmark_check(resources={"gpu": 1, "gpu_product": "h100"}),))
    outcome = evaluate(a_benchmark(device="cuda", environment=environment), policy=policy)[LATENCY]
    assert outcome.verdict is verdict
    assert outcome.reason.endswith(words)


def test_a_cpu_is_not_the_gpu_that_the_policy_names_even_where_a_cpu_is_allowed():
    policy = a_policy(checks=(a_benchmark_check(resources={"gpu": 1, "gpu_product": "H100"}),))
    outcome = evaluate(a_benchmark(), policy=policy)[LATENCY]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.reason.endswith("measured on a CPU; the policy asks for H100")


def test_a_benchmark_that_does_not_say_its_device_is_not_believed():
    outcome = evaluate(a_benchmark(device="none"))[LATENCY]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.reason.endswith("the benchmark does not say what it ran on")


def test_a_metric_that_could_not_be_measured_leaves_the_question_open_with_the_validator_s_reason():
    stored = a_benchmark(metrics=(), device="none", limitations=("no GPU was available",))
    outcome = evaluate(stored)[LATENCY]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.reason == "the evidence holds no metric latency_p99; no GPU was available"


def test_a_missing_metric_is_errored_even_on_the_wrong_device():
    policy = a_policy(checks=(a_benchmark_check(allow_cpu=False),))
    outcome = evaluate(a_benchmark(metrics=()), policy=policy)[LATENCY]
    assert (outcome.verdict, outcome.reason) == (Verdict.ERRORED, "the evidence holds no metric latency_p99")


@given(st.lists(st.sampled_from(["scan", "bench", "broken", "limited"]), max_size=5))
def test_every_rule_has_exactly_one_outcome_whatever_comes_home(kinds):
    made = {
        "scan": GOOD_SCAN,
        "bench": GOOD_BENCHMARK,
        "broken": a_missing_evidence("gpu_benchmark", error="x", run=2),
        "limited": a_scan(limitations=("y",)),
    }
    found = evaluate_checks(
        a_frozen_policy(), [made[kind] for kind in kinds], manifest=a_manifest(), has_champion=False
    )
    assert [outcome.rule for outcome in found] == [FINDINGS, COVERAGE, LATENCY]


MODEL_LOCKS = [f"model_process.confinement.{lock}" for lock in ("limits", "capabilities", "landlock", "seccomp")]
MISSING_LOCK = {"confinement.landlock": "missing: this kernel has none", "confinement.seccomp": "in force: no sockets"}


def test_a_lock_that_was_not_in_force_leaves_the_check_inconclusive():
    found = evaluate(GOOD_SCAN, a_benchmark(environment={"model_process.confinement.landlock": "missing: no kernel"}))
    assert found[LATENCY].verdict is Verdict.INCONCLUSIVE
    assert "not locked in: model_process.confinement.landlock: missing: no kernel" in found[LATENCY].reason
    assert found[FINDINGS].verdict is Verdict.PASSED


def test_a_model_server_that_is_silent_about_its_locks_leaves_the_check_inconclusive():
    found = evaluate(GOOD_SCAN, a_benchmark(environment=dict.fromkeys(MODEL_LOCKS, "missing: x: in force")))
    assert found[LATENCY].verdict is Verdict.INCONCLUSIVE
    evidence = a_benchmark().evidence
    assert evidence is not None
    own = {name: state for name, state in evidence.environment.items() if name not in MODEL_LOCKS}
    silent = GOOD_BENCHMARK.model_copy(update={"evidence": evidence.model_copy(update={"environment": own})})
    found = evaluate(GOOD_SCAN, silent)
    assert found[LATENCY].verdict is Verdict.INCONCLUSIVE
    assert "model_process.confinement.landlock: not reported" in found[LATENCY].reason
    elsewhere = a_policy(checks=(a_security_check(), a_benchmark_check(parameters={"endpoint": {"url": "http://x"}})))
    assert evaluate(GOOD_SCAN, silent, policy=elsewhere)[LATENCY].verdict is Verdict.PASSED


def test_a_policy_may_do_without_a_lock_and_still_says_no_without_one():
    fast = a_benchmark(environment=MISSING_LOCK)
    slow = a_benchmark(environment=MISSING_LOCK, metrics=a_latency(61.2))
    lenient = a_policy(checks=(a_security_check(), a_benchmark_check(confinement="reported")))
    assert evaluate(GOOD_SCAN, fast, policy=lenient)[LATENCY].verdict is Verdict.PASSED
    assert evaluate(GOOD_SCAN, slow)[LATENCY].verdict is Verdict.FAILED


def test_evidence_that_is_silent_about_its_locks_is_not_trusted_with_a_yes():
    assert GOOD_BENCHMARK.evidence is not None
    evidence = GOOD_BENCHMARK.evidence.model_copy(update={"environment": {}})
    silent = GOOD_BENCHMARK.model_copy(update={"evidence": evidence})
    found = evaluate(GOOD_SCAN, silent)[LATENCY]
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "confinement.seccomp: not reported" in found.reason
