"""What a policy can ask beyond latency and throughput, with the real validator, model server and onnxruntime."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from model_approval.domain.evidence import Evidence, Metric, Severity
from model_approval.validators.contract import Task
from model_approval.validators.gpu_benchmark.extras import Ground, extras
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.server_process import ServerProcess
from tests.support.models import a_graph, an_onnx_model, write_folder
from tests.support.validation import PYTHON, a_validator_input, evidence_about

pytestmark = pytest.mark.contract

_QUICK = {
    "min_queries": 20, "duration_s": 0.2, "max_duration_s": 1.0, "warm_up_s": 0.2, "threads": 1,
    "scenarios": ["single_stream"],
}  # fmt: skip
_IDENTITY = a_graph([helper.make_node("Identity", ["x"], ["y"])])
_NEGATIVE = a_graph([helper.make_node("Neg", ["x"], ["y"])])


def _evidence(
    folder: Path, files: dict[str, bytes], champion: dict[str, bytes] | None = None, **parameters: object
) -> Evidence:
    return evidence_about(
        files, folder, validator="gpu_benchmark", champion=champion, allow_cpu=True, parameters={**_QUICK, **parameters}
    )


def _metric(evidence: Evidence, name: str) -> Metric:
    metric = evidence.metric(name)
    assert metric is not None, (name, evidence.limitations)
    return metric


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """A model that is always right beside one that never is, with all that can be asked of a server of ours."""
    rows = np.eye(4)[np.arange(40) % 4]
    lines = ["a,b,c,d,label", *(",".join(map(str, [*row, row.argmax()])) for row in rows)]
    files = {"model.onnx": _IDENTITY, "holdout.csv": "\n".join(lines).encode()}
    return _evidence(
        tmp_path_factory.mktemp("everything"), files, {"model.onnx": _NEGATIVE},
        holdout={"metrics": ["accuracy", "f1_macro"]}, concurrency=4, soak={"duration_s": 11},
        sweep={"batch_sizes": [1, 8], "duration_s": 0.1}, cold_start={"starts": 2},
    )  # fmt: skip


def test_quality_is_measured_beside_the_champion(everything: Evidence) -> None:
    accuracy = _metric(everything, "accuracy")
    assert (accuracy.value, accuracy.baseline, accuracy.samples) == (1.0, 0.0, 40)
    assert _metric(everything, "accuracy_difference").value == 1.0
    assert _metric(everything, "accuracy_mcnemar").value < 1e-6
    assert "the sender's own claim" in everything.environment["holdout"]


def test_our_own_server_refuses_everything_hostile(everything: Evidence) -> None:
    assert everything.findings == ()
    sent, _, rest = everything.environment["robustness"].partition(" hostile requests, ")
    assert rest == f"{sent} answered by an error"


def test_clients_at_once_get_right_answers(everything: Evidence) -> None:
    assert everything.environment["concurrency"] == "4 clients at once"
    assert _metric(everything, "concurrent_throughput").value > 0


def test_our_own_server_does_not_grow(everything: Evidence) -> None:
    growth = _metric(everything, "memory_growth")
    assert growth.low is not None
    assert growth.low <= 1


def test_batch_sizes_and_cold_starts_have_their_figures(everything: Evidence) -> None:
    assert _metric(everything, "batch_8_throughput").value > _metric(everything, "batch_1_throughput").value
    assert _metric(everything, "cold_start").value >= _metric(everything, "cold_start_ready").value > 0
    assert _metric(everything, "cold_start").samples == 2
    assert {one.name for one in everything.attachments} >= {"batch-sweep.csv"}


def test_a_real_classifier_is_as_right_as_scikit_learn_says(tmp_path: Path) -> None:
    # Imported here: together they take seconds, which the other tests need not wait for.
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import log_loss, roc_auc_score

    features, labels = make_classification(300, 6, n_classes=3, n_informative=4, flip_y=0.3, random_state=3)
    features = features.astype(np.float32)
    model = LogisticRegression(max_iter=500).fit(features, labels)
    graph = to_onnx(model, features[:1], target_opset=17)
    lines = [
        "a,b,c,d,e,f,label",
        *(",".join(map(str, [*row, label])) for row, label in zip(features, labels, strict=True)),
    ]
    files = {"model.onnx": graph.SerializeToString(), "holdout.csv": "\n".join(lines).encode()}
    evidence = _evidence(tmp_path, files, holdout={"metrics": ["accuracy", "auc", "log_loss"]})
    scores = model.predict_proba(features)
    assert _metric(evidence, "accuracy").value == pytest.approx(model.score(features, labels))
    assert _metric(evidence, "auc").value == pytest.approx(roc_auc_score(labels, scores, multi_class="ovr"), abs=1e-4)
    assert _metric(evidence, "log_loss").value == pytest.approx(log_loss(labels, scores), abs=1e-4)
    assert evidence.findings == ()


def test_a_server_that_is_killed_under_load_is_a_high_finding(tmp_path: Path) -> None:
    artifact = write_folder(tmp_path / "artifact", {"model.onnx": an_onnx_model()})
    task = Task(
        validator="gpu_benchmark",
        input=a_validator_input(),
        artifact=str(artifact),
        scratch=str(tmp_path),
        timeout_s=60,
    )
    command = (str(PYTHON), "-I", "-m", "model_approval.validators.model_server")
    server = ServerProcess.start("candidate", artifact, tmp_path / "server", command=command)
    killer = threading.Timer(0.3, server.process.kill)
    try:
        server.wait_ready()
        killer.start()
        wanted = Parameters.model_validate({"robustness": False, "sweep": {"batch_sizes": [1], "duration_s": 60}})
        found = extras(Ground(task, wanted, server))
    finally:
        killer.cancel()
        server.close()
    (finding,) = found.findings
    assert (finding.rule, finding.severity) == ("robustness.crash", Severity.HIGH)
    assert "ended during: batch sweep (candidate: killed from outside" in finding.message


def test_nothing_but_robustness_runs_unasked(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path, {"model.onnx": an_onnx_model()})
    assert "robustness" in evidence.environment
    assert not {"holdout", "concurrency", "soak", "batch_sweep", "cold_start", "llm.load"} & set(evidence.environment)


def test_robustness_can_be_left_out(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path, {"model.onnx": an_onnx_model()}, robustness=False)
    assert "robustness" not in evidence.environment


def test_a_holdout_that_is_not_there_is_a_limitation(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path, {"model.onnx": an_onnx_model()}, holdout={}, robustness=False)
    assert "holdout: the artifact has no file 'holdout.csv' with a labelled holdout" in "\n".join(evidence.limitations)
    assert evidence.metric("latency_p50") is not None


def test_a_soak_that_is_too_short_is_a_limitation(tmp_path: Path) -> None:
    evidence = _evidence(tmp_path, {"model.onnx": an_onnx_model()}, soak={"duration_s": 0.2}, robustness=False)
    assert evidence.metric("memory_growth") is None
    assert "is too short to tell" in "\n".join(evidence.limitations)
