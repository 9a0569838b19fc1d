"""Expectations over tables in plain Python; used by the profiler's twin."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from model_approval.domain.errors import EvidenceError
from model_approval.policy.schema import TableRule
from model_approval.policy.table_suite import unjudged, words_of

_AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "min": min,
    "mean": statistics.fmean,
    "median": statistics.median,
    "stdev": statistics.stdev,
    "sum": sum,
}

_MISSING = frozenset({"", "NaN", "nan", "NULL", "null", "None", "NA", "N/A", "n/a"})


def check_table(text: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
    """Rows, unmet expectations, and a page that says as much. Raises EvidenceError as the real one."""
    names, rows = _parsed(text)
    if not names:
        raise EvidenceError(f"the table {rule.table} cannot be read: no columns to parse from file")
    missing = {name: sum(not row[name] for row in rows) for name in names}
    unmet = unjudged([(one.type, one.kwargs) for one in rule.suite], len(rows), missing)
    problems = []
    for place, one in enumerate(rule.suite):
        words = words_of(one.type, one.kwargs)
        column = one.kwargs.get("column")
        if column is not None and column not in names and one.type != "expect_column_to_exist":
            raise EvidenceError(f"the expectation over {rule.table} could not be evaluated: {words}")
        if place in unmet:
            problems.append(f"{words}: {unmet[place]}")
        elif not _is_met(one.type, dict(one.kwargs), rows, names):
            problems.append(words)
    return len(rows), tuple(problems), "\n".join(["<html>", *problems]).encode()


def _parsed(text: str) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows; a missing value is an empty one, and an empty line a row of them."""
    names, *lines = list(csv.reader(io.StringIO(text))) or [[]]
    rows = [dict(zip(names, [*line, *[""] * len(names)], strict=False)) for line in lines]
    return names, [{name: "" if cell in _MISSING else cell for name, cell in row.items()} for row in rows]


def _is_met(kind: str, given: dict[str, Any], rows: list[dict[str, str]], names: list[str]) -> bool:
    subject = kind.removeprefix("expect_")
    if subject == "table_row_count_to_be_between":
        return _within(len(rows), given)
    if subject == "table_columns_to_match_set":
        wanted = set(given["column_set"])
        return set(names) == wanted if given.get("exact_match", True) else wanted <= set(names)
    if subject == "column_to_exist":
        return given["column"] in names
    cells = [row[given["column"]] for row in rows]
    if subject.startswith("column_values_"):
        return _share(subject, cells, given) >= float(given.get("mostly", 1.0))
    aggregate = _AGGREGATES[subject.removeprefix("column_").removesuffix("_to_be_between")]
    return _within(aggregate([float(cell) for cell in cells if cell]), given)


def _share(subject: str, cells: list[str], given: dict[str, Any]) -> float:
    if subject == "column_values_to_not_be_null":
        return sum(bool(cell) for cell in cells) / max(1, len(cells))
    filled = [cell for cell in cells if cell]
    if subject == "column_values_to_be_in_set":
        allowed = {str(value) for value in given["value_set"]}
        return sum(cell in allowed for cell in filled) / max(1, len(filled))
    return sum(_within(float(cell), given) for cell in filled) / max(1, len(filled))


def _within(value: float, given: Mapping[str, Any]) -> bool:
    low, high = given.get("min_value"), given.get("max_value")
    above = low is None or (value > low if given.get("strict_min") else value >= low)
    return above and (high is None or (value < high if given.get("strict_max") else value <= high))
