"""The expectations of a policy over the tables that validators brought: checked once a run, kept with the evidence.

Results and Data Docs are locked documents beside the evidence. Whoever evaluates later, when a decision is signed or a
model deployed, reads the same results and does not check again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import ValidationError

from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError
from model_approval.domain.evidence import Evidence, StoredEvidence, TableResult, TableResults
from model_approval.policy.evaluate import last_run
from model_approval.policy.schema import Check, CheckRule, FrozenPolicy, TableRule
from model_approval.ports import Services


def check_tables(
    services: Services, request_id: str, frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]
) -> dict[str, TableResults]:
    """What became of all expectations over tables, by the digest of the evidence that brought the table.

    What was not checked yet is checked now, and kept; only the evaluation that opens the review may do so.

    Raises:
        IntegrityError: What is kept is about other evidence than this.
    """
    found = {}
    for check, stored in _with_expectations(frozen, evidence):
        try:
            results = _kept(services, request_id, stored)
        except NotFoundError:
            results = _check_and_keep(services, request_id, check, stored)
        found[results.evidence_digest] = results
    return found


def kept_table_results(
    services: Services, request_id: str, frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]
) -> dict[str, TableResults]:
    """The same as `check_tables` kept it; checks and writes nothing.

    Raises:
        IntegrityError: Nothing is kept, or it is about other evidence than this.
    """
    found = {}
    for _, stored in _with_expectations(frozen, evidence):
        try:
            results = _kept(services, request_id, stored)
        except NotFoundError as err:
            raise IntegrityError(f"the results over the tables of {stored.check} are gone: {err.message}") from err
        found[results.evidence_digest] = results
    return found


def _with_expectations(
    frozen: FrozenPolicy, evidence: Sequence[StoredEvidence]
) -> Iterator[tuple[Check, StoredEvidence]]:
    for check in frozen.policy.checks:
        stored = last_run(evidence, check.name)
        if stored and stored.evidence and stored.digest and any(rule.expectations for rule in check.rules):
            yield check, stored


def _check_and_keep(services: Services, request_id: str, check: Check, stored: StoredEvidence) -> TableResults:
    assert stored.evidence is not None
    assert stored.digest is not None
    results = TableResults(
        evidence_digest=stored.digest,
        library=services.profiler.library,
        results=tuple(_checked(services, stored, stored.evidence, rule) for rule in check.rules if rule.expectations),
    )
    name = _name(stored)
    try:
        services.evidence.put_document(request_id, name, canonical_json(results), content_type="application/json")
    except IntegrityError:
        # Another evaluation kept its results meanwhile: its pages have other names. Those that are kept count.
        return _kept(services, request_id, stored)
    return results


def _kept(services: Services, request_id: str, stored: StoredEvidence) -> TableResults:
    name = _name(stored)
    return _parsed(services.evidence.get_document(request_id, name), stored, name)


def _name(stored: StoredEvidence) -> str:
    return f"expectations/{stored.check}-{stored.run}.json"


def _parsed(kept: bytes, stored: StoredEvidence, name: str) -> TableResults:
    try:
        results = TableResults.model_validate_json(kept)
    except ValidationError as err:
        raise IntegrityError(f"document {name} of {stored.request_id} cannot be read") from err
    if results.evidence_digest != stored.digest:
        raise IntegrityError(f"document {name} of {stored.request_id} is about {results.evidence_digest}")
    return results


def _checked(services: Services, stored: StoredEvidence, evidence: Evidence, rule: CheckRule) -> TableResult:
    wanted = rule.expectations
    assert wanted is not None
    table = next((one for one in evidence.attachments if one.name == wanted.table), None)
    if table is None or table.media_type != "text/csv":
        held = ", ".join(one.name for one in evidence.attachments if one.media_type == "text/csv") or "none"
        error = f"the evidence brought no table {wanted.table} (tables: {held})"
        return TableResult(rule=rule.id, table=wanted.table, error=error)
    return _kept_with_data_docs(services, stored, rule.id, table.text, wanted)


def _kept_with_data_docs(
    services: Services, stored: StoredEvidence, rule: str, csv: str, wanted: TableRule
) -> TableResult:
    try:
        rows, problems, html = services.profiler.check_table(csv, wanted)
    except EvidenceError as err:
        return TableResult(rule=rule, table=wanted.table, error=err.message)
    # Its digest is in its name: checked twice after a crash, the page differs in its times.
    name = f"data-docs/{stored.check}-{stored.run}-{rule}-{sha256_of(html)[7:19]}.html"
    services.evidence.put_document(stored.request_id, name, html, content_type="text/html; charset=utf-8")
    return TableResult(rule=rule, table=wanted.table, rows=rows, problems=problems, data_docs=name)
