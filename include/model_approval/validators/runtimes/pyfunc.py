"""MLflow models of any flavour, through `python_function`. Loading one runs its code: see `choose.py`.

What the model takes is its signature. A signature of tensors is served as it is; one of columns is served as one tensor
a column, shape [rows], and put together to a DataFrame. Strings travel as BYTES, times as strings in ISO 8601.
"""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device
from model_approval.validators.runtimes.contract import Feeds, RefusedInputError, TensorSpec

_COLUMN_TYPES: Mapping[str, str] = {
    "boolean": "bool",
    "integer": "int32",
    "long": "int64",
    "float": "float32",
    "double": "float64",
    "string": "str",
    "datetime": "str",
}
_UNNAMED_INPUT, _UNNAMED_OUTPUT = "input", "output"


class PyfuncRuntime:
    """An MLflow model as a `Runtime`."""

    name = "mlflow pyfunc"
    device = Device.CPU

    def __init__(self, model: Any, *, version: str, threads: int) -> None:  # noqa: ANN401  # mlflow is imported late
        schema = model.metadata.get_input_schema()
        if schema is None or not schema.inputs:
            raise EvidenceError(
                "the MLflow model declares no signature, so nobody knows what it takes",
                hint="log it with one (`signature=` or `input_example=`)",
            )
        self._predict = model.predict
        self._tensors = bool(schema.is_tensor_spec())
        self._named = bool(schema.has_input_names())
        self.version = version
        self.inputs = _specs(schema, _UNNAMED_INPUT)
        output_schema = model.metadata.get_output_schema()
        self.outputs = (
            _specs(output_schema, _UNNAMED_OUTPUT) if output_schema else (TensorSpec(_UNNAMED_OUTPUT, "unknown", ()),)
        )
        flavour = (model.metadata.flavors or {}).get("python_function", {})
        self.facts: Mapping[str, str] = {
            "threads": str(threads),
            "loader": str(flavour.get("loader_module", "unknown"))[:200],
            "python": platform.python_version(),
        }

    @classmethod
    def open(cls, folder: Path, *, threads: int) -> PyfuncRuntime:
        """Load a folder with an `MLmodel`.

        Raises:
            EvidenceError: No mlflow here, or the model does not load.
        """
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"  # read at the first import
        try:
            mlflow = importlib.import_module("mlflow")
            pyfunc = importlib.import_module("mlflow.pyfunc")
        except ImportError as err:
            raise EvidenceError(
                f"this interpreter cannot import mlflow: {err}",
                hint="start the server with one that can: the image server-pyfunc, or the parameter `python`",
            ) from err
        try:
            model = pyfunc.load_model(str(folder), suppress_warnings=True)
        except Exception as err:  # whatever the model's own code raises
            raise EvidenceError(f"mlflow cannot load the model: {type(err).__name__}: {err}") from err
        return cls(model, version=str(mlflow.__version__), threads=threads)

    def run(self, feeds: Feeds) -> Sequence[Any]:
        """Predict once. Raises RefusedInputError when mlflow finds that the inputs are not what the signature says."""
        from mlflow.exceptions import MlflowException

        try:
            return self._arrays(self._predict(self._input(feeds)))
        except MlflowException as err:
            raise RefusedInputError(str(err)) from err

    def _input(self, feeds: Feeds) -> object:
        if self._tensors:
            return dict(feeds) if self._named else feeds[_UNNAMED_INPUT]
        return _frame(
            [feeds[spec.name] for spec in self.inputs], [s.name for s in self.inputs] if self._named else None
        )

    def _arrays(self, answer: Any) -> list[object]:  # noqa: ANN401  # whatever a model answers
        """One array an output, by name where the answer has names."""
        if hasattr(answer, "columns") and hasattr(answer, "to_numpy"):
            answer = {str(name): answer[name].to_numpy() for name in answer.columns}
        if isinstance(answer, Mapping):
            if {str(name) for name in answer} >= {spec.name for spec in self.outputs}:
                return [np.asarray(answer[spec.name]) for spec in self.outputs]
            if len(self.outputs) == 1:
                return [np.column_stack([np.asarray(value) for value in answer.values()])]
            raise ValueError(f"the model answered {sorted(map(str, answer))}, not what its signature names")
        if len(self.outputs) != 1:
            raise ValueError(f"the model answered one value, its signature names {len(self.outputs)}")
        return [np.asarray(answer)]


def _frame(columns: Sequence[Any], names: Sequence[str] | None) -> object:
    pandas: Any = importlib.import_module("pandas")
    if len({len(column) for column in columns}) > 1:
        raise RefusedInputError("the columns are of unequal length")
    return pandas.DataFrame(dict(zip(names or range(len(columns)), columns, strict=True)))


def _specs(schema: Any, unnamed: str) -> tuple[TensorSpec, ...]:  # noqa: ANN401  # mlflow's, imported late
    return tuple(
        _spec(item, item.name or _name(unnamed, number, len(schema.inputs)))
        for number, item in enumerate(schema.inputs)
    )


def _name(unnamed: str, number: int, count: int) -> str:
    return unnamed if count == 1 else f"{unnamed}_{number}"


def _spec(item: Any, name: str) -> TensorSpec:  # noqa: ANN401  # mlflow's, imported late
    if hasattr(item, "shape"):
        dtype = np.dtype(item.type)
        kind = "str" if dtype.kind in "OSU" else dtype.name
        return TensorSpec(str(name), kind, tuple(size if size > 0 else None for size in item.shape))
    column = getattr(item.type, "name", "")
    if column not in _COLUMN_TYPES:
        known = ", ".join(_COLUMN_TYPES)
        raise EvidenceError(f"{name!r} of the model's signature is of type {item.type}; known are columns of {known}")
    return TensorSpec(str(name), _COLUMN_TYPES[column], (None,))
