"""What the validators found, ready to be shown: worst first, one entry a rule, accepted findings apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby, islice

from model_approval.domain.evidence import FileCoverage, Finding, Severity, StoredEvidence
from model_approval.domain.rule_words import meaning_of
from model_approval.policy.acceptance import moment_of
from model_approval.policy.evaluate import last_run
from model_approval.policy.schema import AcceptedFinding, FrozenPolicy
from model_review import words

SHOWN_GROUPS = 60
"""Entries on the page, worst first. A scan of a hostile folder may bring 10,000 findings of a thousand rules."""
SHOWN_FILES, SHOWN_IN_FILE = 20, 20
"""Files under one entry, and places in one of them; SARIF, `evidence.json` and the JSON answer hold all."""
SHOWN_PLACES = 1500
"""All places on the page; beyond, each entry still shows one."""
SHOWN_UNCOVERED = 200
_FLAT = 3
"""So many findings of one rule are shown as they are; more are folded up."""


@dataclass(frozen=True)
class FindingRow:
    """One finding and the check that reported it."""

    check: str
    run: int
    finding: Finding
    look: words.Look
    acceptance: AcceptedFinding | None
    """Who answers for it by the policy, whether that is in force or over."""
    accepted: bool
    """Whether the acceptance was in force when the evidence came home, so that the finding does not count."""

    @property
    def position(self) -> str:
        """Line or byte in the file or in what lies inside it; with a space in front, or empty."""
        finding = self.finding
        if finding.line is not None:
            return f" at line {finding.line}"
        return f" at byte {finding.offset}" if finding.offset is not None else ""

    @property
    def engines(self) -> str:
        """Which programs reported it."""
        return words.listed(list(self.finding.engines))


@dataclass(frozen=True)
class FileGroup:
    """Findings of one rule in one file."""

    file: str
    rows: tuple[FindingRow, ...]
    total: int

    @property
    def more(self) -> int:
        """How many are not shown."""
        return self.total - len(self.rows)


@dataclass(frozen=True)
class RuleGroup:
    """Findings of one rule and severity."""

    rule: str
    look: words.Look
    meaning: str
    advice: str
    """What to do, when it is the same for all of them."""
    files: tuple[FileGroup, ...]
    total: int
    files_total: int

    @property
    def is_folded(self) -> bool:
        """Whether its findings are shown on demand only."""
        return self.total > _FLAT

    @property
    def rows(self) -> tuple[FindingRow, ...]:
        """The findings that are shown."""
        return tuple(row for file in self.files for row in file.rows)


@dataclass(frozen=True)
class SeverityCount:
    """How many findings of a severity count."""

    look: words.Look
    number: int


@dataclass(frozen=True)
class Findings:
    """All findings of the latest runs."""

    counts: tuple[SeverityCount, ...]
    groups: tuple[RuleGroup, ...]
    accepted: tuple[RuleGroup, ...]
    total: int
    """Those that count."""
    accepted_total: int
    expired_total: int
    covered: int
    files: int
    uncovered: tuple[FileCoverage, ...]
    uncovered_total: int
    not_shown: int


def finding_rows(frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]) -> tuple[FindingRow, ...]:
    """Every finding of each check's last run with the acceptance that the policy has for it; worst first."""
    found = [row for run, accepted in _runs(frozen, evidence) for row in _rows_of(run, accepted)]
    return tuple(sorted(found, key=_worst_first))


def findings_view(frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]) -> Findings:
    """All findings of each check's last run, and which files were looked into."""
    rows = finding_rows(frozen, evidence)
    counted, accepted = [row for row in rows if not row.accepted], [row for row in rows if row.accepted]
    coverage = [item for run, _ in _runs(frozen, evidence) if run.evidence for item in run.evidence.coverage]
    uncovered = {item.path: item for item in coverage if not item.covered}
    groups, folded = _groups(counted), _groups(accepted)
    shown = sum(len(group.rows) for group in (*groups, *folded))
    return Findings(
        counts=_counts(counted),
        groups=groups,
        accepted=folded,
        total=len(counted),
        accepted_total=len(accepted),
        expired_total=sum(row.acceptance is not None for row in counted),
        # Two checks may look into the same file; a reader counts files.
        covered=len({item.path for item in coverage} - uncovered.keys()),
        files=len({item.path for item in coverage}),
        uncovered=tuple(uncovered.values())[:SHOWN_UNCOVERED],
        uncovered_total=len(uncovered),
        not_shown=len(rows) - shown,
    )


def _runs(
    frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]
) -> Iterator[tuple[StoredEvidence, Mapping[str, AcceptedFinding]]]:
    accepted = {check.name: check.accepted_findings for check in frozen.policy.checks}
    for name in dict.fromkeys(item.check for item in evidence):
        run = last_run(evidence, name)
        if run is not None:
            yield run, {one.fingerprint: one for one in accepted.get(name, ())}


def _rows_of(run: StoredEvidence, accepted: Mapping[str, AcceptedFinding]) -> Iterator[FindingRow]:
    # As the rules were judged: at the moment the evidence came home, not at the moment somebody looks.
    at: datetime = moment_of(run)
    for finding in run.evidence.findings if run.evidence else ():
        acceptance = accepted.get(finding.fingerprint) if accepted else None
        holds = acceptance is not None and acceptance.holds(at)
        yield FindingRow(run.check, run.run, finding, words.SEVERITIES[finding.severity], acceptance, holds)


def _worst_first(row: FindingRow) -> tuple[int, str, str]:
    return -row.finding.severity.rank, row.finding.rule, row.finding.file


def _groups(rows: Iterable[FindingRow]) -> tuple[RuleGroup, ...]:
    """One group for each severity and rule; the rows are sorted by these and by file."""
    by_rule = groupby(rows, key=lambda row: (row.finding.severity, row.finding.rule))
    groups: list[RuleGroup] = []
    left = SHOWN_PLACES
    for (severity, rule), found in islice(by_rule, SHOWN_GROUPS):
        group = _group(severity, rule, tuple(found), most=max(left, 1))
        groups.append(group)
        left -= len(group.rows)
    return tuple(groups)


def _group(severity: Severity, rule: str, rows: tuple[FindingRow, ...], *, most: int) -> RuleGroup:
    advice = {row.finding.advice for row in rows}
    return RuleGroup(
        rule=rule,
        look=words.SEVERITIES[severity],
        meaning=meaning_of(rule),
        advice=next(iter(advice)) if len(advice) == 1 else "",
        files=tuple(_files(rows, most)),
        total=len(rows),
        files_total=len({row.finding.file for row in rows}),
    )


def _files(rows: tuple[FindingRow, ...], most: int) -> Iterator[FileGroup]:
    for file, found in islice(groupby(rows, key=lambda row: row.finding.file), SHOWN_FILES):
        every = tuple(found)
        shown = every[: min(SHOWN_IN_FILE, most)]
        if not shown:
            return
        most -= len(shown)
        yield FileGroup(file, shown, len(every))


def _counts(rows: Iterable[FindingRow]) -> tuple[SeverityCount, ...]:
    found = Counter(row.finding.severity for row in rows)
    worst_first = sorted(found, key=lambda severity: -severity.rank)
    return tuple(SeverityCount(words.SEVERITIES[severity], found[severity]) for severity in worst_first)
