"""`digest`, `scan`, `benchmark`: what we would say about files that are here, before anybody asks.

The validator is started first and everything else imported while it works; see `launch`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_approval.cli import scan_options
from model_approval.cli.launch import Launch
from model_approval.cli.output import JsonOption, print_json

if TYPE_CHECKING:
    from model_approval.domain.evidence import Evidence
    from model_approval.domain.manifest import ArtifactManifest

PathArgument = Annotated[Path, typer.Argument(exists=True, help="A file or folder.")]


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
    model: scan_options.ModelOption = "",
    osv: scan_options.OsvOption = None,
    signed_by: scan_options.SignedByOption = None,
    vex: scan_options.VexOption = None,
    vex_output: scan_options.VexOutputOption = None,
    sarif: scan_options.SarifOption = None,
    sbom: scan_options.SbomOption = None,
    as_json: bool = JsonOption,
) -> None:
    """Scan files as the security check does. Exit code: 0 passed, 1 failed, 3 inconclusive or errored."""
    outputs = scan_options.Outputs(sarif=sarif, vex=vex_output, sbom=sbom)
    outputs.require_apart(path, vex or ())
    parameters = scan_options.parameters(model=model, osv=osv, signed_by=signed_by or ())
    with Launch("security_scan", path, parameters, timeout_s) as launched:
        from model_approval.cli import artifact_report, exchange

        exchange.clear(outputs)
        evidence, error = _evidence(launched)
    if evidence is None:
        exchange.write_breakdown(error, outputs)
        accepted = {}
    else:
        accepted = exchange.read_statements(vex or (), evidence, artifact=path, model=model)
        exchange.write_documents(evidence, accepted, outputs, model=model)
    verdict = artifact_report.scan_verdict(evidence, accepted)
    artifact_report.report("scan", verdict, evidence, error, as_json=as_json, accepted=accepted)


def benchmark(
    path: PathArgument,
    duration_s: Annotated[float, typer.Option(help="Seconds of measuring after the warm-up.")] = 5.0,
    timeout_s: Annotated[int, typer.Option(help="Seconds before the benchmark counts as errored.")] = 600,
    as_json: bool = JsonOption,
) -> None:
    """Measure a model as the performance check does (CPU allowed and labelled). Exit code: 0 measured, 3 not."""
    with Launch("gpu_benchmark", path, {"duration_s": duration_s}, timeout_s) as launched:
        from model_approval.cli import artifact_report
        from model_approval.domain.evidence import Verdict

        evidence, error = _evidence(launched)
    usable = evidence is not None and not evidence.limitations and bool(evidence.metrics)
    verdict = Verdict.PASSED if usable else (Verdict.INCONCLUSIVE if evidence else Verdict.ERRORED)
    artifact_report.report("benchmark", verdict, evidence, error, as_json=as_json)


def _evidence(launched: Launch) -> tuple[Evidence | None, str]:
    from model_approval.domain.errors import EvidenceError

    try:
        return launched.evidence(), ""
    except EvidenceError as err:
        return None, str(err)


def _manifest(path: Path) -> ArtifactManifest:
    from model_approval.domain.errors import ModelApprovalError
    from model_approval.domain.manifest import manifest_of_folder

    try:
        return manifest_of_folder(path)
    except ValueError as err:
        if not any(found.is_file() for found in path.rglob("*")):
            raise ModelApprovalError(f"{path} holds no file", hint="name the folder that holds the model") from err
        message = f"{path} cannot be an artifact: {err}"
        raise ModelApprovalError(message, hint="rename or remove the file") from err
