"""What the JSON API says about evidence beyond the bare records: fingerprints, acceptances, ratios, documents."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, JsonValue

from model_approval.domain.evidence import Finding, Ratio, StoredEvidence, Verdict
from model_approval.policy.schema import FrozenPolicy
from model_review.evidence_view import CheckSection
from model_review.findings_view import FindingRow, finding_rows

_NO_TEXTS = {"evidence": {"attachments": {"__all__": {"text"}}}}
"""Attachments are megabytes; `downloads` says where each can be fetched."""


class Acceptance(BaseModel):
    """Who answers for a finding by the policy."""

    owner: str
    reason: str
    expires: str
    justification: str
    in_force: bool
    """Whether it held when the evidence came home; otherwise the finding counts."""


class FindingFact(BaseModel):
    """One finding of a check's last run."""

    check: str
    run: int
    fingerprint: str
    counts: bool
    """False: accepted, so that no rule counts it."""
    acceptance: Acceptance | None
    finding: Finding


class RatioFact(BaseModel):
    """A rule that compares with the champion by a measured ratio."""

    rule: str
    check: str
    verdict: Verdict
    ratio: Ratio
    words: str


class DownloadFact(BaseModel):
    """A document of a check's last run."""

    check: str
    run: int
    kind: str
    name: str
    media_type: str
    path: str
    """Below the review room's own address."""


def without_texts(evidence: Sequence[StoredEvidence]) -> list[dict[str, JsonValue]]:
    """All runs, their attachments by name and type alone."""
    return [item.model_dump(mode="json", exclude=_NO_TEXTS if item.evidence else None) for item in evidence]


def finding_facts(frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]) -> list[FindingFact]:
    """Every finding that matters now, worst first."""
    return [
        FindingFact(
            check=row.check,
            run=row.run,
            fingerprint=row.finding.fingerprint,
            counts=not row.accepted,
            acceptance=_acceptance(row),
            finding=row.finding,
        )
        for row in finding_rows(frozen, evidence)
    ]


def _acceptance(row: FindingRow) -> Acceptance | None:
    found = row.acceptance
    if found is None:
        return None
    return Acceptance(
        owner=found.owner,
        reason=found.reason,
        expires=found.expires.isoformat(),
        justification=found.justification.value,
        in_force=row.accepted,
    )


def ratio_facts(sections: Sequence[CheckSection]) -> list[RatioFact]:
    """The ratios that rules are judged by."""
    return [
        RatioFact(
            rule=row.outcome.rule,
            check=row.outcome.check,
            verdict=row.outcome.verdict,
            ratio=row.ratio.ratio,
            words=row.ratio.words,
        )
        for section in sections
        for row in section.rows
        if row.ratio is not None
    ]


def download_facts(request_id: str, sections: Sequence[CheckSection]) -> list[DownloadFact]:
    """What can be fetched, and where."""
    return [
        DownloadFact(
            check=item.check,
            run=item.run,
            kind=item.kind.value,
            name=item.name,
            media_type=item.media_type,
            path=f"requests/{request_id}/{item.path}",
        )
        for section in sections
        for item in section.downloads
    ]
