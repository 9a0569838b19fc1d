"""TensorFlow in the security scan: operators that run, read or write are found in every graph, function and form."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.evidence import Evidence
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.table import ScannerTable
from tests.support.keras_samples import layer, old_lambda, sequential
from tests.support.tensorflow_samples import (
    a_checkpoint_index,
    a_graph,
    a_meta_graph,
    a_saved_model,
    function,
    keras_metadata,
    node,
)
from tests.support.validation import coverage_of, evidence_about, findings_in, grave_rules

pytestmark = pytest.mark.contract

_RELU = node("Relu")
_TEXT = 'node {{ name: "a" op: {op} input: "x" }}\nversions {{ producer: 1846 }}\n'

MALICIOUS: dict[str, tuple[bytes, str]] = {
    "python/saved_model.pb": (a_saved_model(a_graph(node("PyFunc"))), "tensorflow.code"),
    "eager/saved_model.pb": (a_saved_model(a_graph(node("EagerPyFunc"))), "tensorflow.code"),
    "write/saved_model.pb": (a_saved_model(a_graph(_RELU, node("WriteFile"))), "tensorflow.writes-files"),
    "read/saved_model.pb": (a_saved_model(a_graph(node("ReadFile"))), "tensorflow.reads-files"),
    "list/saved_model.pb": (a_saved_model(a_graph(node("MatchingFiles"))), "tensorflow.reads-files"),
    "function/saved_model.pb": (
        a_saved_model(a_graph(_RELU, functions=(function("f", node("PyFuncStateless")),))), "tensorflow.code"
    ),
    "print/saved_model.pb": (
        a_saved_model(a_graph(node("PrintV2", output_stream="file:///tmp/x"))), "tensorflow.writes-files"
    ),
    "debug/saved_model.pb": (
        a_saved_model(a_graph(node("DebugIdentity", debug_url="grpc://a.example:1"))), "tensorflow.network"
    ),
    "shell/saved_model.pb": (a_saved_model(a_graph(node("ShellExecute"))), "tensorflow.code"),
    "asset/saved_model.pb": (a_saved_model(a_graph(_RELU), assets=("../../etc/x",)), "tensorflow.asset-path"),
    "lambda/saved_model.pb": (a_saved_model(a_graph(_RELU), metadata=old_lambda()), "keras.lambda"),
    "keras/keras_metadata.pb": (keras_metadata(sequential(old_lambda())), "keras.lambda"),
    "rpc.pb": (a_graph(node("RpcCall")), "tensorflow.network"),
    "frozen.pb": (a_graph(node("ReadFile")), "tensorflow.reads-files"),
    "export.meta": (a_meta_graph(a_graph(node("PyFunc"))), "tensorflow.code"),
    "graph.pbtxt": (_TEXT.format(op='"PyFunc"').encode(), "tensorflow.code"),
    "pieces.pbtxt": (_TEXT.format(op="'Py'\n'Func'").encode(), "tensorflow.code"),
    "escaped.pbtxt": (_TEXT.format(op='"\\120y\\x46unc"').encode(), "tensorflow.code"),
}  # fmt: skip

HONEST: dict[str, bytes] = {
    "good/saved_model.pb": a_saved_model(
        a_graph(_RELU, node("SaveV2"), node("RestoreV2"), node("f"), functions=(function("f", _RELU),)),
        assets=("vocabulary.txt",),
        metadata=sequential(layer("Swirl", None)),
    ),
    "good/frozen.pb": a_graph(_RELU),
    "good/export.meta": a_meta_graph(a_graph(_RELU)),
    "good/graph.pbtxt": _TEXT.format(op='"Relu"').encode(),
    "good/keras_metadata.pb": keras_metadata(sequential()),
    "good/variables.index": a_checkpoint_index((0, 8), (8, 24)),
    "good/variables.data-00000-of-00001": b"\1" * 32,
    "good/checkpoint": b'model_checkpoint_path: "variables"\n',
}

DOUBTFUL: dict[str, tuple[bytes, str]] = {
    "own.pb": (a_graph(node("AcmeDecode")), "AcmeDecode"),
    "cut.pb": (a_graph(_RELU)[:-3], "damaged"),
    "tail.pb": (a_graph(_RELU) + b"\xea\x07\x03abc", "does not know"),
    "gone.index": (a_checkpoint_index((0, 8)), "not part of the artifact"),
    "short.index": (a_checkpoint_index((0, 8)), "accounts for 8"),
    "hole.index": (a_checkpoint_index((0, 8), (16, 16)), "belong to no tensor"),
    "hidden.index": (a_checkpoint_index((0, 32), tail=b"\1" * 20), "belong to no block"),
}
_DATA = {f"{name}.data-00000-of-00001": b"\1" * 32 for name in ("short", "hole", "hidden")}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    files = HONEST | _DATA | {name: data for name, (data, _) in (MALICIOUS | DOUBTFUL).items()}
    return evidence_about(files, tmp_path_factory.mktemp("tensorflow"))


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


def test_data_files_that_the_index_does_not_explain_are_not_covered(evidence: Evidence) -> None:
    assert [c.path for c in evidence.coverage if c.path in _DATA and c.covered] == []


_GRAPH = a_saved_model(a_graph(_RELU, node("PyFunc"), functions=(function("f", _RELU),)), metadata=old_lambda())
_INDEX = a_checkpoint_index((0, 8), (8, 24))


@pytest.mark.fuzz
@pytest.mark.parametrize(("name", "whole"), [("saved_model.pb", _GRAPH), ("v.index", _INDEX)])
@settings(max_examples=200, deadline=None)
@given(data=st.data(), patch=st.binary(min_size=1, max_size=8))
def test_any_damage_ends_in_findings_and_gaps_not_in_a_crash(
    name: str, whole: bytes, data: st.DataObject, patch: bytes
) -> None:
    at = data.draw(st.integers(6, len(whole) - 1))
    damaged = whole[:at] + patch + whole[at + len(patch) :]
    scan = FileScan(name, len(damaged), ScannerTable(), Path(), paths={"v.data-00000-of-00001": 32})
    scan.scan(Blob(name, "", io.BytesIO(damaged), len(damaged)))
    assert scan.format != "empty"


@pytest.mark.fuzz
def test_a_text_of_quotes_that_nobody_closes_is_read_once() -> None:
    text = b'node { op: "Relu" }\n' + b'"' + b'\\"' * 500_000
    scan = FileScan("g.pbtxt", len(text), ScannerTable(), Path())
    scan.scan(Blob("g.pbtxt", "", io.BytesIO(text), len(text)))
    assert (scan.format, scan.findings) == ("pbtxt", [])


def test_metadata_that_is_no_json_hides_no_operator() -> None:
    data = a_saved_model(a_graph(node("PyFunc")), metadata="x").replace(b'"x"', b'{x"')
    scan = FileScan("saved_model.pb", len(data), ScannerTable(), Path())
    scan.scan(Blob("saved_model.pb", "", io.BytesIO(data), len(data)))
    assert [finding.rule for finding in scan.findings] == ["tensorflow.code"]
    assert any("no JSON" in gap for gap in scan.gaps)
