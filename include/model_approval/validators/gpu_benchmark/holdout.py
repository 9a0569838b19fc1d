"""A labelled holdout, read from a file of the artifact: CSV, or JSON for inputs that are no flat rows.

    CSV    a header line; one column is the label, the others are the model's inputs
    JSON   {"inputs": {name: nested lists}, "labels": [...], "expected": {output: nested lists}}
           with `labels`, `expected` or both

Never a pickle in any form: the measuring program must not run the sender's code.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import plain_line
from model_approval.validators.gpu_benchmark.extra_parameters import HoldoutParameters
from model_approval.validators.gpu_benchmark.open_inference import DATATYPES, Arrays, Metadata, TensorInfo

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_BYTES = 64 * 1024**2
"""Its cells take some ten times as much memory while they are text."""
_HINT = "mend the file, or the check's parameter `holdout`"


@dataclass(frozen=True)
class Holdout:
    """What is asked and what the answer should be; all of it has `rows` entries in the first dimension."""

    rows: int
    inputs: Arrays
    labels: tuple[str, ...] | None
    """As the file writes them."""
    expected: Arrays
    """Expected outputs by name; empty when the file has labels alone."""
    digest: str
    """`sha256:...` of the file."""


def read_holdout(folder: Path, wanted: HoldoutParameters, metadata: Metadata) -> Holdout:
    """Read the file that the policy names.

    Args:
        folder: The artifact.
        wanted: The check's parameter `holdout`.
        metadata: What the server says of the model: types and shapes of the inputs.

    Raises:
        EvidenceError: No such file, not of that form, or not for this model; names file, row and column.
    """
    data = _read(folder, wanted.path)
    try:
        if wanted.path.lower().endswith(".csv"):
            found = _from_csv(data, wanted, metadata)
        elif wanted.path.lower().endswith(".json"):
            found = _from_json(data, metadata)
        else:
            raise EvidenceError("only .csv and .json are read: other forms can carry code", hint=_HINT)
        return _checked(found, wanted, "sha256:" + hashlib.sha256(data).hexdigest())
    except EvidenceError as err:
        raise EvidenceError(f"holdout {plain_line(wanted.path, limit=200)}: {err.message}", hint=err.hint) from err


def _read(folder: Path, name: str) -> bytes:
    root = folder.resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root) or not path.is_file():
        raise EvidenceError(
            f"the artifact has no file {plain_line(name, limit=200)!r} with a labelled holdout",
            hint="send it along, or mend the check's parameter `holdout.path`",
        )
    with path.open("rb") as stream:
        data = stream.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise EvidenceError(f"holdout {name!r} is larger than {_MAX_BYTES // 1024**2} MiB", hint="take a sample of it")
    return data


@dataclass(frozen=True)
class _Raw:
    inputs: Arrays
    labels: Sequence[object] | None
    expected: Arrays


def _checked(raw: _Raw, wanted: HoldoutParameters, digest: str) -> Holdout:
    lengths = {f"input {name!r}": len(array) for name, array in raw.inputs.items()}
    lengths |= {f"expected {name!r}": len(array) for name, array in raw.expected.items()}
    if raw.labels is not None:
        lengths["labels"] = len(raw.labels)
    if len(set(lengths.values())) != 1:
        raise EvidenceError(f"unequal lengths: {', '.join(f'{name} {n}' for name, n in lengths.items())}", hint=_HINT)
    rows = next(iter(lengths.values()))
    if not 0 < rows <= wanted.max_rows:
        raise EvidenceError(f"{rows} rows; it takes 1 to {wanted.max_rows} (parameter `holdout.max_rows`)", hint=_HINT)
    if raw.labels is None and not raw.expected:
        raise EvidenceError("neither labels nor expected outputs", hint=_HINT)
    labels = None if raw.labels is None else tuple(map(_label, raw.labels))
    return Holdout(rows, raw.inputs, labels, raw.expected, digest)


def _label(value: object) -> str:
    if isinstance(value, list | dict) or value is None:
        raise EvidenceError("a label is no number, word or boolean", hint=_HINT)
    return str(int(value)) if isinstance(value, bool) else str(value).strip()


def _from_csv(data: bytes, wanted: HoldoutParameters, metadata: Metadata) -> _Raw:
    try:
        rows = list(csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as err:
        raise EvidenceError(f"is no CSV in UTF-8: {err}", hint=_HINT) from err
    if not rows:
        raise EvidenceError("is empty", hint=_HINT)
    header, body = [name.strip() for name in rows[0]], [row for row in rows[1:] if row]
    for number, row in enumerate(body, 1):
        if len(row) != len(header):
            raise EvidenceError(f"row {number} has {len(row)} fields, the header {len(header)}", hint=_HINT)
    inputs = {}
    for name, columns in _columns(header, wanted, metadata).items():
        info = _info_of(name, metadata)
        cells = [[row[header.index(column)] for column in columns] for row in body]
        inputs[name] = _shaped(_table(cells, columns, info), info)
    return _Raw(inputs, [row[header.index(wanted.label)] for row in body], {})


def _columns(header: list[str], wanted: HoldoutParameters, metadata: Metadata) -> dict[str, tuple[str, ...]]:
    """The columns of each input; every input of the model must have some."""
    if wanted.inputs:
        chosen = dict(wanted.inputs)
    elif len(metadata.inputs) == 1:
        chosen = {metadata.inputs[0].name: tuple(name for name in header if name != wanted.label)}
    else:
        chosen = {info.name: (info.name,) for info in metadata.inputs}
    for column in (wanted.label, *(column for columns in chosen.values() for column in columns)):
        if header.count(column) != 1:
            found = "twice" if column in header else f"not there; there are {', '.join(header)}"
            raise EvidenceError(f"column {column!r} is {plain_line(found, limit=500)}", hint=_HINT)
    return chosen


def _info_of(name: str, metadata: Metadata) -> TensorInfo:
    for info in metadata.inputs:
        if info.name == name:
            return info
    known = ", ".join(info.name for info in metadata.inputs)
    raise EvidenceError(f"the model has no input {plain_line(name, limit=200)!r}; it has {known}", hint=_HINT)


def _table(cells: list[list[str]], columns: Sequence[str], info: TensorInfo) -> NDArray[Any]:
    import numpy as np

    dtype = np.dtype(DATATYPES.get(info.datatype, "object"))
    if dtype.kind == "O":
        return np.array(cells, dtype=object).reshape(len(cells), len(columns))
    try:
        numbers = np.array(cells, dtype=np.float64 if dtype.kind in "fb" else dtype)
    except (ValueError, OverflowError):
        raise EvidenceError(_first_wrong_cell(cells, columns, dtype.name), hint=_HINT) from None
    return numbers.reshape(len(cells), len(columns)).astype(dtype)


def _first_wrong_cell(cells: list[list[str]], columns: Sequence[str], dtype: str) -> str:
    import numpy as np

    for number, row in enumerate(cells, 1):
        for column, cell in zip(columns, row, strict=True):
            try:
                np.array([cell], dtype="float64" if dtype.startswith(("float", "bool")) else dtype)
            except (ValueError, OverflowError):
                return f"row {number}, column {column!r}: {plain_line(cell, limit=80)!r} is no {dtype}"
    return f"a value is no {dtype}"


def _shaped(table: NDArray[Any], info: TensorInfo) -> NDArray[Any]:
    """Rows of columns in the model's own shape."""
    inner = list(info.shape[1:])
    if not inner and table.shape[1] == 1:
        return table[:, 0]
    if inner.count(-1) <= 1:
        try:
            return table.reshape(len(table), *inner)
        except ValueError:
            pass
    raise EvidenceError(f"{table.shape[1]} columns do not make up input {info.name!r} {list(info.shape)}", hint=_HINT)


def _from_json(data: bytes, metadata: Metadata) -> _Raw:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as err:
        raise EvidenceError(f"is no JSON: {plain_line(str(err), limit=200)}", hint=_HINT) from err
    if not isinstance(document, dict) or not isinstance(document.get("inputs"), dict):
        raise EvidenceError('must be {"inputs": {...}, "labels": [...], "expected": {...}}', hint=_HINT)
    labels, expected = document.get("labels"), document.get("expected", {})
    if (labels is not None and not isinstance(labels, list)) or not isinstance(expected, dict):
        raise EvidenceError("`labels` must be a list and `expected` an object", hint=_HINT)
    types = {info.name: DATATYPES.get(info.datatype, "object") for info in metadata.outputs}
    inputs = {name: _nested(name, item, _type_of(name, metadata)) for name, item in document["inputs"].items()}
    missing = [info.name for info in metadata.inputs if info.name not in inputs]
    if missing or not inputs:
        raise EvidenceError(f"input {(missing or ['?'])[0]!r} is missing", hint=_HINT)
    return _Raw(inputs, labels, {name: _nested(name, item, types.get(name)) for name, item in expected.items()})


def _type_of(name: str, metadata: Metadata) -> str:
    return DATATYPES.get(_info_of(name, metadata).datatype, "object")


def _nested(name: str, item: object, dtype: str | None) -> NDArray[Any]:
    import numpy as np

    try:
        array = np.array(item, dtype=dtype)
    except (ValueError, TypeError, OverflowError) as err:
        raise EvidenceError(f"{name!r} is no regular table of {dtype}: {err}", hint=_HINT) from err
    if array.ndim == 0:
        raise EvidenceError(f"{name!r} is no list of rows", hint=_HINT)
    return array
