"""Quality on a labelled holdout: measures against scikit-learn, files in words, candidate beside champion."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Metric
from model_approval.validators.gpu_benchmark import scores
from model_approval.validators.gpu_benchmark.accuracy import Judged, measure_accuracy
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extra_parameters import HoldoutParameters
from model_approval.validators.gpu_benchmark.holdout import read_holdout
from model_approval.validators.gpu_benchmark.open_inference import Metadata, TensorInfo
from tests.support.v2_server import V2Server, http, v2_server

pytestmark = pytest.mark.unit
_GENERATOR = np.random.default_rng(11)
_LABELS = _GENERATOR.integers(0, 3, 200)
_SCORES = _GENERATOR.dirichlet([1, 1, 1], 200).round(2)  # rounded: ties


def test_the_measures_are_scikit_learns() -> None:
    predicted = _SCORES.argmax(axis=1)
    rows = _SCORES / _SCORES.sum(axis=1, keepdims=True)
    assert scores.f1_macro(_LABELS, predicted) == pytest.approx(reference.f1_score(_LABELS, predicted, average="macro"))
    assert scores.auc(_LABELS, rows) == pytest.approx(
        reference.roc_auc_score(_LABELS, rows, multi_class="ovr", average="macro")
    )
    assert scores.losses(_LABELS, rows).mean() == pytest.approx(reference.log_loss(_LABELS, rows))


def test_one_column_is_the_probability_of_class_one() -> None:
    labels, column = (_LABELS > 0).astype(int), _SCORES[:, :1]
    assert scores.auc(labels, column) == pytest.approx(reference.roc_auc_score(labels, column[:, 0]))
    assert scores.losses(np.array([1, 0]), np.array([[0.9], [0.9]])) == pytest.approx([-np.log(0.9), -np.log(0.1)])


def test_one_class_alone_has_no_auc() -> None:
    assert np.isnan(scores.auc(np.zeros(5, int), _SCORES[:5]))


def _answering(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[str, bytes], bytes]:
    """A model: the fake server's inference as a function of its one input."""

    def infer(head: str, body: bytes) -> bytes:
        length = int(head.lower().split("inference-header-content-length: ")[1].split("\r\n")[0])
        shape = json.loads(body[:length])["inputs"][0]["shape"]
        answer = function(np.frombuffer(body[length:], np.float32).reshape(shape)).astype(np.float32)
        output = {"name": "y", "datatype": "FP32", "shape": list(answer.shape), "data": answer.ravel().tolist()}
        return http(200, json.dumps({"outputs": [output]}).encode())

    return infer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[V2Server]:
    (tmp_path / "candidate").mkdir()
    with v2_server(tmp_path / "candidate") as server:
        yield server


@pytest.fixture
def champion(tmp_path: Path) -> Iterator[V2Server]:
    (tmp_path / "champion").mkdir()
    with v2_server(tmp_path / "champion") as server:
        yield server


def _measure(
    folder: Path, server: V2Server, *, against: V2Server | None = None, **wanted: object
) -> tuple[dict[str, Metric], Judged]:
    parameters = HoldoutParameters.model_validate(wanted)
    candidate, other = Endpoint.at(server.where), Endpoint.at(against.where, who="champion") if against else None
    try:
        judged = measure_accuracy(folder, parameters, candidate, other, seed=1)
    finally:
        candidate.close()
        if other:
            other.close()
    return {metric.name: metric for metric in judged.metrics}, judged


def _rows(folder: Path, labels: list[object], rows: np.ndarray) -> None:
    lines = [
        "a,b,c,d,label",
        *(",".join([*map(str, row), str(label)]) for row, label in zip(rows, labels, strict=True)),
    ]
    (folder / "holdout.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


_X = np.eye(4)[np.arange(100) % 4]
"""Rows whose largest column is their class."""


def test_a_model_that_is_right_in_80_of_100_has_that_accuracy_and_its_interval(
    tmp_path: Path, server: V2Server
) -> None:
    labels = [int(row.argmax()) if number < 80 else int(row.argmax() + 1) % 4 for number, row in enumerate(_X)]
    _rows(tmp_path, list(labels), _X)
    measured, judged = _measure(tmp_path, server)
    accuracy = measured["accuracy"]
    assert (accuracy.value, accuracy.unit, accuracy.samples, accuracy.baseline) == (0.8, "fraction", 100, None)
    assert accuracy.low == pytest.approx(0.711, abs=0.001)
    assert accuracy.high == pytest.approx(0.867, abs=0.001)
    assert judged.limitations == ()
    assert "100 rows, sha256:" in judged.environment["holdout"]
    assert "the sender's own claim" in judged.environment["holdout"]


def test_candidate_and_champion_are_compared_on_the_same_samples(
    tmp_path: Path, server: V2Server, champion: V2Server
) -> None:
    _rows(tmp_path, [int(row.argmax()) for row in _X], _X)
    champion.infer = _answering(lambda x: np.where(np.arange(len(x))[:, None] < 10, -x, x))
    measured, _ = _measure(tmp_path, server, against=champion, batch_size=100)
    assert (measured["accuracy"].value, measured["accuracy"].baseline) == (1.0, 0.9)
    difference = measured["accuracy_difference"]
    assert difference.value == pytest.approx(0.1)
    assert difference.low is not None
    assert 0 < difference.low < 0.1
    assert measured["accuracy_mcnemar"].value == pytest.approx(2 / 2**10)
    ratio = measured["accuracy"].ratio
    assert ratio is not None
    assert 1 < ratio.low < ratio.value < ratio.high


def test_the_same_model_twice_differs_in_nothing(tmp_path: Path, server: V2Server, champion: V2Server) -> None:
    _rows(tmp_path, [number % 4 for number in range(100)], _GENERATOR.normal(size=(100, 4)))
    measured, _ = _measure(tmp_path, server, against=champion, metrics=("accuracy", "f1_macro"))
    for name in ("accuracy", "f1_macro"):
        difference = measured[f"{name}_difference"]
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
    assert measured["accuracy_mcnemar"].value == 1.0


def test_a_champion_that_takes_other_inputs_leaves_the_candidates_figure_alone(
    tmp_path: Path, server: V2Server, champion: V2Server
) -> None:
    _rows(tmp_path, [int(row.argmax()) for row in _X], _X)
    champion.infer = lambda head, body: http(400, b'{"error": "input x is unknown"}')
    measured, judged = _measure(tmp_path, server, against=champion)
    assert (measured["accuracy"].value, measured["accuracy"].baseline) == (1.0, None)
    (limitation,) = judged.limitations
    assert limitation.startswith("holdout: no comparison with the champion: champion: ")


def test_expected_outputs_are_held_against_the_answers(tmp_path: Path, server: V2Server) -> None:
    expected = _X * 2
    expected[0, 0] += 0.25
    document = {"inputs": {"x": _X.tolist()}, "expected": {"y": expected.tolist()}}
    (tmp_path / "holdout.json").write_text(json.dumps(document), encoding="utf-8")
    names = ("exact_match", "max_deviation", "mae", "rmse")
    measured, _ = _measure(tmp_path, server, path="holdout.json", metrics=names)
    assert measured["exact_match"].value == 0.99
    assert measured["max_deviation"].value == 0.25
    assert measured["max_deviation"].high is None
    assert measured["mae"].value == pytest.approx(0.25 / 400)
    assert measured["rmse"].value == pytest.approx(np.sqrt(0.25**2 / 400))


def test_a_regression_is_held_against_its_labels(tmp_path: Path, server: V2Server) -> None:
    server.infer = _answering(lambda x: x.sum(axis=1, keepdims=True))
    _rows(tmp_path, [float(row.sum()) + 0.5 for row in _X], _X)
    measured, _ = _measure(tmp_path, server, metrics=("rmse", "mae"))
    assert measured["rmse"].value == pytest.approx(0.5)
    assert measured["mae"].value == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("answered", "told"),
    [
        (np.ones(4), "100 of 100 rows of scores hold none .row 1: 1, 1, 1, 1."),
        (np.array([9.0, -2.0, 0.5, 1.0]), "row 1: 9, -2, 0.5, 1"),
        (np.array([1.4, -0.4, 0.0, 0.0]), "each must be from 0 to 1"),
        (np.array([1.7]), "row 1: 1.7"),
    ],
)
def test_scores_that_are_no_probabilities_have_no_log_loss(
    tmp_path: Path, server: V2Server, answered: np.ndarray, told: str
) -> None:
    server.infer = _answering(lambda x: np.tile(answered, (len(x), 1)))
    _rows(tmp_path, [number % 2 for number in range(100)], _X)
    with pytest.raises(EvidenceError, match=f"log_loss takes probabilities.*{told}") as raised:
        _measure(tmp_path, server, metrics=("log_loss",))
    assert "`holdout.scores`" in raised.value.hint


def test_probabilities_in_single_precision_have_a_log_loss(tmp_path: Path, server: V2Server) -> None:
    rows = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1]])
    server.infer = _answering(lambda x: x)
    _rows(tmp_path, [0, 0], rows)
    measured, _ = _measure(tmp_path, server, metrics=("log_loss",))
    assert measured["log_loss"].value == pytest.approx(-(np.log(0.7) + np.log(0.1)) / 2, rel=1e-5)


def test_class_names_stand_for_columns(tmp_path: Path, server: V2Server) -> None:
    _rows(tmp_path, ["abcd"[int(row.argmax())] for row in _X], _X)
    metrics = ("accuracy", "exact_match", "auc")
    measured, _ = _measure(tmp_path, server, classes=("a", "b", "c", "d"), metrics=metrics)
    assert [measured[name].value for name in metrics] == [1.0, 1.0, 1.0]


def test_a_model_with_a_fixed_batch_is_asked_in_such_batches(tmp_path: Path, server: V2Server) -> None:
    sizes = set()

    def identity(x: np.ndarray) -> np.ndarray:
        sizes.add(len(x))
        return x

    server.metadata["inputs"] = [{"name": "x", "datatype": "FP32", "shape": [7, 4]}]
    server.infer = _answering(identity)
    _rows(tmp_path, [int(row.argmax()) for row in _X], _X)
    measured, _ = _measure(tmp_path, server)
    assert (sizes, measured["accuracy"].value, measured["accuracy"].samples) == ({7}, 1.0, 100)


def test_answers_that_are_no_numbers_are_wrong_answers(tmp_path: Path, server: V2Server) -> None:
    server.infer = _answering(lambda x: np.full((len(x), 1), np.nan))
    _rows(tmp_path, [0 for _ in _X], _X)
    measured, _ = _measure(tmp_path, server, metrics=("accuracy", "f1_macro"))
    assert (measured["accuracy"].value, measured["f1_macro"].value) == (0.0, 0.0)


def test_another_file_than_the_policy_names_is_a_limitation(tmp_path: Path, server: V2Server) -> None:
    _rows(tmp_path, [0 for _ in _X], _X)
    _, judged = _measure(tmp_path, server, sha256="sha256:" + "0" * 64)
    assert "the policy names sha256:000" in judged.limitations[0]


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "y", "z"]), inner, max_size=2),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(st.sampled_from(["inputs", "labels", "expected", "x"]), _JSON).map(json.dumps)
_TABLES = st.text(alphabet='abcdlabel,"\n1.-\x00ä', max_size=80)
_METADATA = Metadata("model", "fake", (TensorInfo("x", "FP32", (-1, 4)),), (TensorInfo("y", "FP32", (-1, 4)),), {})


@pytest.mark.fuzz
@given(st.one_of(st.tuples(st.just("f.json"), _DOCUMENTS), st.tuples(st.just("f.csv"), _TABLES)))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_file_breaks_the_reader(tmp_path: Path, file: tuple[str, str]) -> None:
    name, text = file
    (tmp_path / name).write_text(text, encoding="utf-8")
    try:
        holdout = read_holdout(tmp_path, HoldoutParameters(path=name), _METADATA)
    except EvidenceError as err:
        told = str(err)
        assert told.startswith("holdout ")  # either of the two ways is right
    else:
        assert all(len(array) == holdout.rows for array in holdout.inputs.values())


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        (None, {}, "the artifact has no file 'holdout.csv' with a labelled holdout"),
        ("", {}, "is empty"),
        ("a,b,c,d,label\n", {}, "0 rows; it takes 1 to 100000"),
        ("a,b,c,d,label\n1,2,3,4,0\n1,2,3,4,1\n", {"max_rows": 1}, "2 rows; it takes 1 to 1"),
        ("a,b,c,d\n1,2,3,4\n", {}, "column 'label' is not there; there are a, b, c, d"),
        ("a,b,c,d,label\n1,2,x,4,0\n", {}, "row 1, column 'c': 'x' is no float32"),
        ("a,b,c,d,label\n1,2,3,0\n", {}, "row 1 has 4 fields, the header 5"),
        ("a,b,label\n1,2,0\n", {}, r"2 columns do not make up input 'x' \[-1, 4\]"),
        ("a,b,c,d,label\n1,2,3,4,cat\n", {}, "label 'cat' is no class number"),
        ("a,b,c,d,label\n1,2,3,4,cat\n", {"classes": ("dog",)}, "label 'cat' is none of"),
        ("a,b,c,d,label\n1,2,3,4,0\n", {"output": "z"}, "the model answers no output 'z'; it answers y"),
        ("a,b,c,d,label\n1,2,3,4,0\n", {"inputs": {"z": ("a",)}}, "the model has no input 'z'; it has x"),
        ("a,b,c,d,label\n1,2,3,4,9\n", {"metrics": ("auc",)}, "class 9 has no column among 4 scores"),
        ("a,b,c,d,label\n1,2,3,4,0\n", {"metrics": ("auc",)}, "auc has no value on this holdout"),
        ("{}", {"path": "holdout.json"}, 'must be {"inputs"'),
        ('{"inputs": {"x": [[1, 2, 3, 4]]}}', {"path": "holdout.json"}, "neither labels nor expected outputs"),
        ('{"inputs": {"x": [[1], [1, 2]]}, "labels": [1, 2]}', {"path": "holdout.json"}, "no regular table of float32"),
        ('{"inputs": {"x": [[1, 2, 3, 4]]}, "labels": [1, 2]}', {"path": "holdout.json"}, "unequal lengths"),
        ('{"inputs": {}, "labels": []}', {"path": "holdout.json"}, "input 'x' is missing"),
        ("x", {"path": "holdout.pkl"}, "only .csv and .json are read"),
        ("x", {"path": "../holdout.csv"}, "the artifact has no file"),
    ],
)
def test_what_is_wrong_with_a_holdout_is_told(
    tmp_path: Path, server: V2Server, text: str | None, wanted: dict[str, object], words: str
) -> None:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (tmp_path / "holdout.csv").write_text("outside", encoding="utf-8")
    if text is not None:
        (folder / Path(str(wanted.get("path", "holdout.csv"))).name).write_text(text, encoding="utf-8")
    with pytest.raises(EvidenceError, match=words):
        _measure(folder, server, **wanted)  # type: ignore[arg-type]  # none of them is `against`
