"""`vulnerabilities import`: an OSV export becomes the database that scans look packages up in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from model_approval.cli.output import JsonOption, print_fields, print_json

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `import` a command of its own name, although it is the only one."""


@app.command("import")
def import_export(
    export: Annotated[Path, typer.Argument(exists=True, help="OSV's PyPI export: a zip, or a folder of records.")],
    index: Annotated[Path, typer.Argument(help="The database to write; replaced whole, once it is complete.")],
    as_json: bool = JsonOption,
) -> None:
    """Index an export. Its date is that of its latest record: scans hold their verdict back once it is too old."""
    from model_approval.validators.supply_chain.vulnerability_database import import_export as index_export

    snapshot = index_export(export, index)
    found = snapshot.model_dump(mode="json")
    if as_json:
        print_json(found)
    else:
        print_fields(found)
