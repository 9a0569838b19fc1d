"""`digest`, `scan`, `benchmark`: what we would say about files that are here, before anybody asks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from pydantic import JsonValue

from model_approval.cli import exchange
from model_approval.cli.output import JsonOption, exit_code, print_json, print_table
from model_approval.domain.errors import EvidenceError, ModelApprovalError
from model_approval.domain.evidence import Evidence, Severity, ValidatorInput, Verdict, worst
from model_approval.domain.manifest import ArtifactManifest, manifest_of_folder
from model_approval.domain.openvex import Accepted

PathArgument = Annotated[Path, typer.Argument(exists=True, help="A file or folder.")]
_LOCAL = "local"


def register(app: typer.Typer) -> None:
    """Put these commands at the top level."""
    app.command("digest")(digest)
    app.command("scan")(scan)
    app.command("benchmark")(benchmark)


def digest(path: PathArgument, as_json: bool = JsonOption) -> None:
    """Print the artifact digest: the one name of these bytes, file names included."""
    manifest = _manifest(path)
    if as_json:
        print_json({"artifact_digest": manifest.artifact_digest, "manifest": manifest.model_dump(mode="json")})
        return
    typer.echo(manifest.artifact_digest)


def scan(
    path: PathArgument,
    timeout_s: Annotated[int, typer.Option(help="Seconds before the scan counts as errored.")] = 3600,
    model: exchange.ModelOption = "",
    osv: exchange.OsvOption = None,
    vex: exchange.VexOption = None,
    vex_output: exchange.VexOutputOption = None,
    sarif: exchange.SarifOption = None,
    sbom: exchange.SbomOption = None,
    as_json: bool = JsonOption,
) -> None:
    """Scan files as the security check does. Exit code: 0 passed, 1 failed, 3 inconclusive or errored."""
    outputs = exchange.Outputs(sarif=sarif, vex=vex_output, sbom=sbom)
    exchange.clear(outputs)
    evidence, error = _run("security_scan", path, timeout_s, exchange.parameters(model=model, osv=osv))
    accepted: dict[str, Accepted] = {}
    if evidence is None:
        exchange.write_breakdown(error, outputs)
    else:
        accepted = exchange.read_statements(vex or (), evidence, artifact=path, model=model)
        exchange.write_documents(evidence, accepted, outputs, model=model)
    verdict = _scan_verdict(evidence, accepted)
    _report("scan", verdict, evidence, error, as_json=as_json, accepted=accepted)


def benchmark(
    path: PathArgument,
    duration_s: Annotated[float, typer.Option(help="Seconds of measuring after the warm-up.")] = 5.0,
    timeout_s: Annotated[int, typer.Option(help="Seconds before the benchmark counts as errored.")] = 600,
    as_json: bool = JsonOption,
) -> None:
    """Measure a model as the performance check does (CPU allowed and labelled). Exit code: 0 measured, 3 not."""
    evidence, error = _run("gpu_benchmark", path, timeout_s, {"duration_s": duration_s})
    usable = evidence is not None and not evidence.limitations and bool(evidence.metrics)
    verdict = Verdict.PASSED if usable else (Verdict.INCONCLUSIVE if evidence else Verdict.ERRORED)
    _report("benchmark", verdict, evidence, error, as_json=as_json)


def _run(
    validator: str, path: Path, timeout_s: int, parameters: Mapping[str, JsonValue]
) -> tuple[Evidence | None, str]:
    from model_approval.wiring import validator_runner

    manifest, runner = _manifest(path), validator_runner()
    request = ValidatorInput(
        request_id=_LOCAL,
        check=validator,
        artifact_digest=manifest.artifact_digest,
        manifest=manifest,
        image_digest=runner.image_digest,
        parameters=dict(parameters),
        allow_cpu=True,
    )
    try:
        return runner.run_on_folder(request, validator, path, champion=None, timeout_s=timeout_s), ""
    except EvidenceError as err:
        return None, str(err)


def _scan_verdict(evidence: Evidence | None, accepted: Mapping[str, Accepted]) -> Verdict:
    """As a policy with the rules *no finding of severity high* and *every file covered* would have it."""
    if evidence is None:
        return Verdict.ERRORED
    counted = [finding for finding in evidence.findings if finding.fingerprint not in accepted]
    bad = any(finding.severity.rank >= Severity.HIGH.rank for finding in counted)
    blind = bool(evidence.limitations) or not all(file.covered for file in evidence.coverage) or not evidence.coverage
    return worst((Verdict.FAILED if bad else Verdict.PASSED, Verdict.INCONCLUSIVE if blind else Verdict.PASSED))


def _report(
    what: str,
    verdict: Verdict,
    evidence: Evidence | None,
    error: str,
    *,
    as_json: bool,
    accepted: Mapping[str, Accepted] | None = None,
) -> None:
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
    if evidence.findings:
        rows = [(f.severity, f.rule, f.file, f.message, f.advice, f.fingerprint) for f in evidence.findings]
        print_table("Findings", ("severity", "rule", "file", "what it means", "what to do", "fingerprint"), rows)
    if evidence.metrics:
        rows_m = [(m.name, f"{m.value:.6g} {m.unit}", m.samples or "") for m in evidence.metrics]
        print_table(f"Metrics on {evidence.device}", ("metric", "value", "samples"), rows_m)
    for file in evidence.coverage:
        if not file.covered:
            typer.echo(f"not covered: {file.path} ({file.format}): {file.note}")
    for limitation in evidence.limitations:
        typer.echo(f"limitation: {limitation}")


def _manifest(path: Path) -> ArtifactManifest:
    try:
        return manifest_of_folder(path)
    except ValueError as err:
        message = f"{path} cannot be an artifact: {err}"
        raise ModelApprovalError(message, hint="rename or remove the file") from err
