"""Evidence out of a report that a validator of somebody's own left: nothing in it is trusted, links least of all."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence, FileCoverage
from model_approval.domain.manifest import manifest_of_folder
from model_approval.validators.contract import MAX_REPORT_BYTES
from model_approval.validators.supervisor import Supervisor, main
from tests.support.models import write_folder
from tests.support.validation import a_validator_input

pytestmark = pytest.mark.unit


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    manifest = manifest_of_folder(write_folder(folder / "artifact", {"a.json": b"{}", "b.json": b"{}"}))
    (folder / "input.json").write_bytes(canonical_json(a_validator_input(manifest=manifest)))
    return folder


def _collect(work: Path, report: object) -> Evidence:
    path = work.parent / "report.json"
    path.write_text(report if isinstance(report, str) else json.dumps(report))
    return Supervisor().collect(work, "model-card", path)


def test_report_becomes_evidence_about_what_was_asked(work: Path) -> None:
    told = a_validator_input()
    evidence = _collect(work, {"coverage": [{"path": "a.json", "covered": True}]})
    assert (evidence.request_id, evidence.check, evidence.image_digest) == (
        told.request_id,
        told.check,
        told.image_digest,
    )
    assert evidence.validator == "model-card"


def test_file_that_the_report_is_silent_about_is_not_covered(work: Path) -> None:
    evidence = _collect(work, {"coverage": [{"path": "a.json", "covered": True}]})
    assert evidence.coverage[0] == FileCoverage(path="a.json", covered=True)
    assert not evidence.coverage[1].covered


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_of_two_entries_about_one_file_the_worse_counts(work: Path, order: tuple[bool, bool]) -> None:
    evidence = _collect(work, {"coverage": [{"path": "a.json", "covered": covered} for covered in order]})
    assert [item.covered for item in evidence.coverage if item.path == "a.json"] == [False]


def test_report_cannot_state_what_only_the_supervisor_knows(work: Path) -> None:
    told = dict.fromkeys(
        [
            "python",
            "kernel",
            "server_image",
            "confinement.seccomp",
            "model_process.confinement.landlock",
            "candidate.kernel",
            "champion.server_image",
            "Confinement.seccomp",
        ],
        "of the report",
    )
    evidence = _collect(work, {"environment": {**told, "acme": "1.2", "pythonic": "yes"}})
    assert evidence.environment == {
        "acme": "1.2",
        "pythonic": "yes",
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


@pytest.mark.parametrize(
    ("report", "told"),
    [
        ("", "report.json"),
        ("{", "report.json"),
        ({"verdict": "passed"}, "verdict: Extra inputs are not permitted"),
        ({"request_id": "pr-of-somebody-else"}, "request_id: Extra inputs are not permitted"),
        ({"metrics": [{"name": "m", "value": "NaN", "unit": "s"}]}, "must be a finite number"),
        ({"findings": [{"rule": "r", "severity": "fatal", "message": "m"}]}, "findings.0.severity"),
    ],
)
def test_report_that_breaks_the_contract_is_an_error_that_names_the_field(
    work: Path, report: object, told: str
) -> None:
    with pytest.raises(EvidenceError, match=told.replace(".", r"\.")):
        _collect(work, report)


def test_report_that_is_missing_says_where_it_must_be(work: Path) -> None:
    with pytest.raises(EvidenceError, match="--report"):
        Supervisor().collect(work, "model-card", work.parent / "missing.json")


def test_link_to_a_secret_is_no_report(work: Path, tmp_path: Path) -> None:
    secret = tmp_path / "upload_url"
    secret.write_text("{}")
    (tmp_path / "report.json").symlink_to(secret)
    with pytest.raises(EvidenceError, match="no report that can be read"):
        Supervisor().collect(work, "model-card", tmp_path / "report.json")


def test_pipe_is_no_report_and_nobody_waits_for_it(work: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "report.json")
    with pytest.raises(EvidenceError, match="no regular file"):
        Supervisor().collect(work, "model-card", tmp_path / "report.json")


def test_flood_is_no_report(work: Path, tmp_path: Path) -> None:
    with (tmp_path / "report.json").open("wb") as stream:
        stream.truncate(MAX_REPORT_BYTES + 1)
    with pytest.raises(EvidenceError, match="longer than"):
        Supervisor().collect(work, "model-card", tmp_path / "report.json")


def test_program_writes_the_collected_evidence(work: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    arguments = ["--work", str(work), "--validator", "model-card", "--collect", str(tmp_path / "report.json")]
    assert main(arguments) == 0
    evidence = Evidence.model_validate_json((work / "evidence.json").read_bytes())
    assert [item.covered for item in evidence.coverage] == [False, False]
