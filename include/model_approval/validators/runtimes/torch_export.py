"""Programs of `torch.export` (`.pt2`). Loading one unpickles parts of it, which may run its code: see `choose.py`."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Device
from model_approval.validators.runtimes.contract import Feeds, RefusedInputError, TensorSpec


class TorchExportRuntime:
    """An exported program as a `Runtime`."""

    name = "torch"

    def __init__(self, torch: Any, program: Any, *, threads: int, cuda: bool) -> None:  # noqa: ANN401  # torch is imported late
        self._torch = torch
        self.version = str(torch.__version__)
        self.device = Device.CUDA if cuda else Device.CPU
        self.facts: Mapping[str, str] = {"threads": str(threads), "cuda": str(torch.version.cuda or "none")}
        self._where = torch.device("cuda" if cuda else "cpu")
        values = {node.name: node.meta.get("val") for node in program.graph.nodes}
        signature = program.graph_signature
        self.inputs = tuple(_spec(name, values.get(name)) for name in signature.user_inputs)
        self.outputs = tuple(_spec(str(name), values.get(name)) for name in signature.user_outputs)
        self._call = program.module().to(self._where)

    @classmethod
    def open(cls, path: Path, *, threads: int, cuda: bool = True) -> TorchExportRuntime:
        """Load a file.

        Raises:
            EvidenceError: No torch here, or it refuses the file.
        """
        try:
            torch: Any = importlib.import_module("torch")
        except ImportError as err:
            raise EvidenceError(
                f"this interpreter cannot import torch: {err}",
                hint="start the server with one that can: an image with torch, or the parameter `python`",
            ) from err
        torch.set_num_threads(threads)
        try:
            program = torch.export.load(str(path))
        except Exception as err:  # its errors share no base class
            raise EvidenceError(f"torch cannot load {path.name}: {type(err).__name__}: {err}") from err
        return cls(torch, program, threads=threads, cuda=cuda and torch.cuda.is_available())

    def run(self, feeds: Feeds) -> Sequence[Any]:
        """Run the program. Raises RefusedInputError when a shape is outside of what was exported."""
        torch = self._torch
        # A copy: torch warns about, and may write to, memory that is not its own.
        tensors = [torch.tensor(feeds[spec.name], device=self._where) for spec in self.inputs]
        try:
            with torch.inference_mode():
                answer = self._call(*tensors)
        except (AssertionError, RuntimeError) as err:  # what its guards on shapes raise
            raise RefusedInputError(str(err)) from err
        leaves, _ = torch.utils._pytree.tree_flatten(answer)
        return [leaf.cpu().numpy() for leaf in leaves]


def _spec(name: str, value: Any) -> TensorSpec:  # noqa: ANN401  # a tensor of an untyped library
    if not hasattr(value, "shape") or not hasattr(value, "dtype"):
        raise EvidenceError(f"{name!r} of the exported program is no tensor")
    sizes = tuple(size if isinstance(size, int) else str(size) for size in value.shape)
    return TensorSpec(name, str(value.dtype).removeprefix("torch."), sizes)
