"""SARIF: the structure that consumers rely on, and that nothing uncovered ever reads as clean."""

from __future__ import annotations

from typing import Any

import pytest

from model_approval.domain.evidence import Evidence, Finding, Severity
from model_approval.domain.openvex import Accepted, Justification
from model_approval.domain.sarif import broken_log, sarif_log
from tests.support.builders import an_evidence

pytestmark = pytest.mark.unit

INNER = Finding(
    rule="pickle.dangerous-import",
    severity=Severity.CRITICAL,
    file="docs/my model.pt",
    inner="archive/data.pkl",
    offset=17,
    subject="os.system",
    message="loading it imports os.system",
    advice="save it as safetensors",
    engines=("picklescan",),
)
TEXT = Finding(rule="config.code", severity=Severity.HIGH, file="config.json", line=3, message="auto_map")
PLAIN = Finding(rule="licence.unknown", severity=Severity.LOW, message="no licence")
COVERAGE = (
    {"path": "docs/my model.pt", "covered": True, "format": "torch"},
    {"path": "config.json", "covered": True, "format": "json"},
)


def run_of(*findings: Finding, accepted: dict[str, Accepted] | None = None, **changes: Any) -> dict[str, Any]:
    log: Any = sarif_log(evidence_of(*findings, **changes), accepted or {})
    assert (log["version"], len(log["runs"])) == ("2.1.0", 1)
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    return dict(log["runs"][0])


def evidence_of(*findings: Finding, **changes: Any) -> Evidence:
    return an_evidence("security_scan", **{"findings": findings, "coverage": COVERAGE, **changes})


def test_every_result_points_to_its_rule_and_its_artifact():
    run = run_of(INNER, TEXT, PLAIN, TEXT.model_copy(update={"line": 9}))
    rules, artifacts = run["tool"]["driver"]["rules"], run["artifacts"]
    assert len(run["results"]) == 4
    assert len({rule["id"] for rule in rules}) == len(rules) == 3
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["message"]["text"]
        for location in result.get("locations", ()):
            place = location["physicalLocation"]["artifactLocation"]
            assert artifacts[place["index"]]["location"]["uri"] == place["uri"]
            assert place["uriBaseId"] in run["originalUriBaseIds"]


def test_places_are_bytes_in_packed_files_and_lines_in_texts():
    run = run_of(INNER, TEXT, PLAIN)
    packed, text, plain = run["results"]
    place = packed["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "docs/my%20model.pt#archive/data.pkl"
    assert place["region"] == {"byteOffset": 17, "byteLength": 0}
    parent = run["artifacts"][run["artifacts"][place["artifactLocation"]["index"]]["parentIndex"]]
    assert parent["location"]["uri"] == "docs/my%20model.pt"
    assert text["locations"][0]["physicalLocation"]["region"] == {"startLine": 3}
    assert "locations" not in plain


@pytest.mark.parametrize(
    ("severity", "level", "number"),
    [("critical", "error", 9.0), ("high", "error", 7.0), ("medium", "warning", 4.0), ("low", "note", 0.1)],
)
def test_severity_becomes_a_level_and_a_number_of_its_cvss_band(severity, level, number):
    run = run_of(TEXT.model_copy(update={"severity": Severity(severity)}))
    assert run["results"][0]["level"] == level
    assert float(run["results"][0]["properties"]["security-severity"]) >= number
    assert run["tool"]["driver"]["rules"][0]["defaultConfiguration"]["level"] == level


def test_a_rule_says_what_it_means_and_what_to_do():
    (rule,) = run_of(INNER)["tool"]["driver"]["rules"]
    assert rule["help"]["text"] == (
        "Loading the file runs commands, files or code of the sender's choice. What to do: save it as safetensors."
    )
    assert rule["shortDescription"]["text"]
    assert rule["help"]["markdown"]


def test_our_fingerprint_is_the_partial_fingerprint():
    (result,) = run_of(INNER)["results"]
    assert result["partialFingerprints"] == {"modelApproval/mf1": INNER.fingerprint}


def test_the_driver_names_the_rule_set_and_the_scanners_with_their_versions():
    driver = run_of(environment={"picklescan": "1.0.5", "confinement.seccomp": "in force"})["tool"]["driver"]
    assert driver["version"] == "1.0.0"
    assert driver["properties"] == {"picklescan": "1.0.5"}


def test_a_complete_scan_without_findings_is_a_successful_run():
    (invocation,) = run_of()["invocations"]
    assert (invocation["executionSuccessful"], invocation["toolExecutionNotifications"]) == (True, [])
    assert invocation["endTimeUtc"].endswith("Z")


@pytest.mark.parametrize(
    "changes",
    [
        {"coverage": ({"path": "a.bin", "covered": False, "note": "its format is not known"},)},
        {"limitations": ("no database of known vulnerabilities",)},
        {"coverage": ()},
    ],
)
def test_what_was_not_looked_into_never_reads_as_clean(changes):
    (invocation,) = run_of(**changes)["invocations"]
    assert invocation["executionSuccessful"] is False


def test_each_gap_is_a_notification_with_its_file_and_reason():
    gap = {"path": "a.bin", "covered": False, "note": "its format is not known"}
    (note,) = run_of(coverage=(gap,))["invocations"][0]["toolExecutionNotifications"]
    assert note["level"] == "error"
    assert note["message"]["text"] == "a.bin was not fully looked into: its format is not known"
    assert note["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a.bin"


def test_an_accepted_finding_is_suppressed_and_still_there():
    accepted = Accepted(
        TEXT.fingerprint, "ana", "not_affected", Justification.VULNERABLE_CODE_NOT_PRESENT, "the class is in our image"
    )
    first, second = run_of(TEXT, INNER, accepted={TEXT.fingerprint: accepted})["results"]
    assert first["suppressions"] == [
        {"kind": "external", "status": "accepted", "justification": "the class is in our image (ana)"}
    ]
    assert "suppressions" not in second


def test_the_log_of_a_scan_that_broke_is_no_clean_bill():
    log: Any = broken_log("stopped after 5 s")
    (invocation,) = log["runs"][0]["invocations"]
    assert invocation["executionSuccessful"] is False
    assert invocation["toolExecutionNotifications"][0]["message"]["text"] == "stopped after 5 s"
