"""Hostile words about origin: whatever an artifact says of itself, the inspection ends in findings, gaps or silence."""

from __future__ import annotations

import json
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from packaging.version import Version

from model_approval.domain.errors import EvidenceError
from model_approval.domain.manifest import manifest_of_folder
from model_approval.domain.openvex import parse_document
from model_approval.domain.scan_parameters import SignatureRules
from model_approval.validators.contract import Task
from model_approval.validators.security_scan.scan import FileScan
from model_approval.validators.supply_chain.advisories import Advisory
from model_approval.validators.supply_chain.bundle import (
    InvalidSignatureError,
    UnknownSignerError,
    verify_bundle,
)
from model_approval.validators.supply_chain.hook import supply_chain
from model_approval.validators.supply_chain.inspection import Inspection
from tests.support.models import write_folder
from tests.support.validation import a_validator_input

pytestmark = [pytest.mark.unit, pytest.mark.fuzz]

WORDS = st.text(max_size=300) | st.sampled_from(
    ["mit", "[a, b]", "&a [*a]", "!!python/object:x.Y {}", "{{", "'", "- - -", ": :", "GPL-3.0 OR", "(((", "\x00", "🎲"]
)
FRONT = st.lists(
    st.tuples(
        st.sampled_from(["license", "license_name", "datasets", "base_model", "pipeline_tag", "model-index"]), WORDS
    ),
    max_size=6,
).map(lambda pairs: "---\n" + "\n".join(f"{key}: {value}" for key, value in pairs) + "\n---\n")


def inspect(files: dict[str, bytes]) -> Inspection:
    with tempfile.TemporaryDirectory() as folder:
        artifact = write_folder(Path(folder) / "model", files)
        manifest = manifest_of_folder(artifact)
        scratch = Path(folder) / "scratch"
        scratch.mkdir()
        task = Task(
            validator="security_scan",
            input=a_validator_input(manifest),
            artifact=str(artifact),
            scratch=str(scratch),
            timeout_s=60,
        )
        scans = [FileScan(entry.path, entry.size_bytes, {}, scratch) for entry in manifest.files]
        inspection = supply_chain(task, scans)
    assert not any("could not be inspected" in one for one in inspection.limitations), inspection.limitations
    return inspection


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=timedelta(seconds=10), max_examples=60)
@given(card=FRONT.map(str.encode) | st.binary(max_size=400), licence=st.binary(max_size=200))
def test_no_card_and_no_licence_text_breaks_the_inspection_or_the_bill(card, licence):
    inspection = inspect({"README.md": card, "LICENSE": licence})
    (bill,) = inspection.attachments
    assert json.loads(bill.text)["bomFormat"] == "CycloneDX"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=timedelta(seconds=10), max_examples=60)
@given(
    requirements=st.lists(WORDS, max_size=8).map(lambda lines: "\n".join(lines).encode()) | st.binary(max_size=300),
    conda=st.lists(WORDS, max_size=8).map(
        lambda lines: ("dependencies:\n" + "\n".join(f"- {line}" for line in lines)).encode()
    ),
)
def test_no_list_of_packages_breaks_the_inspection_and_none_passes_without_a_database(requirements, conda):
    inspection = inspect({"requirements.txt": requirements, "conda.yaml": conda})
    declared = [one for one in json.loads(inspection.attachments[0].text)["components"] if one["type"] == "library"]
    gaps = [gap for scan in inspection.scans.values() for gap in scan.gaps]
    assert gaps or not declared


BUNDLE_KEYS = st.sampled_from(
    ["mediaType", "verificationMaterial", "dsseEnvelope", "signatures", "publicKey", "certificate", "hint"]
)
BUNDLES = st.recursive(
    st.text(max_size=20) | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(BUNDLE_KEYS, inner, max_size=5),
    max_leaves=20,
).map(lambda value: json.dumps(value).encode())


@settings(deadline=timedelta(seconds=10), max_examples=100)
@given(data=st.binary(max_size=300) | BUNDLES)
def test_no_bundle_is_taken_for_a_signature_without_a_key_that_verifies_it(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.sig"
        path.write_bytes(data)
        with pytest.raises((InvalidSignatureError, UnknownSignerError)):
            verify_bundle(path, Path(folder), SignatureRules(), Path(folder))


@settings(deadline=timedelta(seconds=10))
@given(data=st.binary(max_size=300) | WORDS.map(str.encode))
def test_no_bytes_break_the_reading_of_statements(data):
    with pytest.raises(EvidenceError, match=r"^given\.json: "):
        parse_document(data, what="given.json")


VERSIONS = st.builds(lambda parts: ".".join(map(str, parts)), st.lists(st.integers(0, 3), min_size=1, max_size=3))


@given(
    spans=st.lists(st.tuples(VERSIONS, VERSIONS).filter(lambda pair: Version(pair[0]) < Version(pair[1])), max_size=4),
    version=VERSIONS,
)
def test_a_version_is_affected_exactly_when_it_lies_in_one_of_the_spans(spans, version):
    ranges = [[("introduced", low), ("fixed", high)] for low, high in spans]
    advisory = Advisory.model_validate({"id": "X", "severity": "low", "ranges": ranges, "versions": ["99"]})
    inside = any(Version(low) <= Version(version) < Version(high) for low, high in spans)
    assert advisory.affects(Version(version)) is inside


def test_a_bill_that_would_be_too_long_leaves_the_files_out_and_still_counts_them():
    folders = ["x" * 200] * 5
    files = {"/".join([*folders, f"{number}.txt"]): b"x" for number in range(4000)}
    bill = json.loads(inspect(files).attachments[0].text)
    assert bill["components"] == []
    assert {"name": "model-approval:files", "value": "4000"} in bill["metadata"]["component"]["properties"]


def test_a_list_of_very_many_packages_is_cut_and_says_so():
    inspection = inspect({"requirements.txt": b"".join(b"p%d==1\n" % number for number in range(5_001))})
    assert any("more than 5000 packages" in gap for gap in inspection.scans["requirements.txt"].gaps)
