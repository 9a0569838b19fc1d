"""SARIF 2.1.0: the findings of a scan for code hosts, editors and dashboards.

An empty list of results reads as *clean* everywhere, so whatever was not looked into is a notification of level error,
and the invocation then says that it was not successful.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import quote

from pydantic import JsonValue

from model_approval.domain.evidence import Evidence, Finding, Severity
from model_approval.domain.openvex import Accepted
from model_approval.domain.rule_words import meaning_of

VERSION = "2.1.0"
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_BASE = "ARTIFACT"
_TOOL = "model-approval security scan"
_FINGERPRINT = "modelApproval/mf1"
_LEVELS = {
    Severity.CRITICAL: ("error", "9.5"),
    Severity.HIGH: ("error", "8.0"),
    Severity.MEDIUM: ("warning", "5.5"),
    Severity.LOW: ("note", "3.0"),
    Severity.INFO: ("note", "0.0"),
}
"""SARIF level, and the number that code hosts sort by: the middle of the CVSS band of that name."""


def sarif_log(evidence: Evidence, accepted: Mapping[str, Accepted]) -> dict[str, JsonValue]:
    """The findings as a SARIF log of one run.

    Args:
        evidence: What the scan reported.
        accepted: Findings that a statement takes back, by fingerprint; they are suppressed results, not left out.
    """
    rules = _rules(evidence.findings)
    numbers = {str(rule["id"]): number for number, rule in enumerate(rules)}
    artifacts = _artifacts(evidence)
    places = {key: number for number, key in enumerate(artifacts)}
    formats = {one.path: one.format for one in reversed(evidence.coverage)}  # of several entries the first counts
    results = [_result(one, numbers, places, accepted.get(one.fingerprint)) for one in evidence.findings]
    run: dict[str, JsonValue] = {
        "tool": {"driver": _driver(evidence, rules)},
        "invocations": [_invocation(evidence)],
        "originalUriBaseIds": {_BASE: {"description": {"text": f"the artifact {evidence.artifact_digest}"}}},
        "artifacts": [_artifact(key, places, formats) for key in artifacts],
        "results": list[JsonValue](results),
        "columnKind": "unicodeCodePoints",
        "automationDetails": {"id": f"{evidence.check}/{evidence.artifact_digest}"},
    }
    return {"$schema": _SCHEMA, "version": VERSION, "runs": [run]}


def broken_log(error: str) -> dict[str, JsonValue]:
    """The log of a scan that broke: no result, and plainly not a clean bill."""
    note: JsonValue = {"level": "error", "descriptor": {"id": "errored"}, "message": {"text": error}}
    run: JsonValue = {
        "tool": {"driver": {"name": _TOOL, "rules": []}},
        "invocations": [{"executionSuccessful": False, "toolExecutionNotifications": [note]}],
        "results": [],
    }
    return {"$schema": _SCHEMA, "version": VERSION, "runs": [run]}


def _driver(evidence: Evidence, rules: Sequence[dict[str, JsonValue]]) -> JsonValue:
    libraries = {name: value for name, value in evidence.environment.items() if not name.startswith("confinement.")}
    return {
        "name": _TOOL,
        "version": evidence.validator_version,
        "rules": list[JsonValue](rules),
        "properties": dict[str, JsonValue](libraries),
    }


def _rules(findings: Sequence[Finding]) -> list[dict[str, JsonValue]]:
    """One entry for each rule that was broken, with the gravest of its findings as default."""
    worst: dict[str, Finding] = {}
    for finding in findings:
        if finding.rule not in worst or finding.severity.rank > worst[finding.rule].severity.rank:
            worst[finding.rule] = finding
    return [_rule(worst[rule]) for rule in sorted(worst)]


def _rule(finding: Finding) -> dict[str, JsonValue]:
    level, number = _LEVELS[finding.severity]
    meaning, advice = meaning_of(finding.rule), finding.advice or "have a reviewer look at it"
    return {
        "id": finding.rule,
        "shortDescription": {"text": meaning},
        "fullDescription": {"text": meaning},
        "help": {"text": f"{meaning} What to do: {advice}.", "markdown": f"{meaning}\n\n**What to do:** {advice}."},
        "defaultConfiguration": {"level": level},
        "properties": {"security-severity": number, "tags": ["security", "machine-learning"]},
    }


def _result(
    finding: Finding, rules: Mapping[str, int], places: Mapping[tuple[str, str], int], accepted: Accepted | None
) -> JsonValue:
    level, number = _LEVELS[finding.severity]
    result: dict[str, JsonValue] = {
        "ruleId": finding.rule,
        "ruleIndex": rules[finding.rule],
        "level": level,
        "message": {"text": finding.message + (f" What to do: {finding.advice}." if finding.advice else "")},
        "partialFingerprints": {_FINGERPRINT: finding.fingerprint},
        "properties": {
            "security-severity": number,
            "severity": finding.severity.value,
            "subject": finding.subject,
            "engines": list[JsonValue](finding.engines),
        },
    }
    if finding.file:
        result["locations"] = [_location(finding, places)]
    if accepted:
        result["suppressions"] = [{"kind": "external", "status": "accepted", "justification": accepted.words}]
    return result


def _location(finding: Finding, places: Mapping[tuple[str, str], int]) -> JsonValue:
    key = (finding.file, finding.inner)
    place: dict[str, JsonValue] = {"artifactLocation": {"uri": _uri(*key), "uriBaseId": _BASE, "index": places[key]}}
    region: dict[str, JsonValue] = {}
    if finding.line is not None and finding.line >= 1:
        region["startLine"] = finding.line
    if finding.offset is not None and finding.offset >= 0:
        region |= {"byteOffset": finding.offset, "byteLength": 0}
    if region:
        place["region"] = region
    location: dict[str, JsonValue] = {"physicalLocation": place}
    if finding.inner:
        name = f"{finding.file}!{finding.inner}"
        location["logicalLocations"] = [{"fullyQualifiedName": name, "kind": "member"}]
    return location


def _artifacts(evidence: Evidence) -> list[tuple[str, str]]:
    """Every file that is named, and every place inside of one, each after the file that holds it."""
    files = {one.file for one in evidence.findings if one.file} | {one.path for one in evidence.coverage}
    inner = {(one.file, one.inner) for one in evidence.findings if one.file and one.inner}
    return [*((file, "") for file in sorted(files)), *sorted(inner)]


def _artifact(key: tuple[str, str], places: Mapping[tuple[str, str], int], formats: Mapping[str, str]) -> JsonValue:
    file, inner = key
    if inner:
        return {"location": {"uri": _uri(file, inner), "uriBaseId": _BASE}, "parentIndex": places[(file, "")]}
    known = formats.get(file, "unknown")
    return {"location": {"uri": _uri(file, ""), "uriBaseId": _BASE}, "properties": {"format": known}}


def _uri(file: str, inner: str) -> str:
    # A fragment, so that a viewer opens the file that is there rather than one that is not.
    return quote(file) + (f"#{quote(inner)}" if inner else "")


def _invocation(evidence: Evidence) -> JsonValue:
    gaps = [one for one in evidence.coverage if not one.covered]
    notes: list[JsonValue] = [
        {
            "level": "error",
            "descriptor": {"id": "not-covered"},
            "message": {"text": f"{one.path} was not fully looked into: {one.note or 'no reason is recorded'}"},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": _uri(one.path, ""), "uriBaseId": _BASE}}}],
        }
        for one in gaps
    ]
    notes += [
        {"level": "error", "descriptor": {"id": "limitation"}, "message": {"text": one}} for one in evidence.limitations
    ]
    return {
        "executionSuccessful": not notes and bool(evidence.coverage),
        "startTimeUtc": _utc(evidence.started_at.isoformat(timespec="milliseconds")),
        "endTimeUtc": _utc(evidence.finished_at.isoformat(timespec="milliseconds")),
        "toolExecutionNotifications": notes,
    }


def _utc(moment: str) -> str:
    return moment.replace("+00:00", "Z")
