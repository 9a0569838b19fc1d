"""How commands answer: one JSON document or a table on standard output, errors on standard error, an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from model_approval.domain.errors import ModelApprovalError
    from model_approval.domain.evidence import Verdict


class ExitCode(IntEnum):
    """What a program may rely on."""

    YES = 0
    NO = 1
    BAD_INPUT = 2
    COULD_NOT_TELL = 3


JsonOption = typer.Option(False, "--json", help="Print one JSON document instead of text.")


def exit_code(verdict: Verdict) -> ExitCode:
    """The exit code of a verdict; only `passed` is a yes."""
    return {"passed": ExitCode.YES, "failed": ExitCode.NO}.get(verdict.value, ExitCode.COULD_NOT_TELL)


def print_json(value: object) -> None:
    """One document, stable key order."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True, default=str) + "\n")


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table as wide as it needs to be; plain text when the output is not a terminal."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_lines=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    console = Console()
    console.print(table, width=None if console.is_terminal else 160)


def print_fields(fields: Mapping[str, object]) -> None:
    """Name and value, one a line."""
    width = max((len(name) for name in fields), default=0)
    for name, value in fields.items():
        typer.echo(f"{name.ljust(width)}  {value}")


def fail(err: ModelApprovalError, code: ExitCode) -> int:
    """Say what went wrong and what to do, on standard error."""
    typer.echo(f"model-approval: {err.code}: {err.message}", err=True)
    if err.hint:
        typer.echo(f"  what to do: {err.hint}", err=True)
    return int(code)
