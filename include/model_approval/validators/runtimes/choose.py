"""Which runtime an artifact needs, told from its files, and the model opened in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from model_approval.validators.onnx_session import find_model
from model_approval.validators.runtimes.contract import Runtime


@dataclass(frozen=True)
class Wanted:
    """How to open a model."""

    model: str | None = None
    """Path of the model's file in the artifact, when there are several."""
    threads: int = 1
    cuda: bool = True
    allow_code: bool = False
    """Whether code that came with the artifact may run (pickles, MLflow flavours, ...)."""


def open_runtime(artifact: Path, wanted: Wanted) -> Runtime:
    """Open an artifact's model.

    Raises:
        EvidenceError: No runtime knows it, it needs code that is not allowed, or it does not load.
    """
    from model_approval.validators.runtimes.onnx import OnnxRuntime

    return OnnxRuntime.open(find_model(artifact, wanted.model), threads=wanted.threads, want_cuda=wanted.cuda)
