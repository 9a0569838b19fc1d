"""Declared dependencies against known vulnerabilities, through the real validator in its confinement."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from model_approval.adapters.local_validators import LocalValidatorRunner
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence
from model_approval.domain.manifest import manifest_of_folder
from model_approval.validators.supply_chain.vulnerability_database import import_export
from tests.support.advisories import an_advisory, an_affected, write_export
from tests.support.models import write_folder
from tests.support.validation import PYTHON, a_validator_input, evidence_about

pytestmark = pytest.mark.contract


@pytest.fixture
def database(tmp_path: Path) -> Path:
    records = (
        an_advisory(),
        an_advisory(id="PYSEC-2026-9", aliases=["CVE-2026-1", "GHSA-aaaa"], database_specific={}),
        an_advisory(id="MAL-2026-1", aliases=[], affected=[an_affected(name="leftpad")]),
        an_advisory(id="GHSA-cccc", aliases=[], affected=[an_affected({"introduced": "first"}, name="oddball")]),
    )
    import_export(write_export(tmp_path / "all.zip", *records), tmp_path / "pypi.sqlite")
    return tmp_path / "pypi.sqlite"


def scan(text: str, tmp_path: Path, database: Path | None, *, name: str = "requirements.txt", **more: Any) -> Evidence:
    parameters = {**({"vulnerability_database": str(database)} if database else {}), **more}
    return evidence_about({name: text.encode()}, tmp_path, parameters=parameters)


def notes(evidence: Evidence) -> str:
    (file,) = evidence.coverage
    return "" if file.covered else file.note


def dependency_findings(evidence: Evidence) -> list[tuple[str, str, str]]:
    looked_up = ("dependency.vulnerable", "dependency.malicious")
    return [(f.rule, f.severity, f.subject) for f in evidence.findings if f.rule in looked_up]


def test_a_known_flaw_is_reported_once_under_all_its_names_with_the_worst_severity(tmp_path, database):
    evidence = scan("numpy==2.0.0\nLeft-Pad==1.2\n", tmp_path, database)
    assert dependency_findings(evidence) == [("dependency.vulnerable", "high", "left-pad 1.2 CVE-2026-1")]
    (finding,) = [f for f in evidence.findings if f.rule == "dependency.vulnerable"]
    assert "also GHSA-aaaa, PYSEC-2026-9" in finding.message
    assert (finding.line, finding.advice) == (2, "declare a version with the fix (1.3)")
    assert notes(evidence) == ""


def test_exact_versions_without_known_flaws_are_covered_and_the_snapshot_is_named(tmp_path, database):
    evidence = scan("left-pad==1.3\n", tmp_path, database)
    assert (dependency_findings(evidence), notes(evidence)) == ([], "")
    assert evidence.environment["vulnerability_database"].endswith("4 advisories")


def test_a_package_known_to_be_malicious_is_critical(tmp_path, database):
    evidence = scan("leftpad==1.1\n", tmp_path, database)
    assert dependency_findings(evidence) == [("dependency.malicious", "critical", "leftpad 1.1 MAL-2026-1")]


@pytest.mark.parametrize("line", ["left-pad", "left-pad>=1.3", "left-pad~=1.3", "left-pad==1.*"])
def test_a_version_left_open_is_not_looked_up_and_named(tmp_path, database, line):
    evidence = scan(f"{line}\nnumpy==2.0\n", tmp_path, database)
    assert "no exact version: left-pad" in notes(evidence)
    assert "numpy" not in notes(evidence)


@pytest.mark.parametrize("line", ["https://example.org/x.whl", "-e .", "-r more.txt", "git+https://example.org/x"])
def test_what_comes_from_elsewhere_is_not_looked_up_and_named(tmp_path, database, line):
    assert "not named with a version" in notes(scan(f"numpy==2.0\n{line}\n", tmp_path, database))


def test_a_list_that_lies_beside_is_read_itself(tmp_path, database):
    files = {"requirements.txt": b"-r requirements-more.txt\n", "requirements-more.txt": b"left-pad==1.2\n"}
    evidence = evidence_about(files, tmp_path, parameters={"vulnerability_database": str(database)})
    assert [file.path for file in evidence.coverage if not file.covered] == []
    assert [f.file for f in evidence.findings if f.rule == "dependency.vulnerable"] == ["requirements-more.txt"]


def test_a_record_that_cannot_be_evaluated_is_a_gap(tmp_path, database):
    assert "oddball 1.0 has GHSA-cccc cannot be told" in notes(scan("oddball==1.0\n", tmp_path, database))


def test_without_a_database_declared_packages_are_a_gap_that_says_what_to_do(tmp_path):
    evidence = scan("numpy==2.0\nscipy==1.0\n", tmp_path, None)
    assert "declares 2 packages" in notes(evidence)
    assert "--osv" in notes(evidence)
    assert evidence.environment["vulnerability_database"] == "none"


def test_without_declared_packages_no_database_is_needed(tmp_path):
    assert notes(scan("hello\n", tmp_path, None, name="notes.txt")) == ""


def test_an_old_database_still_finds_and_is_a_gap_with_its_age(tmp_path):
    old = write_export(tmp_path / "old.zip", an_advisory(modified="2025-01-01T00:00:00Z"))
    evidence = scan("left-pad==1.2\n", tmp_path, old)
    assert len(dependency_findings(evidence)) == 1
    assert "the database is of 2025-01-01" in notes(evidence)
    assert notes(scan("left-pad==1.2\n", tmp_path / "b", old, max_database_age_days=3650)) == ""


def test_conda_environments_are_looked_up_by_name_and_stay_a_gap(tmp_path, database):
    text = "channels: [conda-forge]\ndependencies:\n- python=3.11\n- pip<=24\n- pip:\n  - left-pad==1.2\n"
    evidence = scan(text, tmp_path, database, name="conda.yaml")
    assert len(dependency_findings(evidence)) == 1
    assert notes(evidence) == ""
    text = text.replace("- pip:", "- scipy=1.14.0\n- pip:")
    assert "conda's own packages: scipy" in notes(scan(text, tmp_path / "b", database, name="conda.yaml"))


def test_the_database_of_the_installation_is_used_where_the_policy_names_none(tmp_path, database):
    artifact = write_folder(tmp_path / "model", {"requirements.txt": b"left-pad==1.3\n"})
    runner = LocalValidatorRunner(PYTHON, osv_database=database)
    given = a_validator_input(manifest_of_folder(artifact))
    evidence = runner.run_on_folder(given, "security_scan", artifact, champion=None, timeout_s=120)
    assert evidence.environment["vulnerability_database"].endswith("4 advisories")


def test_a_database_that_was_named_and_is_not_there_breaks_the_check(tmp_path):
    with pytest.raises(EvidenceError, match="does not exist"):
        scan("numpy==2.0\n", tmp_path, tmp_path / "missing.sqlite")
