"""Evidence -> outcomes: what the policy makes of what the validators reported. Pure.

For each check the last run counts. Only a rule that the evidence plainly satisfies passes: no evidence is `errored`,
a limitation turns a would-be pass into `inconclusive`, and so does a figure too close to its limit to tell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from model_approval.domain.evidence import Device, Evidence, RuleOutcome, StoredEvidence, TableResults, Verdict
from model_approval.domain.manifest import ArtifactManifest
from model_approval.policy.acceptance import moment_of, sort_findings
from model_approval.policy.limits import Judgement, judge_limit, limit_words
from model_approval.policy.readiness import Readiness, readiness
from model_approval.policy.schema import (
    BUILT_IN_VALIDATORS,
    Check,
    CheckRule,
    FindingLimit,
    FrozenPolicy,
    MetricLimit,
    TableRule,
)

__all__ = ["Readiness", "evaluate_checks", "last_run", "readiness"]

_LOCKS = ("limits", "capabilities", "landlock", "seccomp")
_LOCK_ENDINGS = tuple(f"confinement.{lock}" for lock in _LOCKS)
_NAMED = 5
"""How many files or findings a reason names; the rest is counted."""


@dataclass(frozen=True)
class _Given:
    """What is known beside a check's evidence."""

    manifest: ArtifactManifest
    has_champion: bool
    tables: TableResults | None


@dataclass(frozen=True)
class _Ground:
    """What every rule of a check is judged on."""

    check: Check
    evidence: Evidence
    given: _Given
    at: datetime
    """When the evidence came home, for acceptances that end on a date."""


def evaluate_checks(
    frozen: FrozenPolicy,
    evidence: Sequence[StoredEvidence],
    *,
    manifest: ArtifactManifest,
    has_champion: bool,
    tables: Mapping[str, TableResults] | None = None,
) -> tuple[RuleOutcome, ...]:
    """One outcome for every rule of every check, in the policy's order.

    Args:
        frozen: The policy as it was when the request came in.
        evidence: All runs of all checks; the last run of each counts.
        manifest: The pinned bytes; coverage is measured against it.
        has_champion: Whether a champion was pinned, so that relative limits must have a baseline.
        tables: For checks with expectations over tables, what became of them, by the evidence's digest.
    """
    outcomes: list[RuleOutcome] = []
    for check in frozen.policy.checks:
        stored = last_run(evidence, check.name)
        results = (tables or {}).get((stored.digest if stored else None) or "")
        outcomes += _evaluate_check(check, stored, _Given(manifest, has_champion, results))
    return tuple(outcomes)


def last_run(evidence: Sequence[StoredEvidence], check: str) -> StoredEvidence | None:
    """The run of a check that counts: the one with the highest number, whatever it brought."""
    return max((item for item in evidence if item.check == check), key=lambda item: item.run, default=None)


def _evaluate_check(check: Check, stored: StoredEvidence | None, given: _Given) -> list[RuleOutcome]:
    problem = _why_unusable(check, stored, given.manifest)
    if problem or stored is None or stored.evidence is None:
        return [_outcome(check, rule, Judgement(Verdict.ERRORED, problem)) for rule in check.rules]
    ground = _Ground(check, stored.evidence, given, moment_of(stored))
    return [_evaluate_rule(ground, rule) for rule in check.rules]


def _why_unusable(check: Check, stored: StoredEvidence | None, manifest: ArtifactManifest) -> str:
    if stored is None:
        return f"{check.name} brought no evidence: it has not run"
    if stored.evidence is None or not stored.is_usable:
        return f"{check.name} brought no evidence: {stored.error or 'no reason is recorded'}"
    found = stored.evidence
    if (found.check, found.validator) != (check.name, check.validator):
        return f"the evidence is of {found.validator} for {found.check}, not of {check.validator} for {check.name}"
    if found.artifact_digest != manifest.artifact_digest:
        return f"the evidence is about {found.artifact_digest}, not about the pinned {manifest.artifact_digest}"
    return ""


def _evaluate_rule(ground: _Ground, rule: CheckRule) -> RuleOutcome:
    evidence = ground.evidence
    if rule.limit is not None:
        judged = _judge_metric(ground, rule.limit)
    elif rule.findings is not None:
        judged = _judge_findings(ground, rule.findings)
    elif rule.expectations is not None:
        judged = _judge_table(ground, rule.id, rule.expectations)
    else:
        judged = _judge_coverage(evidence, ground.given.manifest)
    if judged.verdict is Verdict.PASSED and evidence.limitations:
        judged = judged.but(Verdict.INCONCLUSIVE, "; ".join(evidence.limitations))
    if (
        judged.verdict is Verdict.PASSED
        and ground.check.confinement == "required"
        and (open_doors := _not_locked(ground.check, evidence))
    ):
        judged = judged.but(Verdict.INCONCLUSIVE, f"whatever read the artifact was not locked in: {_some(open_doors)}")
    return _outcome(ground.check, rule, judged, evidence=evidence)


def _not_locked(check: Check, evidence: Evidence) -> list[str]:
    """Locks that were not in force, as the validator reports them (`confinement.landlock: missing: ...`).

    Of ours each process must speak of all four; what a container of somebody's own does is its image's affair, and the
    pod's.
    """
    facts = evidence.environment
    expected = [f"{process}.{lock}" for process in _our_processes(check) for lock in _LOCKS]
    silent = [f"{name}: not reported" for name in expected if name not in facts]
    told = ((name, state) for name, state in sorted(facts.items()) if name.endswith(_LOCK_ENDINGS))
    return [*silent, *(f"{name}: {state}" for name, state in told if not state.startswith("in force"))]


def _our_processes(check: Check) -> tuple[str, ...]:
    """Those of ours that read the artifact, as the evidence names their locks."""
    if check.validator not in BUILT_IN_VALIDATORS:
        return ()
    serves_it = check.validator == "gpu_benchmark" and not check.parameters.get("endpoint")
    return ("confinement", "model_process.confinement") if serves_it else ("confinement",)


def _judge_metric(ground: _Ground, limit: MetricLimit) -> Judgement:
    metric = ground.evidence.metric(limit.metric)
    judged = judge_limit(limit, metric, has_champion=ground.given.has_champion)
    if metric is None and ground.evidence.limitations:
        # It says itself why it could not measure, for example for lack of a GPU: it did not break.
        return judged.but(Verdict.INCONCLUSIVE, "; ".join(ground.evidence.limitations))
    return _on_device(ground, judged)


def _on_device(ground: _Ground, judged: Judgement) -> Judgement:
    """A figure from the wrong device says neither yes nor no."""
    device, check = ground.evidence.device, ground.check
    if check.validator != "gpu_benchmark" or judged.verdict is Verdict.ERRORED:
        return judged
    if device is Device.CUDA:
        return _on_the_right_gpu(ground, judged)
    if device is Device.NONE:
        return judged.but(Verdict.INCONCLUSIVE, "the benchmark does not say what it ran on")
    if not check.allow_cpu or check.resources.gpu_product:
        wanted = check.resources.gpu_product or "a GPU"
        return judged.but(Verdict.INCONCLUSIVE, f"measured on a CPU; the policy asks for {wanted}")
    return judged.but(judged.verdict, "measured on a CPU, as the policy allows")


def _on_the_right_gpu(ground: _Ground, judged: Judgement) -> Judgement:
    wanted, found = ground.check.resources.gpu_product, ground.evidence.environment.get("gpu", "an unknown GPU")
    if wanted is None or f" {_plain_words(wanted)} " in f" {_plain_words(found)} ":
        return judged
    return judged.but(Verdict.INCONCLUSIVE, f"measured on {found}; the policy asks for {wanted}")


def _plain_words(product: str) -> str:
    """So that `L4` is no `L40S`, and a node's label `NVIDIA-H100-80GB-HBM3` the driver's `NVIDIA H100 80GB HBM3`."""
    return " ".join(re.findall(r"[0-9a-z]+", product.casefold()))


def _judge_findings(ground: _Ground, limit: FindingLimit) -> Judgement:
    grave = [one for one in ground.evidence.findings if one.severity.rank >= limit.severity.rank]
    found = sort_findings(grave, ground.check.accepted_findings, at=ground.at)
    counted = found.counted
    kind = f"of severity {limit.severity}" + ("" if limit.severity == "critical" else " or worse")
    if len(counted) > limit.maximum:
        worst_first = sorted(counted, key=lambda one: (-one.severity.rank, one.file, one.rule))
        named = _some([f"{one.rule} in {one.file}" if one.file else one.rule for one in worst_first])
        words = f"{_count(len(counted), 'finding')} {kind}, {limit.maximum} allowed: {named}{found.words()}"
        return Judgement(Verdict.FAILED, words)
    words = f"{_count(len(counted), 'finding') if counted else 'no finding'} {kind}{found.words()}"
    has_coverage_rule = any(rule.coverage is not None for rule in ground.check.rules)
    if not has_coverage_rule and (missing := _uncovered(ground.evidence, ground.given.manifest)):
        return Judgement(Verdict.INCONCLUSIVE, f"{words}, but not looked into: {_some(missing)}")
    return Judgement(Verdict.PASSED, words)


def _judge_table(ground: _Ground, rule: str, wanted: TableRule) -> Judgement:
    found = ground.given.tables.of(rule) if ground.given.tables else None
    if found is None:
        return Judgement(Verdict.ERRORED, f"the expectations over {wanted.table} were not checked")
    if found.error:
        return Judgement(Verdict.ERRORED, found.error)
    if found.problems:
        met = f"{len(found.problems)} of {_count(len(wanted.suite), 'expectation')} over {wanted.table} not met"
        return Judgement(Verdict.FAILED, f"{met}: {_some(list(found.problems))}")
    words = f"all {len(wanted.suite)} expectations" if len(wanted.suite) > 1 else "the expectation"
    return Judgement(Verdict.PASSED, f"{words} over {wanted.table} ({_count(found.rows, 'row')}) met")


def _judge_coverage(evidence: Evidence, manifest: ArtifactManifest) -> Judgement:
    missing = _uncovered(evidence, manifest)
    total = _count(len(manifest.files), "file")
    if missing:
        return Judgement(Verdict.INCONCLUSIVE, f"{len(missing)} of {total} not looked into: {_some(missing)}")
    return Judgement(
        Verdict.PASSED, f"looked into all {total}" if len(manifest.files) > 1 else "looked into the one file"
    )


def _uncovered(evidence: Evidence, manifest: ArtifactManifest) -> list[str]:
    """Files of the manifest that were not covered, each with the validator's note."""
    covered = {one.path for one in evidence.coverage if one.covered}
    notes = {one.path: one.note for one in evidence.coverage if not one.covered}
    return [
        f"{entry.path} ({notes[entry.path]})" if notes.get(entry.path) else entry.path
        for entry in manifest.files
        if entry.path in notes or entry.path not in covered
    ]


def _outcome(check: Check, rule: CheckRule, judged: Judgement, *, evidence: Evidence | None = None) -> RuleOutcome:
    metric = evidence.metric(rule.limit.metric) if evidence and rule.limit else None
    return RuleOutcome(
        rule=rule.id,
        check=check.name,
        title=rule.title,
        verdict=judged.verdict,
        reason=judged.reason[:4000],
        required=rule.required,
        waivable=rule.waivable,
        value=metric.value if metric else None,
        unit=metric.unit if metric else "",
        limit=limit_words(rule.limit) if rule.limit else "",
        baseline=metric.baseline if metric else None,
        device=evidence.device if evidence else Device.NONE,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _some(names: list[str]) -> str:
    rest = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + rest
