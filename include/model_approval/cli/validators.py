"""`validator check`: does a validator of your own keep the contract?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from model_approval.cli.output import ExitCode, JsonOption, print_json
from model_approval.domain.errors import ModelApprovalError

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def _group() -> None:
    """Validators of your own."""


@app.command("check", context_settings={"allow_interspersed_args": False})
def check(
    command: Annotated[list[str], typer.Argument(help="How to start it, after `--`.")],
    artifact: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="A model to run it over.")] = None,
    parameters: Annotated[str, typer.Option(help="The check's parameters, a JSON object.")] = "{}",
    timeout_s: Annotated[int, typer.Option(help="Seconds for each run.")] = 60,
    as_json: bool = JsonOption,
) -> None:
    """Run a validator over small artifacts; tell which promises of the contract it keeps. Exit code: 0 all, 1 not."""
    from model_approval.validators.conformance import Conformance

    try:
        given = json.loads(parameters)
        if not isinstance(given, dict):
            raise ValueError("not an object")
    except ValueError as err:
        raise ModelApprovalError(f"--parameters is no JSON object: {err}", hint="for example '{\"limit\": 3}'") from err
    answers = Conformance(command, given, timeout_s).answers(artifact)
    if as_json:
        print_json({"conforms": all(one.kept for one in answers), "promises": [vars(one) for one in answers]})
    else:
        for one in answers:
            typer.echo(f"{'kept  ' if one.kept else 'BROKEN'}  {one.promise}{'' if one.kept else f': {one.why}'}")
    raise typer.Exit(ExitCode.YES if all(one.kept for one in answers) else ExitCode.NO)
