"""Licences and the bill of materials, made by the real validator and checked by CycloneDX's own one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from model_approval.domain.evidence import Evidence
from tests.support.validation import PYTHON, evidence_about

pytestmark = pytest.mark.contract

CARD = b"""---
license: apache-2.0
model_name: Fraud scorer
pipeline_tag: tabular-classification
library_name: sklearn
datasets:
- transactions-2025
- "transactions: 2026"
base_model: encoder/small
language: [en, de]
---
# Fraud scorer
"""
REQUIREMENTS = b"pydantic==2.11.0\nnumpy>=2\n\nNumPy>=2\n"
MIT = b"""MIT License

Permission is hereby granted, free of charge, to any person
obtaining a copy ... The above copyright notice and this permission notice
shall be included in all copies or substantial portions of the Software.
"""
_VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
problem = JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read())
sys.exit(str(problem) if problem else 0)
"""


def scan(files: dict[str, bytes], folder: Path, **parameters: Any) -> Evidence:
    return evidence_about(files, folder, parameters=parameters)


def bill_of(evidence: Evidence) -> dict[str, Any]:
    (attachment,) = [one for one in evidence.attachments if one.name == "sbom.cdx.json"]
    done = subprocess.run(
        [str(PYTHON), "-I", "-c", _VALIDATE],
        input=attachment.text,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(attachment.text))


def licence_findings(evidence: Evidence) -> list[tuple[str, str, str]]:
    return [(f.rule, f.severity, f.file) for f in evidence.findings if f.rule.startswith("licence.")]


def test_a_bill_is_valid_and_names_model_files_data_and_libraries(tmp_path):
    files = {"README.md": CARD, "requirements.txt": REQUIREMENTS, "weights.json": b"[1, 2]"}
    evidence = scan(files, tmp_path, model_version="7")
    bill = bill_of(evidence)
    model = bill["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "Fraud scorer", "7")
    assert model["licenses"] == [{"expression": "Apache-2.0"}]
    assert model["modelCard"]["modelParameters"]["task"] == "tabular-classification"
    assert {"name": "model-approval:artifact-digest", "value": evidence.artifact_digest} in model["properties"]
    assert [one["name"] for one in model["pedigree"]["ancestors"]] == ["encoder/small"]
    parts = {(one["type"], one["name"], one.get("version")) for one in bill["components"]}
    assert parts == {
        ("file", "README.md", None),
        ("file", "requirements.txt", None),
        ("file", "weights.json", None),
        ("data", "transactions-2025", None),
        ("data", "transactions: 2026", None),
        ("library", "pydantic", "2.11.0"),
        ("library", "numpy", None),
    }
    assert bill["dependencies"] == [{"ref": "model", "dependsOn": ["pkg:pypi/numpy", "pkg:pypi/pydantic@2.11.0"]}]
    assert all(len(one["hashes"][0]["content"]) == 64 for one in bill["components"] if one["type"] == "file")


def test_the_same_model_has_the_same_bill_and_another_one_has_another(tmp_path):
    first, again = scan({"a.json": b"1"}, tmp_path / "a"), scan({"a.json": b"1"}, tmp_path / "b")
    other = scan({"a.json": b"2"}, tmp_path / "c")
    assert first.attachments == again.attachments
    assert bill_of(first)["serialNumber"] != bill_of(other)["serialNumber"]


def test_hostile_words_of_a_card_stay_words_in_a_valid_bill(tmp_path):
    card = b'---\nlicense: "</x> \\u0000 \' OR 1"\ndatasets: ["a\\nb", "\xc3\xa9"]\npipeline_tag: "../../etc"\n---\n'
    bill = bill_of(scan({"README.md": card}, tmp_path))
    assert bill["metadata"]["component"]["modelCard"]["modelParameters"]["task"] == "../../etc"


def test_front_matter_that_is_no_yaml_is_a_gap_and_the_bill_stays_valid(tmp_path):
    evidence = scan({"README.md": b'---\nlicense: mit\ndatasets: ["\\ud800"]\n---\n'}, tmp_path)
    assert [file.path for file in evidence.coverage if not file.covered] == ["README.md"]
    assert bill_of(evidence)["metadata"]["component"]["name"] == "unnamed"


def test_a_single_file_has_a_bill_too(tmp_path):
    evidence = scan({"weights.json": b"[1]"}, tmp_path)
    assert [one["name"] for one in bill_of(evidence)["components"]] == ["weights.json"]


@pytest.mark.parametrize(
    ("front", "expression"),
    [
        ("license: mit", "MIT"),
        ("license: [mit, apache-2.0]", "MIT AND Apache-2.0"),
        ("license: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        ("license: LicenseRef-own", "LicenseRef-own"),
        ("license: other\nlicense_name: llama3", "llama3"),
        ("license: openrail", "openrail"),
        ("tags: [x]", "none"),
    ],
)
def test_what_a_card_declares_is_read_as_spdx_where_it_is(tmp_path, front, expression):
    evidence = scan({"README.md": f"---\n{front}\n---\n".encode()}, tmp_path)
    assert evidence.environment["licence"] == expression
    unknown = expression in ("llama3", "openrail")
    assert licence_findings(evidence) == ([("licence.unknown", "low", "README.md")] if unknown else [])
    bill_of(evidence)


def test_a_licence_text_stands_in_where_nothing_is_declared(tmp_path):
    evidence = scan({"LICENSE": MIT, "a.json": b"1"}, tmp_path)
    assert (evidence.environment["licence"], licence_findings(evidence)) == ("MIT", [])


def test_a_text_that_contradicts_the_card_is_a_finding(tmp_path):
    evidence = scan({"LICENSE": MIT, "README.md": CARD}, tmp_path)
    assert licence_findings(evidence) == [("licence.conflict", "medium", "LICENSE")]


def test_a_text_that_nobody_knows_is_a_finding(tmp_path):
    evidence = scan({"LICENSE.txt": b"You may, on Tuesdays.\n"}, tmp_path)
    assert licence_findings(evidence) == [("licence.unknown", "low", "LICENSE.txt")]


@pytest.mark.parametrize(
    ("declared", "allowed", "fine"),
    [
        ("apache-2.0", ["Apache-2.0"], True),
        ("apache-2.0", ["mit"], False),
        ("GPL-3.0-only OR MIT", ["MIT"], True),
        ("GPL-3.0-only AND MIT", ["MIT"], False),
        ("(GPL-3.0-only OR MIT) AND BSD-3-Clause", ["MIT", "BSD-3-Clause"], True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2.0-only"], False),
        ("openrail", ["MIT"], False),
        ("openrail", ["openrail"], True),
    ],
)
def test_only_allowed_licences_pass_where_the_check_lists_them(tmp_path, declared, allowed, fine):
    evidence = scan({"README.md": f"---\nlicense: {declared}\n---\n".encode()}, tmp_path, licences=allowed)
    assert (("licence.not-allowed", "high", "README.md") not in licence_findings(evidence)) is fine
    assert evidence.limitations == ()


def test_a_licence_that_could_not_be_established_is_a_limitation_where_one_is_asked_for(tmp_path):
    evidence = scan({"a.json": b"1"}, tmp_path, licences=["MIT"])
    assert "licence could not be established" in evidence.limitations[0]
    assert licence_findings(evidence) == []
