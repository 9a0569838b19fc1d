"""What `scan` and `benchmark` say about evidence. Apart from the commands, as importing it takes longer than a scan."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from model_approval.cli import exchange
from model_approval.cli.output import exit_code, print_json, print_table
from model_approval.domain.evidence import Evidence, Finding, Metric, Severity, Verdict, worst
from model_approval.domain.openvex import Accepted


def scan_verdict(evidence: Evidence | None, accepted: Mapping[str, Accepted]) -> Verdict:
    """As a policy with the rules *no finding of severity high* and *every file covered* would have it.

    Missing locks are told and change nothing, as with `confinement: reported`.
    """
    if evidence is None:
        return Verdict.ERRORED
    counted = [finding for finding in evidence.findings if finding.fingerprint not in accepted]
    bad = any(finding.severity.rank >= Severity.HIGH.rank for finding in counted)
    blind = bool(evidence.limitations) or not all(file.covered for file in evidence.coverage) or not evidence.coverage
    return worst((Verdict.FAILED if bad else Verdict.PASSED, Verdict.INCONCLUSIVE if blind else Verdict.PASSED))


def report(
    what: str,
    verdict: Verdict,
    evidence: Evidence | None,
    error: str,
    *,
    as_json: bool,
    accepted: Mapping[str, Accepted] | None = None,
) -> None:
    """Print verdict and evidence, as text or as the one JSON document, and end with the exit code of the verdict."""
    if as_json:
        print_json(
            {
                "verdict": verdict,
                "error": error or None,
                "evidence": evidence.model_dump(mode="json") if evidence else None,
                "fingerprints": [finding.fingerprint for finding in evidence.findings] if evidence else [],
                "accepted": exchange.accepted_as_json(accepted or {}),
            }
        )
    else:
        _print_evidence(evidence)
        for one in (accepted or {}).values():
            typer.echo(f"accepted: {one.fingerprint}: {one.words}")
        typer.echo(f"{what}: {verdict}{': ' + error if error else ''}")
    raise typer.Exit(exit_code(verdict))


def _print_evidence(evidence: Evidence | None) -> None:
    if evidence is None:
        return
    for finding in evidence.findings:
        _print_finding(finding)
    if evidence.metrics:
        rows = [
            (one.name, f"{one.value:.6g} {one.unit}", _interval(one), one.samples or "") for one in evidence.metrics
        ]
        print_table(f"Metrics on {evidence.device}", ("metric", "value", "95 % interval", "samples"), rows)
    for file in evidence.coverage:
        if not file.covered:
            typer.echo(f"not covered: {file.path} ({file.format}): {file.note}")
    for limitation in evidence.limitations:
        typer.echo(f"limitation: {limitation}")
    for name, state in sorted(evidence.environment.items()):
        if "confinement." in name and not state.startswith("in force"):
            typer.echo(f"not locked in: {name}: {state}")


def _print_finding(finding: Finding) -> None:
    place = [finding.inner and f"in {finding.inner}", finding.line is not None and f"line {finding.line}"]
    if finding.offset is not None and finding.line is None:
        place.append(f"byte {finding.offset}")
    where = ", ".join(part for part in place if part)
    typer.echo(f"{finding.severity.upper()} {finding.rule}: {finding.file}{f' ({where})' if where else ''}")
    typer.echo(f"  {finding.message}")
    if finding.advice:
        typer.echo(f"  what to do: {finding.advice}")
    typer.echo(f"  fingerprint: {finding.fingerprint}")


def _interval(metric: Metric) -> str:
    if metric.low is None and metric.high is None:
        return ""
    low, high = (("?" if end is None else f"{end:.6g}") for end in (metric.low, metric.high))
    return f"{low} to {high}"
