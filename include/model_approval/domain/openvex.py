"""OpenVEX 0.2: statements that a finding does or does not affect an artifact, exchanged with other tools.

A finding is named by its fingerprint, an artifact by its digest, a model by its name. Statements decide nothing by
themselves: `--vex` or a policy says which of them count. A statement file that came inside an artifact never does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from model_approval.domain.base import UtcTime
from model_approval.domain.digests import digest_of
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence, Finding

CONTEXT = "https://openvex.dev/ns/v0.2.0"
_CONTEXT = re.compile(r"https://openvex\.dev/ns(/v0\.2\.[0-9]+)?")
MAX_BYTES = 16 * 1024**2


class Justification(StrEnum):
    """Why a finding does not affect an artifact (OpenVEX 0.2, "Status Justifications")."""

    COMPONENT_NOT_PRESENT = "component_not_present"
    VULNERABLE_CODE_NOT_PRESENT = "vulnerable_code_not_present"
    VULNERABLE_CODE_NOT_IN_EXECUTE_PATH = "vulnerable_code_not_in_execute_path"
    VULNERABLE_CODE_CANNOT_BE_CONTROLLED_BY_ADVERSARY = "vulnerable_code_cannot_be_controlled_by_adversary"
    INLINE_MITIGATIONS_ALREADY_EXIST = "inline_mitigations_already_exist"


Status = Literal["not_affected", "affected", "fixed", "under_investigation"]


class _Foreign(BaseModel):
    """What others wrote: we read what we know, and may not refuse what we do not."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class Vulnerability(_Foreign):
    """What a statement is about; for us the name is a finding's fingerprint or an advisory's id."""

    id: Annotated[str, Field(alias="@id")] = ""
    name: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def names(self) -> frozenset[str]:
        """All names it goes by."""
        return frozenset({self.id, self.name, *self.aliases}) - {""}


class Product(_Foreign):
    """What a statement speaks for."""

    id: Annotated[str, Field(alias="@id")] = ""
    identifiers: dict[str, str] = {}
    hashes: dict[str, str] = {}

    def is_artifact(self, digest: str) -> bool:
        """Whether it is these bytes, and no others."""
        bare = digest.removeprefix("sha256:")
        hashes = {name: value.lower() for name, value in self.hashes.items()}
        return self.id in (digest, artifact_id(digest)) or bare in (hashes.get("sha-256"), hashes.get("sha256"))

    def is_model(self, name: str) -> bool:
        """Whether it is the model of this name, in all its versions."""
        return bool(name) and model_id(name) in (self.id, self.identifiers.get("purl"))


class Statement(_Foreign):
    """One verdict of somebody."""

    vulnerability: Vulnerability
    products: tuple[Product, ...] = ()
    status: Status
    justification: Justification | None = None
    impact_statement: str = ""
    timestamp: UtcTime | None = None

    @model_validator(mode="after")
    def _not_affected_says_why(self) -> Statement:
        if self.status == "not_affected" and not (self.justification or self.impact_statement.strip()):
            raise ValueError("not_affected needs a justification or an impact_statement")
        return self


class Document(_Foreign):
    """A file of statements."""

    context: Annotated[str, Field(alias="@context")]
    author: Annotated[str, Field(min_length=1)]
    timestamp: UtcTime
    statements: Annotated[tuple[Statement, ...], Field(max_length=100_000)]

    @model_validator(mode="after")
    def _is_openvex(self) -> Document:
        if not _CONTEXT.fullmatch(self.context):
            raise ValueError(f"{self.context!r} is not OpenVEX 0.2")
        return self


@dataclass(frozen=True)
class Accepted:
    """A finding that a statement takes back, with who says so and why."""

    fingerprint: str
    author: str
    status: Status
    justification: Justification | None
    impact_statement: str

    @property
    def words(self) -> str:
        """For people: the reason and its author."""
        why = self.impact_statement or (self.justification.replace("_", " ") if self.justification else self.status)
        return f"{why} ({self.author})"


def artifact_id(digest: str) -> str:
    """The product identifier of an artifact."""
    return f"urn:{digest}"


def model_id(name: str) -> str:
    """The product identifier of a model in all its versions, a package URL of type `generic`."""
    return f"pkg:generic/{quote(name, safe='')}"


def parse_document(data: bytes, *, what: str) -> Document:
    """Read a statement file.

    Raises:
        EvidenceError: Too large, no JSON, or not OpenVEX 0.2; names the field.
    """
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"{what}: larger than {MAX_BYTES} bytes")
    try:
        return Document.model_validate_json(data)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(f"{what}: {field or 'the document'}: {first['msg']}") from err


def accepted_by(
    documents: Iterable[Document], findings: Iterable[Finding], *, digest: str, model: str = ""
) -> dict[str, Accepted]:
    """The findings that statements take back, by fingerprint.

    The latest statement about a finding counts, a later `affected` takes an earlier acceptance back. A statement counts
    when its product is exactly this artifact or this model, and its vulnerability the finding's fingerprint.
    """
    latest: dict[str, tuple[datetime, Document, Statement]] = {}
    for document in documents:
        for statement in document.statements:
            if not any(product.is_artifact(digest) or product.is_model(model) for product in statement.products):
                continue
            at = statement.timestamp or document.timestamp
            for name in statement.vulnerability.names:
                if name not in latest or at >= latest[name][0]:
                    latest[name] = (at, document, statement)
    taken = {}
    for finding in findings:
        found = latest.get(finding.fingerprint)
        if found is None or found[2].status not in ("not_affected", "fixed"):
            continue
        _, document, statement = found
        taken[finding.fingerprint] = Accepted(
            finding.fingerprint, document.author, statement.status, statement.justification, statement.impact_statement
        )
    return taken


def vex_document(
    evidence: Evidence, accepted: Mapping[str, Accepted], *, author: str, model: str = ""
) -> dict[str, JsonValue]:
    """The findings of a scan as statements: taken back ones `not_affected` or `fixed`, all others to be looked into.

    The document's id is made of its content and its time is the evidence's, so that the same evidence gives the same
    bytes.
    """
    product: dict[str, JsonValue] = {
        "@id": artifact_id(evidence.artifact_digest),
        "hashes": {"sha-256": evidence.artifact_digest.removeprefix("sha256:")},
    }
    if model:
        product["identifiers"] = {"purl": model_id(model)}
    unique = {finding.fingerprint: finding for finding in evidence.findings}
    statements: list[JsonValue] = [_statement(one, accepted.get(key), product) for key, one in unique.items()]
    moment = evidence.finished_at.isoformat(timespec="seconds").replace("+00:00", "Z")
    body: dict[str, JsonValue] = {"author": author, "timestamp": moment, "version": 1, "statements": statements}
    return {"@context": CONTEXT, "@id": f"urn:model-approval:vex:{digest_of(body)}", **body}


def _statement(finding: Finding, accepted: Accepted | None, product: dict[str, JsonValue]) -> JsonValue:
    # The finding's subject may name advisories; the fingerprint is the one name that accepts exactly this finding.
    vulnerability: dict[str, JsonValue] = {"name": finding.fingerprint, "description": finding.message[:1000]}
    statement: dict[str, JsonValue] = {"vulnerability": vulnerability, "products": [product]}
    if accepted is None:
        where = f"{finding.file}!{finding.inner}" if finding.inner else finding.file
        notes = f"{finding.rule} ({finding.severity})" + (f" in {where}" if where else "")
        return {**statement, "status": "under_investigation", "status_notes": notes}
    statement |= {"status": accepted.status, "status_notes": f"stated by {accepted.author}"}
    if accepted.status == "not_affected" and accepted.justification:
        statement["justification"] = accepted.justification.value
    if accepted.status == "not_affected" and accepted.impact_statement:
        statement["impact_statement"] = accepted.impact_statement
    return statement
