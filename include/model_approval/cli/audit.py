"""`audit verify`, `audit export`: the record, for people who do not have to trust us."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_approval.cli.output import ExitCode, JsonOption, print_json, print_table
from model_approval.stages.audit import pin_heads

app = typer.Typer(no_args_is_help=True)


@app.command("verify")
def verify(
    bundle: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="An exported file; nothing else is read.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--key", exists=True, help="Folder of trusted public keys (PEM), or one key.")
    ] = None,
    heads: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Heads kept from before: shows a cut-off tail.")
    ] = None,
    pin: Annotated[
        Path | None, typer.Option(dir_okay=False, help="Write the heads seen now; keep them elsewhere.")
    ] = None,
    as_json: bool = JsonOption,
) -> None:
    """Verify the audit log, or an exported bundle offline. Exit code: 0 intact, 1 something is wrong with it."""
    from model_approval.wiring import verify_bundle_file, verify_whole_log

    report = verify_bundle_file(bundle, keys, heads) if bundle else verify_whole_log(keys, heads)
    if pin and report.is_sound:
        pin.write_bytes(pin_heads(report.heads))
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        rows = [(p.kind, p.stream, p.sequence if p.sequence is not None else "-", p.message) for p in report.problems]
        if rows:
            print_table("Problems", ("kind", "stream", "entry", "what is wrong"), rows)
        typer.echo(f"{report.entries} entries in {len(report.heads)} streams, {len(report.problems)} problem(s)")
    raise typer.Exit(ExitCode.NO if report.problems else ExitCode.YES)


@app.command("export")
def export(
    request_id: str,
    output: Annotated[Path, typer.Option(dir_okay=False, help="File to write.")],
) -> None:
    """Write one promotion's whole record into a file that can be verified anywhere."""
    from model_approval.wiring import export_record

    output.write_bytes(export_record(request_id))
    typer.echo(f"wrote {output}; verify it with: model-approval audit verify --bundle {output} --key KEY")
