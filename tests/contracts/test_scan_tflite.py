"""TensorFlow Lite in the security scan: foreign operators and wrong indices are found, appended labels are read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.evidence import Evidence
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.table import ScannerTable
from tests.support.models import a_pickle_that_calls
from tests.support.tflite_samples import Wide, a_tflite_model, operator, operator_code, tensor
from tests.support.validation import coverage_of, evidence_about, findings_in, grave_rules

pytestmark = pytest.mark.contract


def _with_files(model: bytes, **files: bytes) -> bytes:
    """Files appended the way TensorFlow Lite's metadata writer does."""
    memory = io.BytesIO(model)
    with zipfile.ZipFile(memory, "a") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_txt", ".txt"), data)
    return memory.getvalue()


_PLAIN = a_tflite_model()

MALICIOUS: dict[str, tuple[bytes, str]] = {
    "custom.tflite": (a_tflite_model(operator_code("AcmeShell")), "tflite.custom-operator"),
    "unused.tflite": (a_tflite_model(operator_code(builtin=9), operator_code("Evil")), "tflite.custom-operator"),
    "flex.tflite": (a_tflite_model(operator_code("FlexPyFunc")), "tensorflow.code"),
    "flex-read.tflite": (a_tflite_model(operator_code("FlexReadFile")), "tensorflow.reads-files"),
    "builtin.tflite": (a_tflite_model(operator_code(builtin=40_000)), "tflite.bounds"),
    "code.tflite": (a_tflite_model(operators=[operator(code=7)]), "tflite.bounds"),
    "tensor.tflite": (a_tflite_model(operators=[operator(inputs=[99])]), "tflite.bounds"),
    "negative.tflite": (a_tflite_model(operators=[operator(outputs=[-5])]), "tflite.bounds"),
    "buffer.tflite": (a_tflite_model(tensors=[tensor(buffer=5), tensor()]), "tflite.bounds"),
    "shape.tflite": (a_tflite_model(tensors=[tensor(shape=[-8]), tensor()]), "tflite.bounds"),
    "far-buffer.tflite": (a_tflite_model(more={4: [{}, {1: Wide(2**40), 2: Wide(64)}]}), "tflite.bounds"),
    "outside.tflite": (a_tflite_model(more={8: [{0: "../../w.bin"}]}), "tflite.external-data"),
    "label.tflite": (_with_files(_PLAIN, a_txt=a_pickle_that_calls("posix", "system")), "pickle.dangerous-import"),
    "escape.tflite": (_with_files(_PLAIN, **{"..__..__x_txt": b"a"}), "tflite.external-data"),
}

HONEST: dict[str, bytes] = {
    "good/plain.tflite": _PLAIN,
    "good/optional.tflite": a_tflite_model(operators=[operator(inputs=[0, -1])]),
    "good/detection.tflite": a_tflite_model(operator_code("TFLite_Detection_PostProcess")),
    "good/labels.tflite": _with_files(_PLAIN, labels_txt=b"cat\ndog\n"),
    "good/padded.tflite": _PLAIN + bytes(8),
}

DOUBTFUL: dict[str, tuple[bytes, str]] = {
    "text.tflite": (a_tflite_model(operator_code("TFText>Tokenize")), "TFText"),
    "tail.tflite": (_PLAIN + b"\1" * 100, "belong to nothing"),
    "cut.tflite": (_PLAIN[:-20], "damaged"),
    "beside.tflite": (a_tflite_model(more={8: [{0: "w.bin"}]}), "w.bin"),
    "before-labels.tflite": (_with_files(_PLAIN + b"\1" * 200, labels_txt=b"cat\n"), "the model ends at"),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    files = HONEST | {name: data for name, (data, _) in (MALICIOUS | DOUBTFUL).items()}
    return evidence_about(files, tmp_path_factory.mktemp("tflite"))


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_file_is_found_and_named(evidence: Evidence, name: str) -> None:
    assert MALICIOUS[name][1] in grave_rules(evidence, name)


@pytest.mark.parametrize("path", HONEST)
def test_an_honest_file_is_covered_and_has_no_finding(evidence: Evidence, path: str) -> None:
    coverage = coverage_of(evidence, path)
    assert (coverage.covered, findings_in(evidence, path)) == (True, []), coverage.note


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_not_known_is_not_covered_and_no_alarm(evidence: Evidence, name: str) -> None:
    coverage = coverage_of(evidence, name)
    assert not coverage.covered
    assert DOUBTFUL[name][1] in coverage.note
    assert not grave_rules(evidence, name)


@pytest.mark.fuzz
@settings(max_examples=300, deadline=None)
@given(at=st.integers(8, len(_PLAIN) - 1), patch=st.binary(min_size=1, max_size=6), cut=st.integers(0, 30))
def test_any_damage_ends_in_findings_and_gaps_not_in_a_crash(at: int, patch: bytes, cut: int) -> None:
    data = _PLAIN[:at] + patch + _PLAIN[at + len(patch) : len(_PLAIN) - cut]
    scan = FileScan("a.tflite", len(data), ScannerTable(), Path())
    scan.scan(Blob("a.tflite", "", io.BytesIO(data), len(data)))
    assert scan.format == "tflite"
