"""The options of `scan`. They import no library but typer, so that the scan starts at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from model_approval.domain.errors import ModelApprovalError

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


@dataclass(frozen=True)
class Outputs:
    """Where documents go; None: not asked for."""

    sarif: Path | None = None
    vex: Path | None = None
    sbom: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Those that were asked for."""
        return [path for path in (self.sarif, self.vex, self.sbom) if path]

    def require_apart(self, artifact: Path, statements: Sequence[Path]) -> None:
        """Raises ModelApprovalError when a document would be written over what is read, or over another."""
        read = {path.resolve() for path in statements}
        for path in self.files:
            if lies_inside(path, artifact) or path.resolve() in read:
                raise ModelApprovalError(f"{path} would overwrite what is read", hint="name another file to write")
        if len({path.resolve() for path in self.files}) < len(self.files):
            raise ModelApprovalError("two documents would go to the same file", hint="name a file for each")


def lies_inside(file: Path, artifact: Path) -> bool:
    """Whether a file is what is scanned, or in it."""
    root, real = artifact.resolve(), file.resolve()
    return root == real or root in real.parents


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
