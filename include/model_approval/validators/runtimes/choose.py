"""Which runtime an artifact needs, told from its files, and the model opened in it.

An ONNX graph is data. The other kinds run code that came with the artifact when they are loaded, so they need the
policy's leave and a process that is confined in full; an ONNX file is therefore preferred where an artifact has both.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from model_approval.domain.errors import EvidenceError
from model_approval.validators.onnx_session import find_model
from model_approval.validators.runtimes.contract import Runtime

_MLMODEL = "MLmodel"
_EXPORTED = ".pt2"


class Kind(StrEnum):
    """A runtime by the name that a check's parameters give it."""

    ONNX = "onnx"
    PYFUNC = "pyfunc"
    TORCH = "torch"


@dataclass(frozen=True)
class Wanted:
    """How to open a model."""

    model: str | None = None
    """Path of the model's file in the artifact, when there are several."""
    kind: Kind | None = None
    """None: told from the files."""
    threads: int = 1
    cuda: bool = True
    may_run_code: bool = False
    """Whether code that came with the artifact may run (pickles, MLflow flavours, ...)."""


def open_runtime(artifact: Path, wanted: Wanted) -> Runtime:
    """Open an artifact's model.

    Raises:
        EvidenceError: No runtime knows it, it needs code that may not run, or it does not load.
    """
    kind = wanted.kind or _kind_of(artifact, wanted.model)
    if kind is Kind.ONNX:
        from model_approval.validators.runtimes.onnx import OnnxRuntime

        return OnnxRuntime.open(find_model(artifact, wanted.model), threads=wanted.threads, want_cuda=wanted.cuda)
    if not wanted.may_run_code:
        raise EvidenceError(
            f"a {kind} model runs code that came with it when it is loaded, and that is not allowed",
            hint="export the model to ONNX, or allow its code in the policy (--allow-code)",
        )
    if kind is Kind.PYFUNC:
        from model_approval.validators.runtimes.pyfunc import PyfuncRuntime

        return PyfuncRuntime.open(artifact, threads=wanted.threads)
    from model_approval.validators.runtimes.torch_export import TorchExportRuntime

    return TorchExportRuntime.open(_only(artifact, _EXPORTED, wanted.model), threads=wanted.threads, cuda=wanted.cuda)


def _kind_of(artifact: Path, model: str | None) -> Kind:
    names = [model or artifact.name] if model or artifact.is_file() else [item.name for item in artifact.rglob("*")]
    if any(name.endswith(".onnx") for name in names):
        return Kind.ONNX
    if any(name.endswith(_EXPORTED) for name in names):
        return Kind.TORCH
    if (artifact / _MLMODEL).is_file():
        return Kind.PYFUNC
    raise EvidenceError(
        "the artifact has no model that a runtime here knows (ONNX, torch export, MLflow)",
        hint="name its file with the parameter `model`, and its kind with `runtime` if the name does not tell it",
    )


def _only(artifact: Path, suffix: str, model: str | None) -> Path:
    """Same rule as for ONNX: the named one, else the only one."""
    if model is not None or artifact.is_file():
        return find_model(artifact, model)
    found = sorted(artifact.rglob(f"*{suffix}"))
    if len(found) != 1:
        raise EvidenceError(f"the artifact has {len(found)} {suffix} files", hint="name one with the parameter `model`")
    return found[0]
