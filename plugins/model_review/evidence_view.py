"""What the evidence says, ready to be shown: rules against limits and champion, and changed files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from model_approval.domain.evidence import (
    Device,
    Evidence,
    Metric,
    RuleOutcome,
    StoredEvidence,
    Verdict,
)
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.promotion import Promotion
from model_approval.domain.review import Waiver
from model_approval.policy.evaluate import last_run
from model_approval.policy.schema import CheckRule, FrozenPolicy
from model_review import plots, words
from model_review.downloads import Download, downloads_of
from model_review.measurements import Measurements, RatioView, measurements, ratio_view
from model_review.surroundings import Surroundings, surroundings


@dataclass(frozen=True)
class OutcomeRow:
    """One evaluated rule."""

    outcome: RuleOutcome
    look: words.Look
    value: str
    interval: str
    baseline: str
    change: str
    limit: str
    strip: plots.Strip | None
    ratio: RatioView | None
    """Where the rule compares with the champion by a measured ratio."""
    waiver: Waiver | None
    blocks: bool
    """Whether this rule keeps the request from being approved."""


@dataclass(frozen=True)
class CheckSection:
    """One check with its rules and how its last run went."""

    name: str
    title: str
    facts: str
    """Run number, how long, on what; in words."""
    rows: tuple[OutcomeRow, ...]
    limitations: tuple[str, ...]
    error: str
    evidence_digest: str | None
    measurements: Measurements | None
    surroundings: Surroundings | None
    downloads: tuple[Download, ...]

    @property
    def is_measured(self) -> bool:
        """Whether any rule has a figure, so that columns for figures are worth their room."""
        return any(row.value for row in self.rows)

    @property
    def has_ratio(self) -> bool:
        """Whether any strip shows a ratio, so that its parts are explained."""
        return any(row.ratio for row in self.rows)


@dataclass(frozen=True)
class FileChange:
    """A file that differs from the champion's."""

    word: str
    tone: str
    path: str
    size: str


def latest(evidence: Sequence[StoredEvidence]) -> dict[str, StoredEvidence]:
    """The last run of each check; earlier runs are history."""
    return {check: run for check in {item.check: None for item in evidence} if (run := last_run(evidence, check))}


def check_sections(
    promotion: Promotion,
    frozen: FrozenPolicy,
    evidence: Sequence[StoredEvidence],
    waivers: dict[str, Waiver],
    blocking: Sequence[RuleOutcome],
) -> tuple[CheckSection, ...]:
    """The checks in the policy's order, each with its evaluated rules."""
    runs = latest(evidence)
    sections = []
    for check in frozen.policy.checks:
        run = runs.get(check.name)
        rules = {rule.id: rule for rule in check.rules}
        outcomes = [outcome for outcome in promotion.check_outcomes if outcome.check == check.name]
        sections.append(
            CheckSection(
                name=check.name,
                title=check.name.replace("_", " ").capitalize().replace("Gpu", "GPU"),
                facts=_facts(run),
                rows=tuple(
                    _row(outcome, rules.get(outcome.rule), run.evidence if run else None, waivers, blocking)
                    for outcome in outcomes
                ),
                limitations=tuple(run.evidence.limitations) if run and run.evidence else (),
                error=run.error if run else "",
                evidence_digest=run.digest if run else None,
                measurements=measurements(run.evidence if run else None),
                surroundings=surroundings(run.evidence if run else None),
                downloads=downloads_of(run, outcomes, check) if run else (),
            )
        )
    return tuple(sections)


def intake_rows(
    promotion: Promotion, waivers: dict[str, Waiver], blocking: Sequence[RuleOutcome]
) -> tuple[OutcomeRow, ...]:
    """Intake's rules, those that did not pass first."""
    rows = [_row(outcome, None, None, waivers, blocking) for outcome in promotion.intake_outcomes]
    return tuple(sorted(rows, key=lambda row: row.outcome.verdict is Verdict.PASSED))


def _row(
    outcome: RuleOutcome,
    rule: CheckRule | None,
    evidence: Evidence | None,
    waivers: dict[str, Waiver],
    blocking: Sequence[RuleOutcome],
) -> OutcomeRow:
    waiver, value, baseline = waivers.get(outcome.rule), outcome.value, outcome.baseline
    metric = _metric(rule, evidence)
    interval = _interval(metric)
    compared = ratio_view(rule.limit if rule else None, metric)
    return OutcomeRow(
        outcome=outcome,
        look=words.WAIVED if waiver and outcome.verdict is not Verdict.PASSED else words.VERDICTS[outcome.verdict],
        value=words.number(value, outcome.unit) if value is not None else "",
        interval=f"{words.number(interval[0])} to {words.number(interval[1])}"
        if interval and value is not None
        else "",
        baseline=words.number(baseline, outcome.unit) if baseline is not None else "",
        change=words.change(value, baseline) if value is not None and baseline is not None else "",
        limit=outcome.limit.replace("<=", "\u2264").replace(">=", "\u2265").replace(" x ", " \u00d7 "),
        strip=_strip(rule, value, interval, baseline, compared),
        ratio=compared,
        waiver=waiver,
        blocks=outcome in blocking,
    )


def _strip(
    rule: CheckRule | None,
    value: float | None,
    interval: tuple[float, float] | None,
    baseline: float | None,
    compared: RatioView | None,
) -> plots.Strip | None:
    """The figure on its own scale; a limit that is judged by the ratio is drawn with the ratio instead."""
    if value is None:
        return None
    limits = limits_of(rule, None if compared else baseline)
    if compared and not limits.values:
        return None
    return plots.strip(value, interval=interval, champion=baseline, limits=limits)


def limits_of(rule: CheckRule | None, baseline: float | None) -> plots.Limits:
    """The bounds a rule sets for its figure; relative ones become absolute with the champion's figure."""
    if rule is None or (rule.limit is None and rule.findings is None):
        return plots.Limits()
    if rule.limit is None:
        return plots.Limits(maximum=rule.findings.maximum if rule.findings else None)
    limit = rule.limit
    uppers = [limit.maximum, _times(limit.max_ratio_to_champion, baseline)]
    lowers = [limit.minimum, _times(limit.min_ratio_to_champion, baseline)]
    return plots.Limits(
        minimum=max((bound for bound in lowers if bound is not None), default=None),
        maximum=min((bound for bound in uppers if bound is not None), default=None),
    )


def _times(ratio: float | None, baseline: float | None) -> float | None:
    return ratio * baseline if ratio is not None and baseline is not None else None


def _metric(rule: CheckRule | None, evidence: Evidence | None) -> Metric | None:
    return evidence.metric(rule.limit.metric) if rule and rule.limit and evidence else None


def _interval(metric: Metric | None) -> tuple[float, float] | None:
    if metric is None or metric.low is None or metric.high is None:
        return None
    return metric.low, metric.high


def _facts(run: StoredEvidence | None) -> str:
    if run is None:
        return "has not reported yet"
    facts = [f"run {run.run}"] if run.run > 1 else []
    if run.evidence is None:
        return ", ".join([*facts, "brought no evidence home"])
    facts.append(f"took {words.duration(run.evidence.finished_at - run.evidence.started_at)}")
    if run.evidence.device is not Device.NONE:
        facts.append("on a GPU (CUDA)" if run.evidence.device is Device.CUDA else "on CPU, no GPU")
    facts.append(f"{run.evidence.validator} {run.evidence.validator_version}")
    return ", ".join(facts)


def file_changes(candidate: ArtifactManifest, champion: ArtifactManifest | None) -> tuple[FileChange, ...]:
    """Files that are new, changed or gone against the champion; empty without one."""
    if champion is None:
        return ()
    mine = {entry.path: entry for entry in candidate.files}
    theirs = {entry.path: entry for entry in champion.files}
    changes = []
    for path in sorted(mine.keys() | theirs.keys()):
        if path not in theirs:
            changes.append(FileChange("new", "passed", path, words.size(mine[path].size_bytes)))
        elif path not in mine:
            changes.append(FileChange("removed", "failed", path, words.size(theirs[path].size_bytes)))
        elif mine[path].sha256 != theirs[path].sha256:
            sizes = f"{words.size(theirs[path].size_bytes)} → {words.size(mine[path].size_bytes)}"
            changes.append(FileChange("changed", "attention", path, sizes))
    return tuple(changes)
