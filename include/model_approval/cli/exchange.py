"""What `scan` takes from other tools and writes for them: OpenVEX in and out, SARIF, the bill of materials."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from model_approval.cli.scan_options import Outputs, lies_inside
from model_approval.domain.errors import EvidenceError, ModelApprovalError
from model_approval.domain.evidence import Evidence
from model_approval.domain.openvex import Accepted, accepted_by, parse_document, vex_document
from model_approval.domain.sarif import broken_log, sarif_log

_AUTHOR = "model-approval scan"
_SBOM = "sbom.cdx.json"


def read_statements(files: Sequence[Path], evidence: Evidence, *, artifact: Path, model: str) -> dict[str, Accepted]:
    """The findings that statement files take back, by fingerprint.

    Raises:
        ModelApprovalError: A file is unreadable, or lies inside of what is scanned: those are the sender's own words.
    """
    documents = []
    for file in files:
        if lies_inside(file, artifact):
            message = f"{file} lies inside of what is scanned: a sender cannot take back findings about itself"
            raise ModelApprovalError(message, hint="review the statements, then keep them outside of the artifact")
        try:
            documents.append(parse_document(file.read_bytes(), what=str(file)))
        except EvidenceError as err:
            raise ModelApprovalError(err.message, hint="mend the OpenVEX file") from err
    return accepted_by(documents, evidence.findings, digest=evidence.artifact_digest, model=model)


def write_documents(evidence: Evidence, accepted: Mapping[str, Accepted], outputs: Outputs, *, model: str) -> None:
    """Write what was asked for. Raises OSError when a file cannot be written."""
    if outputs.sarif:
        _write(outputs.sarif, sarif_log(evidence, accepted))
    if outputs.vex:
        _write(outputs.vex, vex_document(evidence, accepted, author=_AUTHOR, model=model))
    if outputs.sbom:
        made = next((one.text for one in evidence.attachments if one.name == _SBOM), None)
        if made is None:
            raise ModelApprovalError("the scan made no bill of materials", hint="see its limitations")
        outputs.sbom.write_text(made, encoding="utf-8")


def clear(outputs: Outputs) -> None:
    """Remove what an earlier scan left there, so that it is not taken for this one's should this one break."""
    for path in outputs.files:
        path.unlink(missing_ok=True)


def write_breakdown(error: str, outputs: Outputs) -> None:
    """Say in the log that the scan broke; there is nothing to put into the other documents."""
    if outputs.sarif:
        _write(outputs.sarif, broken_log(error))


def accepted_as_json(accepted: Mapping[str, Accepted]) -> list[JsonValue]:
    """For the one JSON document of a scan."""
    return [
        {
            "fingerprint": one.fingerprint,
            "status": one.status,
            "justification": one.justification.value if one.justification else None,
            "impact_statement": one.impact_statement,
            "author": one.author,
        }
        for one in accepted.values()
    ]


def _write(path: Path, document: Mapping[str, JsonValue]) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
