"""Checks the privacy expectations in plain Python; twin of `adapters/expectations` that needs no six seconds."""

from __future__ import annotations

import re
from typing import Any, assert_never

from model_approval.adapters.memory.table_checks import check_table
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
from model_approval.policy.schema import PrivacyRules, TableRule


class MemoryProfiler:
    """A `DataProfiler` without Great Expectations."""

    library = "memory"

    def check_table(self, csv: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
        """Rows, unmet expectations and a page; see `table_checks`."""
        return check_table(csv, rule)

    def profile(
        self, schema_json: bytes, sample_csv: bytes, rules: PrivacyRules, declared_personal: frozenset[str]
    ) -> tuple[tuple[RuleOutcome, ...], bytes]:
        """Evaluate the rules; outcomes as the real one's, the result in short."""
        part = rules.input_schema
        try:
            schema = parse_schema(schema_json)
            part = rules.sample
            sample = parse_sample(sample_csv)
        except EvidenceError as err:
            return unreadable(rules, f"{part}: {err}"), canonical_json({"unreadable": f"{part}: {err}"})
        problems: dict[str, list[str]] = {RANGES: missing_range_columns(schema, rules)}
        for table in tables(schema, sample, rules, declared_personal):
            for expectation in table.expectations:
                met, count = _check(table, expectation)
                if not met:
                    problems.setdefault(expectation.rule, []).append(expectation.problem.format(count=count))
        scope = f"{len(schema.columns)} columns, {sample.rows} rows"
        outcomes = tuple(
            outcome(rule, problems=problems.get(rule, []), broken=0, scope=scope) for rule in asked_rules(rules)
        )
        return outcomes, canonical_json({"rows": sample.rows, "success": not any(problems.values())})


def _check(table: Table, expectation: Expectation) -> tuple[bool, int]:
    """Whether it is met, and how many rows do not meet it."""
    if expectation.column is None:
        wanted: Any = expectation.arguments["columns"]
        return set(table.columns) == set(wanted), 0
    values = table.columns[expectation.column]
    bad = sum(not _meets(value, expectation) for value in values)
    if expectation.kind is Kind.NOT_NULL:
        mostly: Any = expectation.arguments["mostly"]
        return (len(values) - bad) / len(values) >= mostly, bad
    return bad == 0, bad


def _meets(value: Any, expectation: Expectation) -> bool:  # noqa: ANN401  # a cell: text, number or truth
    given: Any = expectation.arguments
    if expectation.kind is Kind.NOT_NULL:
        return value is not None
    if value is None:
        return True
    match expectation.kind:
        case Kind.MATCH:
            return re.search(given["regex"], value) is not None
        case Kind.NOT_MATCH:
            return re.search(given["regex"], value) is None
        case Kind.NONE_TRUE:
            return not value
        case Kind.BETWEEN:
            low, high = given["min_value"], given["max_value"]
            return (low is None or value >= low) and (high is None or value <= high)
        case Kind.COLUMNS:
            raise AssertionError("columns are expected of a table, not of a cell")
        case _:
            assert_never(expectation.kind)
