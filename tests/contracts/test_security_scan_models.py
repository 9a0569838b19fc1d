"""Model and media formats that are not pickles: what in them reaches for code is found, plain numbers are covered."""

from __future__ import annotations

import gzip
import io
import json
import struct
import warnings
from collections.abc import Callable

import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from model_approval.domain.evidence import Evidence, Severity
from tests.support.formats import (
    R_NULL,
    R_NUMBERS,
    a_7z,
    a_catboost_model,
    a_core_ml_model,
    a_fasttext_model,
    a_gif,
    a_jpeg,
    a_paddle_program,
    a_paddle_tensor,
    a_pdf,
    a_skops_file,
    a_sound,
    a_tokenizer,
    an_old_xgboost_model,
    an_xgboost_model,
    message,
    r_data,
    r_object,
    word_vectors,
)
from tests.support.models import a_pickle_that_calls, a_zip
from tests.support.validation import coverage_of, evidence_about, findings_in

pytestmark = pytest.mark.contract

_BAD = a_pickle_that_calls("posix", "system")
_IMPORT = "pickle.dangerous-import"


def _node(loader: str, module: str, name: str, **content: object) -> dict[str, object]:
    return {"__class__": name, "__module__": module, "__loader__": loader, **content}


def _table(field: pa.Field | None = None) -> pa.Table:
    return pa.table([pa.array([1, 2])], schema=pa.schema([field or pa.field("a", pa.int64())]))


def _parquet(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table, stream)
    return stream.getvalue()


def _arrow(table: pa.Table, write: Callable[..., pa.RecordBatchStreamWriter]) -> bytes:
    stream = io.BytesIO()
    with write(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _skops(model: object) -> bytes:
    rows = np.random.default_rng(1).random((40, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if hasattr(model, "fit") and not isinstance(model, TfidfVectorizer):
            model.fit(rows, rows[:, 0] > 0.5)
    with warnings.catch_warnings():
        # At import it looks at every attribute of every loaded module, Airflow's deprecated ones among them.
        warnings.simplefilter("ignore")
        import skops.io
    return bytes(skops.io.dumps(model))


_PICKLED = pa.field(
    "a", pa.int64(), metadata={"ARROW:extension:name": "arrow.py_extension_type", "ARROW:extension:metadata": "x"}
)
_OPENVINO = """<?xml version="1.0"?>
<net name="a" version="11"><layers><layer id="0" name="x" type="{kind}" version="{version}"/></layers></net>"""
_CALL = {"func": _node("TypeNode", "os", "system"), "args": [], "kwds": {}, "namespace": {}}
_SCIPY_STATE = {"content": {"_parse_arg_template": {"__loader__": "JsonNode", "content": '"f()"'}}}
MALICIOUS: dict[str, tuple[bytes, str, Severity]] = {
    "type.skops": (a_skops_file(_node("TypeNode", "os", "system")), "skops.dangerous-type", Severity.CRITICAL),
    "object.skops": (
        a_skops_file(_node("ObjectNode", "subprocess", "Popen")), "skops.dangerous-type", Severity.CRITICAL,
    ),
    "reduce.skops": (
        a_skops_file(_node("ConstructorFromReduceNode", "builtins", "eval", content={})),
        "skops.dangerous-type", Severity.CRITICAL,
    ),
    "function.skops": (
        a_skops_file(_node("FunctionNode", "builtins", "int", content={"module_path": "os", "function": "system"})),
        "skops.dangerous-type", Severity.CRITICAL,
    ),
    "partial.skops": (
        a_skops_file(_node("PartialNode", "functools", "partial", content=_CALL)),
        "skops.dangerous-type", Severity.CRITICAL,
    ),
    "operator.skops": (
        a_skops_file(_node("OperatorFuncNode", "sklearn.linear_model._stochastic_gradient", "call", attrs={})),
        "skops.operator", Severity.CRITICAL,
    ),
    "method.skops": (
        a_skops_file(_node("MethodNode", "builtins", "dict", content={"func": "__class__", "obj": {}})),
        "skops.method", Severity.CRITICAL,
    ),
    "shown.skops": (a_skops_file(_node("PartialNode", "builtins", "list", content={})), "skops.clash", Severity.HIGH),
    "called.skops": (
        a_skops_file(_node("ConstructorFromReduceNode", "numpy", "fromfile")), "skops.", Severity.HIGH
    ),
    "callback.skops": (
        a_skops_file(_node("TypeNode", "sklearn.callback._transport", "Client")),
        "skops.dangerous-type", Severity.CRITICAL,
    ),
    "template.skops": (
        a_skops_file(_node("ObjectNode", "scipy.stats._continuous_distns", "norm_gen", content=_SCIPY_STATE)),
        "skops.program-in-state", Severity.CRITICAL,
    ),
    "unknown.skops": (
        a_skops_file(_node("ObjectNode", "acme.models", "Scorer")), "skops.unknown-type", Severity.MEDIUM,
    ),
    "pickled.skops": (a_zip({"schema.json": b"{}", "a.npy": _BAD}), _IMPORT, Severity.CRITICAL),
    "objects.msgpack": (
        msgpack.packb({"w": {"nd": True, "type": "O", "kind": "O", "shape": [1], "data": _BAD}}),
        "msgpack.objects", Severity.HIGH,
    ),
    "pickled.parquet": (_parquet(_table(_PICKLED)), "arrow.pickled-type", Severity.HIGH),
    "pickled.arrow": (_arrow(_table(_PICKLED), pa.ipc.new_file), "arrow.pickled-type", Severity.HIGH),
    "pickled-stream.arrow": (_arrow(_table(_PICKLED), pa.ipc.new_stream), "arrow.pickled-type", Severity.HIGH),
    "calls.pdmodel": (a_paddle_program(b"feed", b"py_func"), "paddle.outside-operator", Severity.HIGH),
    "saves.pdmodel": (a_paddle_program(b"save_combine"), "paddle.outside-operator", Severity.HIGH),
    "model.mlmodel": (a_core_ml_model((555, b"")), "coreml.custom", Severity.MEDIUM),
    "layer.mlmodel": (
        a_core_ml_model((500, message((1, message((1, b"x"), (500, message((10, b"Own")))))))),
        "coreml.custom", Severity.MEDIUM,
    ),
    "outside.mlmodel": (
        a_core_ml_model((502, b"@model_path/../../other.bin")), "coreml.external-data", Severity.CRITICAL
    ),
    "own.xml": (_OPENVINO.format(kind="Own", version="extension").encode(), "openvino.extension", Severity.MEDIUM),
    "entity.xml": (
        b'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]><net name="a">&a;</net>',
        "xml.entity", Severity.HIGH,
    ),
    "model.7z": (a_7z("a/model.pkl", _BAD), _IMPORT, Severity.CRITICAL),
    "escape.7z": (a_7z("../../model.json", b"{}"), "archive.path", Severity.HIGH),
    "promise.rds": (r_data(R_NUMBERS, r_object(5, R_NULL, R_NULL)), "r.promise", Severity.CRITICAL),
    "function.rds": (r_data(r_object(0x403, r_object(253), R_NULL, R_NULL)), "r.code", Severity.HIGH),
    "packed-function.rds": (
        gzip.compress(r_data(r_object(0x403, r_object(253), R_NULL, R_NULL))), "r.code", Severity.HIGH
    ),
    "formula.rds": (r_data(r_object(6, R_NULL, R_NULL)), "r.formula", Severity.MEDIUM),
    "tail.jpg": (a_jpeg(_BAD), _IMPORT, Severity.CRITICAL),
    "tail-2.jpg": (a_jpeg(_BAD), "file.hidden-data", Severity.HIGH),
    "tail.gif": (a_gif(a_zip({"a.pkl": _BAD})), _IMPORT, Severity.CRITICAL),
    "tail.wav": (a_sound(b"\x7fELF" + bytes(60)), "file.hidden-data", Severity.HIGH),
    "script.pdf": (
        a_pdf(b"1 0 obj <</OpenAction <</S /JavaScript /JS (x)>>>> endobj\n"), "document.active", Severity.MEDIUM,
    ),
    "escaped.pdf": (a_pdf(b"1 0 obj <</S /L#61unch>> endobj\n"), "document.active", Severity.MEDIUM),
    "packed.pdf": (a_pdf(packed=b"<</S /Launch>>"), "document.active", Severity.MEDIUM),
    "tail.pdf": (a_pdf() + b"\x7fELF" + bytes(60), "file.hidden-data", Severity.HIGH),
}  # fmt: skip

HONEST: dict[str, Callable[[], bytes]] = {
    "good/logistic.skops": lambda: _skops(LogisticRegression()),
    "good/forest.skops": lambda: _skops(RandomForestClassifier(3)),
    "good/boosting.skops": lambda: _skops(GradientBoostingClassifier(n_estimators=2)),
    "good/descent.skops": lambda: _skops(SGDClassifier()),
    "good/pipeline.skops": lambda: _skops(
        make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression())
    ),
    "good/words.skops": lambda: _skops(TfidfVectorizer().fit(["a bc de", "de fg"])),
    "good/xgboost.ubj": an_xgboost_model,
    "good/xgboost.model": an_old_xgboost_model,
    "good/xgboost.bin": lambda: (
        b'{"learner":{"attributes":{},"objective":{"name":"binary:logistic"}},"version":[3,1,0]}'
    ),
    "good/lightgbm.model": lambda: b"tree\nversion=v4\nnum_class=1\n\nTree=0\nleaf_value=1\n\nend of trees\n",
    "good/lightgbm.txt": lambda: b"tree\nversion=v4\nnum_class=1\n\nTree=0\nleaf_value=1\n\nend of trees\n",
    "good/catboost.cbm": a_catboost_model,
    "good/fasttext.bin": a_fasttext_model,
    "good/vectors.bin": word_vectors,
    "good/vectors.vec": lambda: b"2 3\nword 0.1 0.2 0.3\nother 0.1 0.2 0.3\n",
    "good/tokenizer.model": a_tokenizer,
    "good/flax.msgpack": lambda: msgpack.packb(
        {
            "params": {
                "kernel": msgpack.ExtType(1, msgpack.packb(((2, 2), "float32", bytes(16)))),
                "names": ["a", None, 1.5],
            }
        }
    ),
    "good/numbers.rds": lambda: r_data(R_NUMBERS, R_NULL, R_NUMBERS),
    "good/numbers.RData": lambda: gzip.compress(b"RDX2\n" + r_data(R_NUMBERS)),
    "good/table.parquet": lambda: _parquet(_table()),
    "good/table.arrow": lambda: _arrow(_table(), pa.ipc.new_file),
    "good/stream.arrow": lambda: _arrow(_table(), pa.ipc.new_stream),
    "good/model.pdmodel": lambda: a_paddle_program(b"feed", b"conv2d", b"fetch"),
    "good/model.pdiparams": lambda: a_paddle_tensor(3) + a_paddle_tensor(5),
    "good/model.mlmodel": lambda: a_core_ml_model((502, b"@model_path/weights/weight.bin")),
    "good/weights/weight.bin": lambda: b"\x15\0\0\0" + bytes(60) + b"\xef\xbe\xad\xde" + bytes(100),
    "good/network.xml": lambda: _OPENVINO.format(kind="Parameter", version="opset1").encode(),
    "good/network.bin": lambda: np.ones(50, np.float32).tobytes(),
    "good/settings.7z": lambda: a_7z("settings.json", json.dumps({"a": 1}).encode()),
    "good/picture.jpg": a_jpeg,
    "good/pictures.jpg": lambda: a_jpeg(a_jpeg()),
    "good/picture.gif": a_gif,
    "good/sound.wav": a_sound,
    "good/paper.pdf": a_pdf,
}

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "cut.ubj": (an_xgboost_model()[:-9], "breaks off"),
    "tail.ubj": (an_xgboost_model() + b"more", "bytes follow"),
    "cut.msgpack": (msgpack.packb({"a": bytes(9000)})[:-9], "breaks off"),
    "extension.msgpack": (msgpack.packb({"a": msgpack.ExtType(77, b"x")}), "extension type 77"),
    "cut.cbm": (a_catboost_model()[:-9], "cut or damaged"),
    "cut.lgb": (b"tree\nversion=v4\nnum_class=1\n", "breaks off"),
    "cut.vec": (b"90 30\nword " + bytes(120), "too few"),
    "cut.pdiparams": (a_paddle_tensor(3)[:-3], "longer than the file"),
    "cut.parquet": (_parquet(_table())[:-4], "no footer"),
    "cut.arrow": (_arrow(_table(), pa.ipc.new_file)[:-4], "no footer"),
    "cut.7z": (a_7z("a.json", b"{}" + b" " * 200)[:-20], "not a 7z archive"),
    "cut.rds": (r_data(R_NUMBERS)[:-3], "breaks off"),
    "cut.jpg": (a_jpeg()[:-2], "breaks off"),
    "cut.gif": (a_gif()[:-1], "breaks off"),
    "cut.wav": (a_sound()[:-1], "breaks off"),
    "cut.pdf": (a_pdf()[:-7], "breaks off"),
    "encrypted.pdf": (a_pdf(b"<</Encrypt 3 0 R>>"), "encrypted"),
    "strange.mlmodel": (a_core_ml_model((777, b"")), "type 777"),
    "executorch.pte": (struct.pack("<I", 16) + b"ET12" + bytes(60), "an ExecuTorch program"),
    "model.rar": (b"Rar!\x1a\x07\x01\0" + bytes(60), "RAR archive"),
}  # fmt: skip


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What the scan says about all samples together."""
    files = {f"bad/{name}": data for name, (data, _, _) in MALICIOUS.items()}
    files |= {f"unreadable/{name}": data for name, (data, _) in UNREADABLE.items()}
    files |= {path: make() for path, make in HONEST.items()}
    return evidence_about(files, tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("name", MALICIOUS)
def test_what_reaches_for_code_is_found_and_named(evidence: Evidence, name: str) -> None:
    _, rule, severity = MALICIOUS[name]
    found = {(finding.rule, finding.severity) for finding in findings_in(evidence, f"bad/{name}")}
    assert any(item.startswith(rule) and grade.rank >= severity.rank for item, grade in found), (
        found, coverage_of(evidence, f"bad/{name}")
    )  # fmt: skip


@pytest.mark.parametrize("path", HONEST)
def test_an_honest_model_is_covered_and_has_no_finding(evidence: Evidence, path: str) -> None:
    coverage = coverage_of(evidence, path)
    assert (coverage.covered, findings_in(evidence, path)) == (True, []), coverage.note


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_model_that_cannot_be_read_to_its_end_is_not_covered_and_says_why(evidence: Evidence, name: str) -> None:
    coverage = coverage_of(evidence, f"unreadable/{name}")
    assert not coverage.covered
    assert UNREADABLE[name][1] in coverage.note


def test_an_unknown_class_leaves_its_file_uncovered(evidence: Evidence) -> None:
    assert not coverage_of(evidence, "bad/unknown.skops").covered
