"""Has the privacy expectations checked.

What is expected, and how it is told, is in `policy/privacy_suite.py`. The validation result that is kept as evidence is
built from counts alone: the library's own would hold rows of the sample, times and random ids.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, assert_never

from model_approval.adapters.expectations.library import library
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import RuleOutcome
from model_approval.domain.sample import parse_sample, parse_schema
from model_approval.policy.privacy_suite import (
    RANGES,
    Expectation,
    Kind,
    Table,
    asked_rules,
    missing_range_columns,
    outcome,
    tables,
    unreadable,
)
from model_approval.policy.schema import PrivacyRules

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.expectations.expectation import Expectation as LibraryExpectation

log = logging.getLogger(__name__)
_Parsed = TypeVar("_Parsed")
_Checked = tuple[Expectation, "ExpectationValidationResult"]


def profile(
    schema_json: bytes, sample_csv: bytes, rules: PrivacyRules, declared_personal: frozenset[str]
) -> tuple[tuple[RuleOutcome, ...], bytes]:
    """Evaluate the rules.

    Returns:
        One outcome for each rule that the policy asks for, and the validation result as canonical JSON: the same
        input gives the same bytes. A file that cannot be read fails `privacy.schema`, with the place in words, and
        leaves the other rules inconclusive.
    """
    try:
        schema = _named(rules.input_schema, lambda: parse_schema(schema_json))
        sample = _named(rules.sample, lambda: parse_sample(sample_csv))
    except EvidenceError as err:
        return unreadable(rules, str(err)), canonical_json({"unreadable": str(err)})
    checked = {table.name: _check(table) for table in tables(schema, sample, rules, declared_personal)}
    problems, broken = _sorted_by_rule(checked)
    problems.setdefault(RANGES, []).extend(missing_range_columns(schema, rules))
    scope = f"{len(schema.columns)} columns, {sample.rows} rows"
    outcomes = tuple(
        outcome(rule, problems=problems.get(rule, []), broken=broken.get(rule, 0), scope=scope)
        for rule in asked_rules(rules)
    )
    return outcomes, canonical_json(_result(checked, sample.rows))


def _named(path: str, parse: Callable[[], _Parsed]) -> _Parsed:
    try:
        return parse()
    except EvidenceError as err:
        raise EvidenceError(f"{path}: {err}") from err


def _check(table: Table) -> list[_Checked]:
    """Let Great Expectations check one table; results in the order of the expectations."""
    import pandas as pd

    gx = library()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    batch = context.data_sources.add_pandas("memory").add_dataframe_asset(table.name)
    expected = [_translated(gx, expectation) for expectation in table.expectations]
    for place, made in enumerate(expected):
        made.meta = {"place": place}
    # All at once: adding them one by one compares each with all before it.
    suite = gx.ExpectationSuite(name=table.name, expectations=expected)
    definition = gx.ValidationDefinition(
        name=table.name, data=batch.add_batch_definition_whole_dataframe("whole"), suite=context.suites.add(suite)
    )
    # Text stays Python objects: pandas' own string type would need another engine for the same patterns.
    frame = pd.DataFrame({name: pd.Series(values, dtype=_dtype(values)) for name, values in table.columns.items()})
    found: ExpectationSuiteValidationResult = definition.run(
        batch_parameters={"dataframe": frame},
        result_format={"result_format": "BASIC", "partial_unexpected_count": 0},
    )
    by_place = {one.expectation_config.meta["place"]: one for one in found.results if one.expectation_config}
    return [(expectation, by_place[place]) for place, expectation in enumerate(table.expectations)]


def _translated(gx: Any, wanted: Expectation) -> LibraryExpectation:  # noqa: ANN401  # see library()
    library, given = gx.expectations, dict(wanted.arguments)
    match wanted.kind:
        case Kind.COLUMNS:
            return _typed(library.ExpectTableColumnsToMatchSet(column_set=given["columns"], exact_match=True))
        case Kind.MATCH:
            return _typed(library.ExpectColumnValuesToMatchRegex(column=wanted.column, **given))
        case Kind.NOT_MATCH:
            return _typed(library.ExpectColumnValuesToNotMatchRegex(column=wanted.column, **given))
        case Kind.NONE_TRUE:
            return _typed(library.ExpectColumnValuesToBeInSet(column=wanted.column, value_set=[False]))
        case Kind.NOT_NULL:
            return _typed(library.ExpectColumnValuesToNotBeNull(column=wanted.column, **given))
        case Kind.BETWEEN:
            return _typed(library.ExpectColumnValuesToBeBetween(column=wanted.column, **given))
        case _:
            assert_never(wanted.kind)


def _typed(made: LibraryExpectation) -> LibraryExpectation:
    """The expectation, out of the untyped module object."""
    return made


def _dtype(values: list[object]) -> str:
    return "float64" if all(value is None or isinstance(value, float) for value in values) else "object"


def _sorted_by_rule(checked: dict[str, list[_Checked]]) -> tuple[dict[str, list[str]], dict[str, int]]:
    """For each rule what is wrong in words, and how many expectations broke."""
    problems: dict[str, list[str]] = {}
    broken: dict[str, int] = {}
    for expectation, found in (pair for pairs in checked.values() for pair in pairs):
        if _broke(found):
            log.error("privacy expectation %s of rule %s could not be evaluated", expectation.kind, expectation.rule)
            broken[expectation.rule] = broken.get(expectation.rule, 0) + 1
        elif not found.success:
            words = expectation.problem.format(count=found.result.get("unexpected_count", 0))
            problems.setdefault(expectation.rule, []).append(words)
    return problems, broken


def _broke(found: ExpectationValidationResult) -> bool:
    return bool((found.exception_info or {}).get("raised_exception", True))


def _result(checked: dict[str, list[_Checked]], rows: int) -> dict[str, Any]:
    return {
        "library": f"great_expectations {library().__version__}",
        "rows": rows,
        "success": all(found.success for pairs in checked.values() for _, found in pairs),
        "results": [
            {
                "rule": expectation.rule,
                "table": table,
                "expectation": found.expectation_config.type if found.expectation_config else "",
                "column": expectation.column,
                "arguments": dict(expectation.arguments),
                "success": bool(found.success),
                "raised_exception": _broke(found),
                "element_count": found.result.get("element_count"),
                "unexpected_count": found.result.get("unexpected_count"),
            }
            for table, pairs in checked.items()
            for expectation, found in pairs
        ],
    }
