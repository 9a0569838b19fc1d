"""ONNX in the security scan: tricks with external data and operators are found, however deep; memory stays small."""

from __future__ import annotations

import io
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from model_approval.domain.evidence import Evidence, Severity
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.table import ScannerTable
from tests.support.models import a_zip, an_onnx_model
from tests.support.onnx_samples import in_branch, with_external_data, with_function, with_node
from tests.support.validation import coverage_of, evidence_about, findings_in, grave_rules

pytestmark = pytest.mark.contract

_FOREIGN = helper.make_node("Decrypt", ["x"], ["y"], domain="acme")
_RELU = helper.make_node("Relu", ["x"], ["y"])
_PLAIN = an_onnx_model()


def _merged() -> bytes:
    """A second graph field: parsers merge it into the first, viewers may show one of them."""
    return _PLAIN + bytes(onnx.ModelProto(graph=onnx.ModelProto.FromString(_PLAIN).graph).SerializeToString())


def _bad_length() -> bytes:
    model = onnx.ModelProto.FromString(_PLAIN)
    model.graph.initializer[0].raw_data += b"\0\0"
    return bytes(model.SerializeToString())


MALICIOUS: dict[str, tuple[bytes, str, Severity]] = {
    "absolute.onnx": (with_external_data(location="/etc/passwd"), "onnx.external-data", Severity.CRITICAL),
    "parent.onnx": (with_external_data(location="../secret.bin"), "onnx.external-data", Severity.CRITICAL),
    "inner-parent.onnx": (with_external_data(location="a/../../b"), "onnx.external-data", Severity.CRITICAL),
    "backslash.onnx": (with_external_data(location="..\\b"), "onnx.external-data", Severity.CRITICAL),
    "nothing.onnx": (with_external_data(location=""), "onnx.external-data", Severity.CRITICAL),
    "constant.onnx": (
        with_external_data(field="constant", location="../b"), "onnx.external-data", Severity.CRITICAL
    ),
    "gone.onnx": (with_external_data(location="gone.bin"), "onnx.missing-data", Severity.HIGH),
    "beyond.onnx": (
        with_external_data(location="weights.bin", offset="32", length="64"), "onnx.data-bounds", Severity.HIGH
    ),
    "negative.onnx": (with_external_data(location="weights.bin", offset="-8"), "onnx.data-bounds", Severity.HIGH),
    "domain.onnx": (with_node("acme", "Decrypt"), "onnx.custom-operator", Severity.HIGH),
    "branch.onnx": (in_branch(_FOREIGN), "onnx.custom-operator", Severity.HIGH),
    "function.onnx": (with_function("own", "F", calls=_FOREIGN), "onnx.custom-operator", Severity.HIGH),
    "python.onnx": (with_node("com.microsoft", "PyOp"), "onnx.foreign-code", Severity.CRITICAL),
    "shadowed-python.onnx": (
        with_function("com.microsoft", "PythonOp", calls=_RELU), "onnx.foreign-code", Severity.CRITICAL
    ),
    "context.onnx": (
        with_node("com.microsoft", "EPContext", embed_mode=0, ep_cache_context="../driver.bin"),
        "onnx.external-data", Severity.CRITICAL,
    ),
}  # fmt: skip

HONEST: dict[str, bytes] = {
    "good/plain.onnx": _PLAIN,
    "good/whole.onnx": with_external_data(location="weights.bin"),
    "good/part.onnx": with_external_data(location="weights.bin", offset="0", length="64"),
    "good/function.onnx": with_function("own", "F", calls=_RELU),
    "good/branch.onnx": in_branch(_RELU),
    "good/fused.onnx": with_node("com.microsoft", "FastGelu"),
}

DOUBTFUL: dict[str, tuple[bytes, str]] = {
    "unlisted.onnx": (with_node("", "EfficientNMS_TRT"), "EfficientNMS_TRT"),
    "contrib.onnx": (with_node("ai.onnx.contrib", "BertTokenizer"), "ai.onnx.contrib:BertTokenizer"),
    "merged.onnx": (_merged(), "twice"),
    "unknown-field.onnx": (_PLAIN + b"\xea\x07\x03abc", "does not know"),
    "tail.onnx": (_PLAIN + b"\0\0\0\0", "damaged"),
    "length.onnx": (_bad_length(), "does not fit its bytes"),
    "packed.zip": (a_zip({"m.onnx": with_external_data(location="w.bin"), "w.json": b"{}"}), "in the archive"),
    "described-twice.onnx": (with_external_data(location="weights.bin", mirror="x"), "unknown words"),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    files = {name: data for name, (data, *_) in MALICIOUS.items()} | HONEST
    files |= {name: data for name, (data, _) in DOUBTFUL.items()}
    return evidence_about(
        {**files, "weights.bin": bytes(64), "good/weights.bin": bytes(64)}, tmp_path_factory.mktemp("onnx")
    )


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_file_is_found_and_named(evidence: Evidence, name: str) -> None:
    found = {(f.rule, f.severity) for f in findings_in(evidence, name)}
    assert MALICIOUS[name][1:] in found


@pytest.mark.parametrize("path", HONEST)
def test_an_honest_file_is_covered_and_has_no_finding(evidence: Evidence, path: str) -> None:
    coverage = coverage_of(evidence, path)
    assert (coverage.covered, coverage.note, findings_in(evidence, path)) == (True, "", [])


def test_tensor_data_beside_a_model_is_covered_by_it(evidence: Evidence) -> None:
    assert coverage_of(evidence, "good/weights.bin").covered


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_readers_may_take_in_two_ways_is_not_covered(evidence: Evidence, name: str) -> None:
    coverage = coverage_of(evidence, name)
    assert not coverage.covered
    assert DOUBTFUL[name][1] in coverage.note
    assert not grave_rules(evidence, name)


def test_a_standard_operator_that_a_model_redefines_is_worth_a_look(tmp_path: Path) -> None:
    evidence = evidence_about({"shadow.onnx": with_function("ai.onnx", "Relu", calls=_RELU)}, tmp_path)
    assert [(f.rule, f.subject, f.severity) for f in evidence.findings] == [
        ("onnx.shadowed-operator", "Relu", Severity.MEDIUM)
    ]


_DEEP = in_branch(_FOREIGN)


@pytest.mark.fuzz
@settings(max_examples=300, deadline=None)
@given(at=st.integers(2, len(_DEEP) - 1), patch=st.binary(min_size=1, max_size=8), cut=st.integers(0, 40))
def test_any_damage_ends_in_findings_and_gaps_not_in_a_crash(at: int, patch: bytes, cut: int) -> None:
    data = _DEEP[:at] + patch + _DEEP[at + len(patch) : len(_DEEP) - cut]
    scan = FileScan("a.onnx", len(data), ScannerTable(), Path())
    scan.scan(Blob("a.onnx", "", io.BytesIO(data), len(data)))
    assert scan.findings or scan.gaps or scan.format == "onnx"
