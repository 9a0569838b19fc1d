"""Documents of the evidence, as files to keep: never shown, never run, compared with their digests.

Everything here was written by a validator about somebody else's model, or made of such words. Airflow's own pages live
on this origin, so nothing of it is ever rendered here: it is sent as an attachment, of a type that no browser opens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import JsonValue, ValidationError

from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError, NotFoundError
from model_approval.domain.evidence import Evidence, RuleOutcome, StoredEvidence, TableResults, Verdict
from model_approval.domain.openvex import Accepted, vex_document
from model_approval.domain.promotion import Promotion
from model_approval.domain.sarif import sarif_log
from model_approval.policy.acceptance import moment_of
from model_approval.policy.schema import Check, FrozenPolicy
from model_approval.ports import Services
from model_review import words

OPAQUE = "application/octet-stream"
_SAFE_TYPES = frozenset(
    {"application/json", "application/vnd.cyclonedx+json", "application/sarif+json", "text/csv", "text/plain"}
)
"""What is sent under its own name; a browser renders none of these. Anything else, HTML above all, is opaque."""
_AUTHOR = "model-approval"
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class Kind(StrEnum):
    """What can be fetched of a run; part of the address."""

    EVIDENCE = "evidence.json"
    SARIF = "findings.sarif"
    OPENVEX = "findings.openvex.json"
    ATTACHMENT = "attachments"
    DATA_DOCS = "data-docs"


@dataclass(frozen=True)
class Download:
    """One document of a run, as a list shows it."""

    check: str
    run: int
    kind: Kind
    name: str
    """Of the attachment, or of the rule that the Data Docs are about; empty for the others."""
    label: str
    detail: str
    media_type: str

    @property
    def path(self) -> str:
        """Its address below the request's own."""
        name = f"/{self.name}" if self.name else ""
        return f"evidence/{self.check}/{self.run}/{self.kind}{name}"


@dataclass(frozen=True)
class File:
    """A document with its bytes."""

    file_name: str
    media_type: str
    data: bytes


def downloads_of(run: StoredEvidence, outcomes: Sequence[RuleOutcome], check: Check) -> tuple[Download, ...]:
    """All that can be fetched of one run; reads nothing but what is given."""
    if run.digest is None:
        return ()

    def one(kind: Kind, label: str, detail: str, media_type: str = "application/json", name: str = "") -> Download:
        return Download(run.check, run.run, kind, name, label, detail, media_type)

    found = [one(Kind.EVIDENCE, "evidence.json", "all of it, as the validator wrote it")]
    evidence = run.evidence
    if evidence is None:
        return tuple(found)
    if evidence.findings or evidence.coverage:
        found.append(one(Kind.SARIF, "SARIF", "findings for code hosts and editors", "application/sarif+json"))
        found.append(one(Kind.OPENVEX, "OpenVEX", "findings as statements, accepted ones included"))
    for item in evidence.attachments:
        detail = f"{item.media_type}, {words.size(len(item.text.encode()))}"
        found.append(one(Kind.ATTACHMENT, item.name, detail, sent_as(item.media_type), item.name))
    for rule in _with_data_docs(check, outcomes):
        found.append(one(Kind.DATA_DOCS, f"Data Docs of {rule}", "HTML, to be opened from your disk", OPAQUE, rule))
    return tuple(found)


def _with_data_docs(check: Check, outcomes: Sequence[RuleOutcome]) -> list[str]:
    """Rules over tables that were really checked: one that could not be has no page."""
    checked = {one.rule for one in outcomes if one.check == check.name and one.verdict is not Verdict.ERRORED}
    return [rule.id for rule in check.rules if rule.expectations is not None and rule.id in checked]


def sent_as(media_type: str) -> str:
    """The type that a document is sent as."""
    return media_type if media_type in _SAFE_TYPES else OPAQUE


@dataclass(frozen=True)
class Wanted:
    """What somebody asks for, as the address says; nothing of it is trusted."""

    check: str
    run: str
    kind: Kind
    name: str = ""


@dataclass(frozen=True)
class _Source:
    """A run whose bytes were read from the locked store and are those that were recorded."""

    services: Services
    promotion: Promotion
    frozen: FrozenPolicy
    stored: StoredEvidence
    raw: bytes

    @property
    def evidence(self) -> Evidence:
        """Parsed from the very bytes that were verified, not from the database."""
        if self.stored.evidence is None:
            raise NotFoundError(f"{self.what} could not be read as evidence: {self.stored.error}")
        try:
            return Evidence.model_validate_json(self.raw)
        except ValidationError as err:
            raise IntegrityError(f"{self.what} cannot be read, though it could when it came home") from err

    @property
    def what(self) -> str:
        """For messages."""
        return f"the evidence of {self.stored.check}, run {self.stored.run}"

    @property
    def accepted(self) -> dict[str, Accepted]:
        """Findings that the policy accepted at the moment the evidence came home."""
        at = moment_of(self.stored)
        checks = [check for check in self.frozen.policy.checks if check.name == self.stored.check]
        return {
            one.fingerprint: Accepted(one.fingerprint, one.owner, "not_affected", one.justification, one.reason)
            for check in checks
            for one in check.accepted_findings
            if one.holds(at)
        }


def read_download(services: Services, request_id: str, wanted: Wanted) -> File:
    """Fetch one document.

    Raises:
        NotFoundError: No such request, run, attachment or page.
        IntegrityError: The bytes are not those that were recorded.
        OutsideSystemError: The store cannot be reached.
    """
    promotion = services.reviews.get(request_id)
    # The address only chooses among what is recorded; no part of it becomes part of a key in the store.
    runs = services.reviews.evidence(request_id)
    stored = next((run for run in runs if (run.check, str(run.run)) == (wanted.check, wanted.run)), None)
    if stored is None:
        raise NotFoundError(f"{request_id} has no such run of such a check", hint="the request's page lists all runs")
    if stored.digest is None:
        raise NotFoundError(f"{stored.check}, run {stored.run}, brought no evidence home: {stored.error}")
    raw = services.evidence.read(request_id, stored.check, stored.run)
    if raw is None or sha256_of(raw) != stored.digest:
        found = "gone" if raw is None else sha256_of(raw)
        raise IntegrityError(
            f"the evidence of {stored.check}, run {stored.run}, is not what came home: {stored.digest}, now {found}",
            hint="do not decide on this request; show this to whoever keeps the evidence store",
        )
    frozen = services.reviews.policy(promotion.request.policy_digest)
    return _READERS[wanted.kind](_Source(services, promotion, frozen, stored, raw), wanted.name)


def _evidence(source: _Source, name: str) -> File:
    return File(_named(source, "evidence.json"), "application/json", source.raw)


def _sarif(source: _Source, name: str) -> File:
    log = sarif_log(source.evidence, source.accepted)
    return File(_named(source, "findings.sarif"), "application/sarif+json", _as_json(log))


def _openvex(source: _Source, name: str) -> File:
    made = vex_document(source.evidence, source.accepted, author=_AUTHOR, model=source.promotion.request.model)
    return File(_named(source, "findings.openvex.json"), "application/json", _as_json(made))


def _attachment(source: _Source, name: str) -> File:
    found = next((one for one in source.evidence.attachments if one.name == name), None)
    if found is None:
        raise NotFoundError(f"{source.what} has no such attachment", hint="the request's page lists all of them")
    return File(_named(source, found.name), sent_as(found.media_type), found.text.encode())


def _data_docs(source: _Source, rule: str) -> File:
    stored, request_id = source.stored, source.promotion.id
    kept = source.services.evidence.get_document(request_id, f"expectations/{stored.check}-{stored.run}.json")
    try:
        results = TableResults.model_validate_json(kept)
    except ValidationError as err:
        raise IntegrityError(f"the results over tables of {stored.check}, run {stored.run}, cannot be read") from err
    if results.evidence_digest != stored.digest:
        raise IntegrityError(f"the results over tables are about {results.evidence_digest}, not about {stored.digest}")
    result = results.of(rule)
    if result is None or not result.data_docs:
        raise NotFoundError(f"{source.what} has no Data Docs of such a rule")
    return File(_named(source, f"{result.rule}.html"), OPAQUE, _verified_page(source, result.rule, result.data_docs))


def _verified_page(source: _Source, rule: str, name: str) -> bytes:
    """The page, whose name must be the one that `stages/tables.py` gives it: with the digest of its bytes."""
    stored = source.stored
    expected = re.fullmatch(
        rf"data-docs/{re.escape(f'{stored.check}-{stored.run}-{rule}')}-(?P<digest>[0-9a-f]{{12}})\.html", name
    )
    if expected is None:
        raise IntegrityError(f"the Data Docs of {rule} have another name than they were given")
    html = source.services.evidence.get_document(source.promotion.id, name)
    if sha256_of(html)[7:19] != expected["digest"]:
        raise IntegrityError(f"the Data Docs of {rule} are not the page that was kept")
    return html


def _as_json(document: Mapping[str, JsonValue]) -> bytes:
    return (json.dumps(document, indent=2) + "\n").encode()


def _named(source: _Source, name: str) -> str:
    """A file name that tells runs apart on somebody's disk, of harmless characters alone."""
    whole = f"{source.stored.check}-{source.stored.run}-{name}"
    return whole if _FILE_NAME.fullmatch(whole) else f"{source.stored.check}-{source.stored.run}-document"


_READERS: Mapping[Kind, Callable[[_Source, str], File]] = {
    Kind.EVIDENCE: _evidence,
    Kind.SARIF: _sarif,
    Kind.OPENVEX: _openvex,
    Kind.ATTACHMENT: _attachment,
    Kind.DATA_DOCS: _data_docs,
}
