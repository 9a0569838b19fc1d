"""Expectations over tables that a validator brings, in the names of Great Expectations. Pure.

The names and arguments are the library's own, so that a team can bring its suites along; which of them a policy may use
stands here, since the library takes seconds to import and policies are read all the time. Source: Great Expectations
1.24, `great_expectations.expectations`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

_BOUNDS = frozenset({"min_value", "max_value", "strict_min", "strict_max"})
_NOT_NULL = "expect_column_values_to_not_be_null"
_ROUNDING = 1e-9
"""1 - 0.9 is a little less than 0.1."""


@dataclass(frozen=True)
class Arguments:
    """What an expectation takes."""

    needed: frozenset[str]
    known: frozenset[str]


def _arguments(needed: str, known: frozenset[str] = frozenset()) -> Arguments:
    return Arguments(frozenset(needed.split()), known)


EXPECTATIONS: Mapping[str, Arguments] = {
    "expect_table_row_count_to_be_between": _arguments("", _BOUNDS),
    "expect_table_columns_to_match_set": _arguments("column_set", frozenset({"exact_match"})),
    "expect_column_to_exist": _arguments("column"),
    "expect_column_values_to_not_be_null": _arguments("column", frozenset({"mostly"})),
    "expect_column_values_to_be_between": _arguments("column", _BOUNDS | {"mostly"}),
    "expect_column_values_to_be_in_set": _arguments("column value_set", frozenset({"mostly"})),
    "expect_column_max_to_be_between": _arguments("column", _BOUNDS),
    "expect_column_min_to_be_between": _arguments("column", _BOUNDS),
    "expect_column_mean_to_be_between": _arguments("column", _BOUNDS),
    "expect_column_median_to_be_between": _arguments("column", _BOUNDS),
    "expect_column_stdev_to_be_between": _arguments("column", _BOUNDS),
    "expect_column_sum_to_be_between": _arguments("column", _BOUNDS),
}


def mistake_in(kind: str, kwargs: Mapping[str, JsonValue]) -> str:
    """What is wrong with an expectation, in words; empty when nothing is."""
    takes = EXPECTATIONS.get(kind)
    if takes is None:
        return f"{kind!r} is not among the expectations that a policy may use: {', '.join(sorted(EXPECTATIONS))}"
    missing = sorted(takes.needed - kwargs.keys())
    unknown = sorted(kwargs.keys() - takes.needed - takes.known)
    if missing:
        return f"{kind} needs {', '.join(missing)}"
    if unknown:
        return f"{kind} does not know {', '.join(unknown)}; it takes {', '.join(sorted(takes.needed | takes.known))}"
    if takes.known >= _BOUNDS and "min_value" not in kwargs and "max_value" not in kwargs:
        return f"{kind} needs min_value or max_value"
    return ""


def unjudged(
    suite: Sequence[tuple[str, Mapping[str, JsonValue]]], rows: int, missing: Mapping[str, int]
) -> dict[int, str]:
    """Expectations that cannot be met because values are missing: place in the suite -> what is missing, in words.

    The library leaves missing values out and is content with whatever is left, even with nothing.

    Args:
        suite: Type and arguments of each expectation.
        rows: How many rows the table has.
        missing: How many values are missing, for each column of the table.
    """
    spoken_of = {str(given["column"]) for kind, given in suite if kind == _NOT_NULL and "mostly" in given}
    found = {}
    for place, (kind, given) in enumerate(suite):
        column = str(given.get("column", ""))
        if column not in missing or kind == "expect_column_to_exist":
            continue
        if rows == 0:
            found[place] = "the table has no rows"
        elif kind != _NOT_NULL and missing[column] > _may_miss(rows, given, is_spoken_of=column in spoken_of):
            found[place] = f"{missing[column]} of {rows} values are missing"
    return found


def _may_miss(rows: int, given: Mapping[str, JsonValue], *, is_spoken_of: bool) -> int:
    """How many values may be missing: as many as `mostly` lets off, but never all."""
    mostly = given.get("mostly")
    if is_spoken_of:
        return rows - 1
    share = 1 - float(mostly) if isinstance(mostly, int | float) else 0.0
    return min(rows - 1, math.floor(rows * share + _ROUNDING))


def words_of(kind: str, kwargs: Mapping[str, JsonValue]) -> str:
    """An expectation for people: `ms: median to be between 0 and 5`."""
    subject = kind.removeprefix("expect_").removeprefix("column_").removeprefix("table_").replace("_", " ")
    column = kwargs.get("column")
    rest = ", ".join(f"{name} {value}" for name, value in sorted(kwargs.items()) if name != "column")
    return f"{f'{column}: ' if column else ''}{subject}{f' ({rest})' if rest else ''}"
