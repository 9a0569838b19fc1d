"""ONNX models in onnxruntime, on CUDA or the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_approval.domain.evidence import Device
from model_approval.validators.onnx_session import OpenModel, import_runtime, open_model
from model_approval.validators.runtimes.contract import Feeds, RefusedInputError, TensorSpec


class OnnxRuntime:
    """An ONNX model as a `Runtime`."""

    name = "onnxruntime"

    def __init__(self, model: OpenModel, *, version: str, threads: int) -> None:
        self._model = model
        self._run = model.session.run
        self.version = version
        self.facts: Mapping[str, str] = {
            "threads": str(threads),
            "providers": ", ".join(model.session.get_providers()),
        }
        # Imported late: its classes exist only where the library does.
        from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

        self._refusal: type[Exception] = InvalidArgument

    @classmethod
    def open(cls, path: Path, *, threads: int, want_cuda: bool = True) -> OnnxRuntime:
        """Load a file. Raises EvidenceError when onnxruntime refuses it."""
        version = str(import_runtime().__version__)
        return cls(open_model(path, threads=threads, want_cuda=want_cuda), version=version, threads=threads)

    @property
    def device(self) -> Device:
        """CUDA when its provider took the model."""
        return self._model.device

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The graph's inputs."""
        return self._model.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The graph's outputs."""
        return self._model.output_specs

    def run(self, feeds: Feeds) -> Sequence[Any]:
        """Run the graph. Raises RefusedInputError when onnxruntime calls an argument invalid."""
        try:
            return self._run(None, feeds)  # type: ignore[no-any-return]  # the library ships no types
        except self._refusal as err:
            raise RefusedInputError(str(err)) from err
