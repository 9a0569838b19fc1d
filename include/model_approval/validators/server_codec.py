"""JSON to tensors and back, refusing whatever the model's signature does not name."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from model_approval.validators.onnx_session import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class InputError(Exception):
    """The body is not a request for this model.

    Attributes:
        status: 400 for what is no JSON of the right shape, 422 for values that the model's signature does not take.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class OutputError(Exception):
    """The model answered something that JSON cannot carry."""


def decode_inputs(body: bytes, specs: Sequence[InputSpec]) -> dict[str, Any]:
    """Read `{"inputs": {name: nested lists}}` into arrays.

    Raises:
        InputError: Names the input and what is wrong with it.
    """
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise InputError(f"the body is no JSON: {err}") from err
    if not isinstance(document, dict) or set(document) != {"inputs"} or not isinstance(document["inputs"], dict):
        raise InputError('the body must be {"inputs": {name: nested lists}}')
    given, known = document["inputs"], {spec.name for spec in specs}
    if set(given) != known:
        wrong = sorted(set(given) ^ known)
        raise InputError(f"input {wrong[0]!r} is {'unknown' if wrong[0] in given else 'missing'}", 422)
    return {spec.name: _tensor(spec, given[spec.name]) for spec in specs}


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_KINDS = {"float": "iuf", "int": "i", "uint": "iu", "bool": "b", "str": "U"}


def _tensor(spec: InputSpec, value: object) -> NDArray[Any]:
    import numpy as np

    kind = spec.dtype.rstrip("0123456789")
    try:
        array = np.array(value)
    except (ValueError, OverflowError) as err:
        raise InputError(f"input {spec.name!r}: lists of unequal length", 422) from err
    if array.size == 0 or array.dtype.kind not in _KINDS[kind]:
        raise InputError(f"input {spec.name!r}: values must be {spec.dtype}, and at least one", 422)
    if not _fits(array.shape, spec.shape):
        wanted = [size if isinstance(size, int) and size > 0 else "any" for size in spec.shape]
        raise InputError(f"input {spec.name!r}: shape {list(array.shape)}, wanted {wanted}", 422)
    return _cast(spec, array, kind)


def _cast(spec: InputSpec, array: NDArray[Any], kind: str) -> NDArray[Any]:
    import numpy as np

    if kind == "str":
        return array.astype(object)
    if kind in ("int", "uint"):
        bounds = np.iinfo(spec.dtype)
        if int(array.min()) < bounds.min or int(array.max()) > bounds.max:
            raise InputError(f"input {spec.name!r}: a value does not fit {spec.dtype}", 422)
    with np.errstate(over="ignore"):
        cast = array.astype(spec.dtype)
    if kind == "float" and not np.isfinite(cast).all():
        raise InputError(f"input {spec.name!r}: a value is not a finite {spec.dtype}", 422)
    return cast


def _fits(shape: tuple[int, ...], wanted: tuple[int | str | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        not isinstance(size, int) or size <= 0 or size == given for given, size in zip(shape, wanted, strict=True)
    )


def encode_outputs(names: Sequence[str], values: Sequence[object]) -> dict[str, object]:
    """Turn the model's answer into nested lists.

    Raises:
        OutputError: It holds NaN or infinity; names the output.
    """
    outputs = {name: _plain(value) for name, value in zip(names, values, strict=True)}
    for name, value in outputs.items():
        if not _is_finite(value):
            raise OutputError(f"the model answered NaN or infinity in output {name!r}")
    return outputs


def _plain(value: object) -> object:
    if isinstance(value, dict):  # classifiers exported from scikit-learn answer one map a row
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    tolist = getattr(value, "tolist", None)
    return tolist() if tolist else value


def _is_finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_finite, value.values()))
    if isinstance(value, list):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
