"""Keras in the security scan: layers that run, fetch or import are found in every shape; Keras's own layers pass."""

from __future__ import annotations

import io
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.evidence import Evidence
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.table import ScannerTable
from tests.support.keras_samples import (
    Config,
    a_keras_file,
    an_h5_file,
    function,
    lambda_code,
    layer,
    old_lambda,
    sequential,
    with_false_heap,
)
from tests.support.models import a_pickle_that_calls
from tests.support.validation import coverage_of, evidence_about, findings_in, grave_rules

pytestmark = pytest.mark.contract

_EVERY_SHAPE: dict[str, tuple[Config, str]] = {
    "lambda": (sequential(layer("Lambda", function=lambda_code())), "keras.lambda"),
    "old-lambda": (sequential(old_lambda()), "keras.lambda"),
    "named-lambda": (sequential(layer("Lambda", function=function("system", "os"))), "keras.lambda"),
    "nested-lambda": (sequential(layer("TimeDistributed", layer=layer("Lambda"))), "keras.lambda"),
    "hidden-code": (sequential(layer("Dense", activation=lambda_code())), "keras.lambda"),
    "module-os": (sequential(layer("system", "os")), "keras.module"),
    "module-builtins": (sequential(layer("eval", "builtins")), "keras.module"),
    "module-deep": (sequential(layer("Dense", kernel_regularizer=layer("Popen", "subprocess"))), "keras.module"),
    "module-numpy": (sequential(layer("load", "numpy")), "keras.module"),
    "module-utils": (sequential(function("get_file", "keras.utils")), "keras.module"),
    "module-config": (sequential(function("enable_unsafe_deserialization", "keras.config")), "keras.module"),
    "module-saving": (sequential(layer("load_model", "keras.src.saving.saving_api")), "keras.module"),
    "function-os": (sequential(layer("Dense", activation=function("system", "os"))), "keras.module"),
    "as-own-name": (sequential(layer("Dense", "importlib")), "keras.module"),
    "function-module": (sequential(layer("Swirl", "acme", fn_module="os", fn_name="system")), "keras.module"),
    "module-within": (sequential(layer("Swirl", "acme", target={"module": "shutil"})), "keras.module"),
    "guard": (sequential(layer("Swirl", "acme", f="keras.config.enable_unsafe_deserialization")), "keras.module"),
    "fetch": (sequential(layer("Swirl", "acme", f="keras.utils.get_file")), "keras.module"),
    "saved-model": (sequential(layer("TFSMLayer", filepath="/tmp/x")), "keras.loading-layer"),
    "torch-module": (sequential(layer("TorchModuleWrapper", module="gASV")), "keras.loading-layer"),
    "symbol": (sequential(layer("TFOpLambda", None, function="io.write_file")), "keras.loading-layer"),
    "vocabulary": (sequential(layer("StringLookup", vocabulary="/etc/passwd")), "keras.file"),
    "vocabulary-url": (sequential(layer("TextVectorization", vocabulary="https://a.example/v")), "keras.file"),
    "vocabulary-parent": (sequential(layer("IntegerLookup", vocabulary="../../v.txt")), "keras.file"),
}


def _linked(file: h5py.File) -> None:
    file["layers/outside"] = h5py.ExternalLink("/etc/other.h5", "/x")


def _stored_outside(file: h5py.File) -> None:
    file.create_dataset("x", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/data/other.h5", "x", shape=(3,))
    file.create_virtual_dataset("x", layout)


_PICKLE = a_pickle_that_calls("posix", "system")
_FILES: dict[str, tuple[bytes, str]] = {
    "newest-lambda.h5": (an_h5_file(sequential(old_lambda()), layout="latest"), "keras.lambda"),
    "behind-user-block.h5": (an_h5_file(sequential(old_lambda()), user_block=1024), "keras.lambda"),
    "link.h5": (an_h5_file(change=_linked), "hdf5.external-link"),
    "storage.h5": (an_h5_file(change=_stored_outside), "hdf5.external-storage"),
    "virtual.h5": (an_h5_file(change=_virtual), "hdf5.virtual-dataset"),
    "attribute.h5": (
        an_h5_file(change=lambda file: file.attrs.create("a", np.void(_PICKLE))),
        "pickle.dangerous-import",
    ),
    "rows.h5": (
        an_h5_file(change=lambda file: file.create_dataset("o", data=np.frombuffer(_PICKLE, np.uint8))),
        "pickle.dangerous-import",
    ),
    "training.h5": (
        an_h5_file(
            sequential(), lambda file: file.attrs.create("training_config", json.dumps({"loss": lambda_code()}))
        ),
        "keras.lambda",
    ),
}
MALICIOUS: dict[str, tuple[bytes, str]] = {
    **{f"{name}.keras": (a_keras_file(config), rule) for name, (config, rule) in _EVERY_SHAPE.items()},
    **{f"{name}.h5": (an_h5_file(config), rule) for name, (config, rule) in _EVERY_SHAPE.items()},
    **{f"{name}.json": (json.dumps(config).encode(), rule) for name, (config, rule) in _EVERY_SHAPE.items()},
    **_FILES,
}

_PLAIN = sequential(
    layer("BatchNormalization", dtype=layer("DTypePolicy", "keras")),
    layer("StringLookup", vocabulary=["a", "b"]),
    layer("Functional", "keras.src.models.functional", layers=[]),
    layer("Activation", activation=function("gelu", "keras.activations")),
    layer("Relu", "keras.src.ops.nn"),
    layer("LSTM", None, activation="tanh"),
    layer("TFOpLambda", None, function="math.multiply"),
)
HONEST: dict[str, bytes] = {
    "good/model.keras": a_keras_file(_PLAIN),
    "good/model.h5": an_h5_file(_PLAIN),
    "good/newest.h5": an_h5_file(_PLAIN, layout="latest"),
    "good/compressed.h5": an_h5_file(
        change=lambda file: file.create_dataset("x", data=np.ones(99), compression="gzip")
    ),
    "good/many.h5": an_h5_file(change=lambda file: [file.create_group(f"layer_{n}") for n in range(300)]),
    "good/model.json": json.dumps(_PLAIN).encode(),
    "good/model.weights.h5": an_h5_file(),
    "good/text.h5": an_h5_file(change=lambda file: file.create_dataset("vocabulary", data=["a", "bc"])),
    "good/soft-link.h5": an_h5_file(change=lambda file: file.__setitem__("same", h5py.SoftLink("/layers"))),
}

_CUSTOM = sequential(layer("Attention2", "acme.layers", "acme>Attention2"))
DOUBTFUL: dict[str, tuple[bytes, str]] = {
    "custom.keras": (a_keras_file(_CUSTOM), "acme"),
    "custom.h5": (an_h5_file(sequential(layer("Custom>Swirl", None))), "Swirl"),
    "hub.keras": (a_keras_file(sequential(layer("GemmaBackbone", "keras_hub.src.models.gemma"))), "keras_hub"),
    "tail.h5": (an_h5_file() + b"\1" * 40, "follow after the end"),
    "cut.h5": (an_h5_file()[:700], ""),
    "user-block.h5": (b"\1" * 512 + an_h5_file(user_block=512)[512:], "user-block"),
    "heap.h5": (with_false_heap(an_h5_file(_PLAIN)), "global heap"),
    "newest-heap.h5": (with_false_heap(an_h5_file(_PLAIN, layout="latest")), "global heap"),
    "no-json.h5": (an_h5_file(change=lambda file: file.attrs.create("model_config", "{")), "JSONDecodeError"),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    files = HONEST | {name: data for name, (data, _) in (MALICIOUS | DOUBTFUL).items()}
    return evidence_about(files, tmp_path_factory.mktemp("keras"))


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


def test_the_evidence_names_the_second_opinion_and_its_version(evidence: Evidence) -> None:
    assert evidence.environment["modelaudit"]


def test_the_second_opinion_raises_no_alarm_about_a_custom_layer(evidence: Evidence) -> None:
    coverage = coverage_of(evidence, "custom.keras")
    assert "no second opinion" not in coverage.note


_FILE = an_h5_file(_PLAIN)


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(at=st.integers(8, len(_FILE) - 1), patch=st.binary(min_size=1, max_size=8))
def test_any_damage_ends_in_findings_and_gaps_not_in_a_crash(at: int, patch: bytes) -> None:
    data = _FILE[:at] + patch + _FILE[at + len(patch) :]
    scan = FileScan("a.h5", len(data), ScannerTable(), Path())
    scan.scan(Blob("a.h5", "", io.BytesIO(data), len(data)))
    assert scan.format == "hdf5"


@pytest.mark.fuzz
@settings(max_examples=150, deadline=None)
@given(st.recursive(
    st.none() | st.integers() | st.sampled_from(["Lambda", "Dense", "os", "keras.layers", "/etc", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["class_name", "config", "module", "registered_name", "layers", "vocabulary"]), inner
    ),
    max_leaves=20,
))  # fmt: skip
def test_any_configuration_is_looked_into(document: object) -> None:
    data = json.dumps({"class_name": "Sequential", "config": [document]}).encode()
    scan = FileScan("a.json", len(data), ScannerTable(), Path())
    scan.scan(Blob("a.json", "", io.BytesIO(data), len(data)))
    assert scan.format == "json"


def test_a_cautious_scan_leaves_a_newer_layout_uncovered_and_reads_the_classic_one(tmp_path: Path) -> None:
    for layout, covered in (("latest", False), ("earliest", True)):
        data = an_h5_file(_PLAIN, layout=layout)
        scan = FileScan("a.h5", len(data), ScannerTable(), tmp_path, cautious=True)
        scan.scan(Blob("a.h5", "", io.BytesIO(data), len(data)))
        assert scan.coverage().covered is covered
        assert covered or "parser has crashed" in scan.coverage().note
