"""MLflow models in the model server: their code runs, but locked in, and only where that is allowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.support.model_servers import UnixServer, unix_server
from tests.support.models import an_onnx_model, write_folder
from tests.support.validation import PYTHON

pytestmark = pytest.mark.contract

_CORE = Path(sys.executable)
"""The interpreter of these tests has mlflow, the validators' has not."""

_SAVE = """
import sys, warnings
warnings.simplefilter("ignore")
import mlflow, numpy as np, pandas as pd
from sklearn.linear_model import LinearRegression

class Hostile(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        import os, socket
        tried = []
        for attempt in (
            socket.socket, os.fork, lambda: open("/etc/passwd"), lambda: open("/tmp/model-was-here", "w"),
            lambda: os.execv("/bin/true", ["true"]),
        ):
            try:
                attempt()
                tried.append("done")
            except OSError as err:
                tried.append(type(err).__name__)
        return pd.DataFrame({"tried": [" ".join(tried)] * len(model_input)})

folder = sys.argv[1]
save = {"pip_requirements": ["mlflow"]}  # else it starts programs to find out
x = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [1, 2, 1]})
model = LinearRegression().fit(x, x["a"] + 2 * x["b"])
signature = mlflow.models.infer_signature(x, model.predict(x))
mlflow.sklearn.save_model(model, folder + "/columns", signature=signature, **save)
x = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 1.0]], np.float32)
model = LinearRegression().fit(x, x @ [1, 2])
signature = mlflow.models.infer_signature(x, model.predict(x))
mlflow.sklearn.save_model(model, folder + "/tensor", signature=signature, **save)
frame = pd.DataFrame({"age": [1.0, 2.0, 3.0], "city": ["a", "b", "c"]})
signature = mlflow.models.infer_signature(frame, pd.DataFrame({"tried": ["x"]}))
mlflow.pyfunc.save_model(folder + "/hostile", python_model=Hostile(), signature=signature, **save)
mlflow.pyfunc.save_model(folder + "/unsigned", python_model=Hostile(), **save)
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MLflow models, saved by a process of its own: mlflow warns, and leaves threads behind."""
    folder = tmp_path_factory.mktemp("saved")
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [str(_CORE), "-c", _SAVE, str(folder)]
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=200, check=False, cwd=folder
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def _pyfunc_server(folder: Path, artifact: Path):
    (folder / "scratch").mkdir()
    return unix_server(folder, artifact, "--allow-code", "--python", str(_CORE), "--scratch", str(folder / "scratch"))


@pytest.fixture(scope="module")
def of_columns(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UnixServer]:
    """A regression over two columns, `a + 2 b`."""
    folder = tmp_path_factory.mktemp("columns")
    with _pyfunc_server(folder, saved / "columns") as server:
        yield server


def _column(name: str, datatype: str, data: list[object]) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


def test_a_signature_of_columns_is_served_as_one_tensor_a_column(of_columns: UnixServer) -> None:
    told = of_columns.ask("GET", "/v2/models/model").document
    assert told["platform"] == "mlflow pyfunc"
    assert told["inputs"] == [
        {"name": "a", "datatype": "FP64", "shape": [-1]}, {"name": "b", "datatype": "INT64", "shape": [-1]}
    ]  # fmt: skip
    answer = of_columns.infer({"inputs": [_column("a", "FP64", [1, 10.5]), _column("b", "INT64", [3, 5])]})
    (output,) = answer.document["outputs"]
    assert (answer.status, output["shape"]) == (200, [2])
    assert output["data"] == pytest.approx([7, 20.5])


def test_our_own_api_serves_it_too(of_columns: UnixServer) -> None:
    answer = of_columns.ask("POST", "/v1/predict", json.dumps({"inputs": {"a": [1.0, 2.0], "b": [3, 4]}}).encode())
    assert answer.status == 200
    (values,) = answer.document["outputs"].values()
    assert values == pytest.approx([7, 10])


def test_columns_of_unequal_length_are_refused(of_columns: UnixServer) -> None:
    answer = of_columns.infer({"inputs": [_column("a", "FP64", [1, 10.5]), _column("b", "INT64", [3])]})
    assert answer.status == 400
    assert "unequal length" in answer.document["error"]


def test_a_signature_of_tensors_is_served_as_it_is(saved: Path, tmp_path: Path) -> None:
    with _pyfunc_server(tmp_path, saved / "tensor") as server:
        values = np.array([[1, 3], [2, 4]], np.float32)
        described = {"name": "input", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
        answer = server.infer({"inputs": [described]}, values.tobytes())
        assert answer.status == 200, answer.body
        assert answer.document["outputs"][0]["data"] == pytest.approx([7, 10], rel=1e-5)


def test_the_models_code_reaches_no_network_no_file_and_no_program(saved: Path, tmp_path: Path) -> None:
    with _pyfunc_server(tmp_path, saved / "hostile") as server:
        locks = server.ask("GET", "/v2").document["parameters"]["confinement"]
        answer = server.infer({"inputs": [_column("age", "FP64", [1]), _column("city", "BYTES", ["\u00fc"])]})
    assert all(state.startswith("in force") for state in locks.values())
    assert answer.document["outputs"][0]["data"] == [" ".join(["PermissionError"] * 5)]


@pytest.mark.parametrize(
    ("python", "kind", "arguments", "words"),
    [
        (PYTHON, "columns", [], "runs code that came with it"),
        (PYTHON, "columns", ["--allow-code"], "cannot import mlflow"),
        (PYTHON, "columns", ["--allow-code", "--python", "/nowhere/python"], "/nowhere/python cannot be started"),
        (_CORE, "columns", ["--allow-code"], "may run only where it is confined"),
        (PYTHON, "unsigned", ["--allow-code", "--python", str(_CORE)], "declares no signature"),
    ],
)
def test_it_does_not_start_without_leave_locks_library_and_signature(
    saved: Path, tmp_path: Path, python: Path, kind: str, arguments: list[str], words: str
) -> None:
    with pytest.raises(AssertionError, match=words), unix_server(tmp_path, saved / kind, *arguments, python=python):
        pass


def test_an_onnx_file_beside_is_preferred_as_it_needs_no_code(tmp_path: Path) -> None:
    files = {"MLmodel": b"flavors: {python_function: {loader_module: mlflow.onnx}}", "model.onnx": an_onnx_model()}
    with unix_server(tmp_path, write_folder(tmp_path / "artifact", files)) as server:
        assert server.ask("GET", "/v2/models/model").document["platform"] == "onnxruntime"
