"""Inputs made up by a model's signature, the same for the same seed."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.open_inference import DATATYPES, Arrays, Metadata, TensorInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INTEGER_BELOW = 2
"""Made-up integers are 0 or 1: the only ones that are safe as an index into any vocabulary."""


def concrete_shape(info: TensorInfo, *, batch_size: int, dimensions: Mapping[str, int]) -> tuple[int, ...]:
    """Sizes of an input: open ones by name where the policy names them, else the first is the batch, the others 1."""
    sizes = []
    for position, (size, name) in enumerate(zip_longest(info.shape, info.dimensions[: len(info.shape)], fillvalue="")):
        assert isinstance(size, int)
        open_size = dimensions.get(str(name)) or (batch_size if position == 0 else 1)
        sizes.append(size if size > 0 else open_size)
    return tuple(sizes)


def made_up_inputs(
    metadata: Metadata, count: int, *, batch_size: int, dimensions: Mapping[str, int], seed: int
) -> list[Arrays]:
    """Some different inputs: standard normal numbers, integers 0 or 1, one word.

    Raises:
        EvidenceError: The model takes something that is not made up here; names the input.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    if not metadata.inputs:
        raise EvidenceError("the model's server names no input", hint="give the model a signature")
    shapes = {one.name: concrete_shape(one, batch_size=batch_size, dimensions=dimensions) for one in metadata.inputs}
    return [{one.name: _made_up(one, shapes[one.name], generator) for one in metadata.inputs} for _ in range(count)]


def _made_up(info: TensorInfo, shape: tuple[int, ...], generator: np.random.Generator) -> NDArray[Any]:
    import numpy as np

    dtype = DATATYPES.get(info.datatype)
    if dtype is None:
        raise EvidenceError(f"input {info.name!r} is of type {info.datatype!r}, which is not made up here")
    if dtype == "object":
        return np.full(shape, "a", dtype=object)
    if dtype.startswith("float"):
        return generator.standard_normal(shape).astype(dtype)
    return generator.integers(0, _INTEGER_BELOW, shape).astype(dtype)


def described(arrays: Arrays) -> str:
    """Names, types and shapes, for the evidence."""
    return ", ".join(f"{name}: {array.dtype}{list(array.shape)}" for name, array in arrays.items())
