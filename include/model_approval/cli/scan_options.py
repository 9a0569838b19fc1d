"""The options of `scan`. They import no library but typer, so that the scan starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import JsonValue

SarifOption = Annotated[Path | None, typer.Option("--sarif", help="Write the findings as SARIF 2.1.0 to this file.")]
SbomOption = Annotated[Path | None, typer.Option("--sbom", help="Write the CycloneDX bill of materials to this file.")]
VexOption = Annotated[
    list[Path] | None,
    typer.Option("--vex", exists=True, dir_okay=False, help="OpenVEX statements whose verdicts count; repeatable."),
]
VexOutputOption = Annotated[
    Path | None, typer.Option("--vex-output", help="Write the findings as OpenVEX statements to this file.")
]
ModelOption = Annotated[str, typer.Option("--model", help="The model's name, for statements about all its versions.")]
OsvOption = Annotated[
    Path | None,
    typer.Option(
        "--osv",
        envvar="MODEL_APPROVAL_OSV_DATABASE",
        exists=True,
        help="Known vulnerabilities: an imported database, or an OSV export.",
    ),
]
SignedByOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--signed-by", exists=True, dir_okay=False, help="Public key (PEM) that must have signed; repeatable."
    ),
]


def parameters(*, model: str, osv: Path | None, signed_by: Sequence[Path]) -> dict[str, JsonValue]:
    """The check's parameters, as the options set them."""
    given: dict[str, JsonValue] = {}
    if signed_by:
        given["signature"] = {"required": True, "keys": [path.read_text(errors="replace") for path in signed_by]}
    if model:
        given["model"] = model
    if osv:
        given["vulnerability_database"] = str(osv.resolve())
    return given
