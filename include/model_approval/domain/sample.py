"""The input schema and the evaluation sample that come with a model: read strictly, bounded, by a stranger's hand.

What is wrong is told by place (line, column number), never by content: a sample may hold what nobody should read.
"""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints, ValidationError, field_validator

from model_approval.domain.base import Record
from model_approval.domain.errors import EvidenceError

if TYPE_CHECKING:
    from _csv import Reader

MAX_COLUMNS = 500
MAX_ROWS = 200_000
MAX_CELL_CHARS = 100_000
MAX_BYTES = 64 * 1024 * 1024

_NUMERIC = re.compile(r"(?:u?int|float|double|long|short|decimal|number|numeric)[a-z]*[0-9]{0,3}", re.IGNORECASE)


class InputColumn(Record):
    """One input of the model."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
    type: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    """`integer`, `float`, `string`, `boolean`, ...; names of numpy's and MLflow's number types count as numbers."""
    personal: bool = False
    """Whether it holds personal data, in the author's own words."""

    @property
    def is_number(self) -> bool:
        """Whether every value must be a number."""
        return _NUMERIC.fullmatch(self.type) is not None


class InputSchema(Record):
    """`input_schema.json`: the model's declared inputs, in order."""

    columns: Annotated[tuple[InputColumn, ...], Field(min_length=1, max_length=MAX_COLUMNS)]

    @field_validator("columns")
    @classmethod
    def _once_each(cls, columns: tuple[InputColumn, ...]) -> tuple[InputColumn, ...]:
        names = [column.name for column in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"column {twice[0]!r} is declared twice")
        return columns


@dataclass(frozen=True)
class Sample:
    """An evaluation sample as text, column by column.

    Attributes:
        header: Column names as the file has them. Could be data, where somebody forgot the header: not to be shown.
        columns: One tuple of cells for each name, None for an empty cell.
    """

    header: tuple[str, ...]
    columns: tuple[tuple[str | None, ...], ...]

    @property
    def rows(self) -> int:
        """Number of rows without the header."""
        return len(self.columns[0])


def parse_schema(text: bytes) -> InputSchema:
    """Read the declared input schema.

    Raises:
        EvidenceError: Not such a file; names the field and what is wrong.
    """
    if len(text) > MAX_BYTES:
        raise EvidenceError(f"larger than {MAX_BYTES} bytes")
    try:
        return InputSchema.model_validate_json(text)
    except ValidationError as err:
        first = err.errors(include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(f"{field}: {first['msg']}" if field else first["msg"]) from None


def parse_sample(data: bytes) -> Sample:
    """Read a CSV with header, UTF-8, comma-separated.

    Raises:
        EvidenceError: Not such a file, or larger than our limits; names the line, never its content.
    """
    if len(data) > MAX_BYTES:
        raise EvidenceError(f"larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise EvidenceError(f"line {line}: not UTF-8 text") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = _rows(reader)
    except csv.Error as err:
        # The parser's own words: it quotes separators and limits, never cells.
        raise EvidenceError(f"line {reader.line_num}: {err}") from None
    header, *body = rows
    if not body:
        raise EvidenceError("no row below the header")
    cells = zip(*body, strict=True)
    return Sample(tuple(header), tuple(tuple(cell or None for cell in column) for column in cells))


def _rows(reader: Reader) -> list[list[str]]:
    rows: list[list[str]] = []
    for row in reader:
        if not row:
            continue  # an empty line, as many programs leave at the end
        _check_row(row, reader.line_num, rows[0] if rows else None)
        rows.append(row)
        if len(rows) > MAX_ROWS + 1:
            raise EvidenceError(f"more than {MAX_ROWS} rows")
    if not rows:
        raise EvidenceError("empty file")
    return rows


def _check_row(row: list[str], line: int, header: list[str] | None) -> None:
    for number, cell in enumerate(row, start=1):
        if len(cell) > MAX_CELL_CHARS:
            raise EvidenceError(f"line {line}, column {number}: more than {MAX_CELL_CHARS} characters")
    if header is None:
        _check_header(row)
    elif len(row) != len(header):
        raise EvidenceError(f"line {line}: {len(row)} cells where the header has {len(header)}")


def _check_header(header: list[str]) -> None:
    if len(header) > MAX_COLUMNS:
        raise EvidenceError(f"more than {MAX_COLUMNS} columns")
    for number, name in enumerate(header, start=1):
        if not name.strip():
            raise EvidenceError(f"line 1, column {number}: no name in the header")
        if name in header[: number - 1]:
            raise EvidenceError(f"line 1, column {number}: the same name as an earlier column")
