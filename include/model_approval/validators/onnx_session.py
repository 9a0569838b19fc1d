"""One ONNX model in onnxruntime: found in a folder and opened on the wanted device.

Used by the benchmark's worker and by the model server. Never registers custom operator libraries.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device
from model_approval.validators.runtimes.contract import TensorSpec

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(uint32)": "uint32",
    "tensor(uint64)": "uint64",
    "tensor(bool)": "bool",
    "tensor(string)": "str",
}
InputSpec = TensorSpec


@dataclass(frozen=True)
class OpenModel:
    """A loaded model."""

    session: Any
    device: Device
    inputs: tuple[InputSpec, ...]
    output_specs: tuple[TensorSpec, ...]

    @property
    def outputs(self) -> tuple[str, ...]:
        """The outputs' names."""
        return tuple(spec.name for spec in self.output_specs)


def import_runtime() -> Any:  # noqa: ANN401  # the library ships no types
    """onnxruntime, silent and without its telemetry, which has to be refused before the first import (since 1.29)."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)  # its warnings would go to a terminal that nobody watches
    return onnxruntime


def find_model(folder: Path, wanted: str | None = None) -> Path:
    """The ONNX file of an artifact: the named one, else `model.onnx`, else the only `*.onnx`.

    Raises:
        EvidenceError: There is none, or several and none was named.
    """
    if folder.is_file():
        return folder
    if wanted is not None:
        path = (folder / wanted).resolve()
        if not path.is_file() or not path.is_relative_to(folder.resolve()):
            raise EvidenceError(f"the artifact has no file {wanted!r}", hint="mend the parameter `model` of the check")
        return path
    found = sorted(folder.rglob("*.onnx"))
    named = [path for path in found if path.name == "model.onnx"]
    candidates = named or found
    if len(candidates) != 1:
        what = "no ONNX file" if not found else f"{len(found)} ONNX files"
        raise EvidenceError(f"the artifact has {what}", hint="name one with the check's parameter `model`")
    return candidates[0]


def open_model(path: Path, *, threads: int, want_cuda: bool = True) -> OpenModel:
    """Load a model, on CUDA when it is there and wanted, else on the CPU.

    Raises:
        EvidenceError: onnxruntime refuses it, or an input is of a kind that we do not make up.
    """
    ort = import_runtime()
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Idle threads that spin would steal time from the other model of an interleaved measurement, and from neighbours.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [_CUDA, _CPU] if want_cuda and _CUDA in ort.get_available_providers() else [_CPU]
    try:
        session = ort.InferenceSession(str(path), options, providers=providers)
    except Exception as err:  # its errors share no base class; the load failed, whatever the reason
        raise EvidenceError(f"onnxruntime cannot load {path.name}: {err}") from err
    device = Device.CUDA if session.get_providers()[0] == _CUDA else Device.CPU
    inputs = tuple(_spec(item.name, item.type, item.shape) for item in session.get_inputs())
    outputs = tuple(_output_spec(item.name, item.type, item.shape) for item in session.get_outputs())
    return OpenModel(session, device, inputs, outputs)


def _output_spec(name: str, kind: str, shape: list[int | str | None]) -> TensorSpec:
    """Classifiers from scikit-learn answer one map a row (`seq(map(int64,tensor(float)))`): a column for each key."""
    if kind.startswith("seq(map("):
        return TensorSpec(name, "float32", (None, None))
    return TensorSpec(name, _DTYPES.get(kind, "unknown"), tuple(shape))


def _spec(name: str, kind: str, shape: list[int | str | None]) -> InputSpec:
    if kind not in _DTYPES:
        raise EvidenceError(f"input {name!r} is a {kind}; only tensors of numbers, booleans and strings are known")
    return InputSpec(name, _DTYPES[kind], tuple(shape))


def concrete_shape(spec: InputSpec, *, batch_size: int, dimensions: dict[str, int]) -> tuple[int, ...]:
    """Sizes for a made-up input: open first dimension = batch size, other open ones by name, else 1."""
    sizes = []
    for position, size in enumerate(spec.shape):
        if isinstance(size, int) and size > 0:
            sizes.append(size)
        elif isinstance(size, str) and size in dimensions:
            sizes.append(dimensions[size])
        else:
            sizes.append(batch_size if position == 0 else 1)
    return tuple(sizes)
