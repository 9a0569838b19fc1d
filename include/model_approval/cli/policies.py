"""`policy check`, `policy show`: the files an ML Manager edits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_approval.cli.output import ExitCode, JsonOption, print_json
from model_approval.policy.catalog import FileCatalog
from model_approval.settings import load_settings

app = typer.Typer(no_args_is_help=True)
PathArgument = Annotated[
    Path | None, typer.Argument(exists=True, file_okay=False, help="Folder with policies/, committees/, targets/.")
]


@app.command("check")
def check(path: PathArgument = None, as_json: bool = JsonOption) -> None:
    """Read every policy, committee and target. Exit code: 0 all usable, 2 something is wrong."""
    catalog = FileCatalog(path or load_settings().config_dir)
    good, problems = [frozen.policy.name for frozen in catalog.all()], catalog.problems()
    warnings = catalog.lint()
    if as_json:
        print_json({"policies": good, "problems": problems, "warnings": warnings})
    else:
        for problem in problems:
            typer.echo(problem, err=True)
        for warning in warnings:
            typer.echo(f"warning: {warning}", err=True)
        typer.echo(f"{len(good)} policies usable ({', '.join(good) or 'none'}), {len(problems)} problem(s)")
    if problems or not good:
        raise typer.Exit(ExitCode.BAD_INPUT)


@app.command("show")
def show(name: str) -> None:
    """Print one policy as it would be frozen into a request: with its committee, its target and its digest."""
    frozen = FileCatalog(load_settings().config_dir).by_name(name)
    print_json({"digest": frozen.digest, **frozen.model_dump(mode="json", by_alias=True)})
