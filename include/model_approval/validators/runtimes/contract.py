"""What the model server needs of a runtime, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from model_approval.domain.evidence import Device

if TYPE_CHECKING:
    from numpy.typing import NDArray

Feeds = Mapping[str, "NDArray[Any]"]


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model."""

    name: str
    dtype: str
    """NumPy's name; `str` for strings."""
    shape: tuple[int | str | None, ...]
    """Sizes; a name or None where any size goes."""


class RefusedInputError(Exception):
    """The runtime says that the inputs are at fault: a shape that only it can judge, an index out of range."""


class Runtime(Protocol):
    """A loaded model. `run` may be called by several threads at once."""

    @property
    def name(self) -> str:
        """`onnxruntime`, `mlflow pyfunc`, `torch`."""
        ...

    @property
    def version(self) -> str:
        """The runtime's own version."""
        ...

    @property
    def device(self) -> Device:
        """Where the model computes."""
        ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """What the model takes; all of it is mandatory."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """What the model answers, in the order of `run`. May be empty when only a run can tell."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What else the evidence should say: providers, threads, versions of libraries."""
        ...

    def run(self, feeds: Feeds) -> Sequence[object]:
        """Ask the model once.

        Returns:
            One value an output: an array, or for some ONNX models a list of maps.

        Raises:
            RefusedInputError: The inputs are at fault. Anything else that is raised is the model's own failure.
        """
        ...
