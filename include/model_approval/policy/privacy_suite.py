"""From the policy's privacy rules, a schema and a sample to tables and what is expected of them. Pure.

Expectations are written here in our words; `adapters/expectations` has them checked. Nothing here puts a value of the
sample into words: columns that nobody declared are named by their place in the file, since a file without header would
otherwise show its first row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from model_approval.domain.evidence import RuleOutcome, Verdict
from model_approval.domain.sample import InputSchema, Sample
from model_approval.policy.personal_data import NUMBER, PATTERN_WORDS, TEXT_PATTERNS, holds_card_number, looks_personal
from model_approval.policy.schema import Pattern, PrivacyRules

SCHEMA, PERSONAL, PATTERNS, NULLS, RANGES = (
    "privacy.schema",
    "privacy.undeclared-personal-columns",
    "privacy.patterns",
    "privacy.nulls",
    "privacy.ranges",
)
_TITLES = {
    SCHEMA: "The evaluation sample has exactly the declared columns and types",
    PERSONAL: "Every column with personal data is declared",
    PATTERNS: "No personal data in the sample's text",
    NULLS: "Few enough empty values",
    RANGES: "Values are within the policy's ranges",
}
_SHOWN_PROBLEMS = 10


class Kind(StrEnum):
    """What can be expected of a table or column; empty cells meet all but `NOT_NULL`."""

    COLUMNS = "columns"
    """The table has exactly these columns (`columns`)."""
    MATCH = "match"
    NOT_MATCH = "not_match"
    """Regular expression (`regex`), searched anywhere in the cell."""
    NONE_TRUE = "none_true"
    NOT_NULL = "not_null"
    """At least the fraction `mostly` is not empty."""
    BETWEEN = "between"
    """`min_value` and `max_value`, inclusive, None for open."""


@dataclass(frozen=True)
class Expectation:
    """One expectation; `problem` says in words what is wrong, with `{count}` rows, when it is not met."""

    rule: str
    kind: Kind
    problem: str
    column: str | None = None
    arguments: Mapping[str, object] = field(default_factory=dict)


@dataclass
class Table:
    """Columns of equal length and what is expected of them."""

    name: str
    columns: dict[str, list[object]] = field(default_factory=dict)
    expectations: list[Expectation] = field(default_factory=list)


def asked_rules(rules: PrivacyRules) -> list[str]:
    """The rules that a policy asks for, in the order in which they are shown."""
    optional = {
        PERSONAL: rules.forbid_undeclared_personal_columns,
        PATTERNS: bool(rules.forbid_patterns),
        RANGES: bool(rules.ranges),
    }
    return [rule for rule in _TITLES if optional.get(rule, True)]


def tables(schema: InputSchema, sample: Sample, rules: PrivacyRules, declared: frozenset[str]) -> list[Table]:
    """All that has to be checked. `declared` are the columns that the request declares as personal."""
    known = {column.name for column in schema.columns}
    cells: dict[str, list[object]] = {
        (name if name in known else f"undeclared column {place}"): list(values)
        for place, (name, values) in enumerate(zip(sample.header, sample.columns, strict=True), start=1)
    }
    made = [_text_table(schema, cells, rules)]
    if rules.forbid_undeclared_personal_columns:
        made.append(_names_table(schema, declared))
    if Pattern.CARD_NUMBER in rules.forbid_patterns:
        made.append(_cards_table(cells))
    made.append(_numbers_table(cells, rules))
    return [table for table in made if table.expectations]


def missing_range_columns(schema: InputSchema, rules: PrivacyRules) -> list[str]:
    """Problems of rule `privacy.ranges` that need no sample: the policy bounds a column that the model has not."""
    known = {column.name for column in schema.columns}
    return [
        f"column {name}: not in the input schema, so its range cannot be checked"
        for name in rules.ranges
        if name not in known
    ]


def outcome(rule: str, *, problems: list[str], broken: int, scope: str) -> RuleOutcome:
    """The rule's outcome.

    Args:
        rule: One of `asked_rules`.
        problems: What is wrong, in words; any entry is a no.
        broken: How many expectations could not be evaluated; a breakdown, unless there is a no anyway.
        scope: What was looked at, for the reason of a yes.
    """
    if problems:
        rest = f"; and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
        return _made(rule, Verdict.FAILED, "; ".join(sorted(problems)[:_SHOWN_PROBLEMS]) + rest)
    if broken:
        return _made(rule, Verdict.ERRORED, f"{broken} expectations could not be evaluated; see the worker's log")
    return _made(rule, Verdict.PASSED, f"nothing found in {scope}")


def unreadable(rules: PrivacyRules, reason: str) -> tuple[RuleOutcome, ...]:
    """Outcomes when schema or sample cannot be read: the schema rule says no, the others cannot tell."""
    return tuple(
        _made(rule, Verdict.FAILED, reason)
        if rule == SCHEMA
        else _made(rule, Verdict.INCONCLUSIVE, "schema or sample cannot be read")
        for rule in asked_rules(rules)
    )


def _made(rule: str, verdict: Verdict, reason: str) -> RuleOutcome:
    return RuleOutcome(rule=rule, check="intake", title=_TITLES[rule], verdict=verdict, reason=reason[:4000])


def _text_table(schema: InputSchema, cells: dict[str, list[object]], rules: PrivacyRules) -> Table:
    table = Table("sample", cells)
    table.expectations.append(_same_columns(schema, cells))
    numeric = {column.name for column in schema.columns if column.is_number}
    for name in cells:
        if name in numeric:
            problem = f"column {_plain(name)}: {{count}} rows hold no number, though it is declared as one"
            table.expectations.append(Expectation(SCHEMA, Kind.MATCH, problem, name, {"regex": NUMBER}))
        else:
            table.expectations += _forbidden_texts(name, rules)
        mostly = 1 - rules.max_null_fraction
        problem = f"column {_plain(name)}: {{count}} rows are empty, more than {rules.max_null_fraction:.0%}"
        table.expectations.append(Expectation(NULLS, Kind.NOT_NULL, problem, name, {"mostly": mostly}))
    return table


def _same_columns(schema: InputSchema, cells: dict[str, list[object]]) -> Expectation:
    wanted = [column.name for column in schema.columns]
    missing = [name for name in wanted if name not in cells]
    extra = [name.removeprefix("undeclared column ") for name in cells if name not in wanted]
    parts = [f"the sample lacks {', '.join(missing)}"] if missing else []
    parts += [f"the sample has undeclared columns at place {', '.join(extra)}"] if extra else []
    return Expectation(SCHEMA, Kind.COLUMNS, _plain("; ".join(parts)), None, {"columns": wanted})


def _forbidden_texts(name: str, rules: PrivacyRules) -> list[Expectation]:
    return [
        Expectation(
            PATTERNS,
            Kind.NOT_MATCH,
            f"column {_plain(name)}: {{count}} rows hold what looks like {PATTERN_WORDS[pattern]}",
            name,
            {"regex": TEXT_PATTERNS[pattern]},
        )
        for pattern in rules.forbid_patterns
        if pattern in TEXT_PATTERNS
    ]


def _names_table(schema: InputSchema, declared: frozenset[str]) -> Table:
    """One column a declared input: whether it holds personal data that the request does not declare."""
    table = Table("schema")
    for column in schema.columns:
        personal = column.personal or looks_personal(column.name)
        table.columns[column.name] = [personal and column.name not in declared]
        why = "marked as personal in the schema" if column.personal else "its name speaks of personal data"
        problem = f"column {_plain(column.name)}: {why}, and the request does not declare it in personal_data_columns"
        table.expectations.append(Expectation(PERSONAL, Kind.NONE_TRUE, problem, column.name))
    return table


def _cards_table(cells: dict[str, list[object]]) -> Table:
    """One column an input: whether a row holds a card number. Numbers too: a card number is one."""
    table = Table("card numbers")
    for name, values in cells.items():
        table.columns[name] = [isinstance(value, str) and holds_card_number(value) for value in values]
        problem = f"column {_plain(name)}: {{count}} rows hold what looks like {PATTERN_WORDS[Pattern.CARD_NUMBER]}"
        table.expectations.append(Expectation(PATTERNS, Kind.NONE_TRUE, problem, name))
    return table


def _numbers_table(cells: dict[str, list[object]], rules: PrivacyRules) -> Table:
    """The columns that the policy bounds, as numbers; what is none is counted apart, or it would slip through."""
    table = Table("numbers")
    for name, bounds in rules.ranges.items():
        if name not in cells:
            continue
        numbers = [_number(value) for value in cells[name]]
        table.columns[name] = list(numbers)
        table.columns[f"{name} is no number"] = [
            number is None and value is not None for number, value in zip(numbers, cells[name], strict=True)
        ]
        problem = f"column {_plain(name)}: {{count}} rows hold no number, so their range cannot be checked"
        table.expectations.append(Expectation(RANGES, Kind.NONE_TRUE, problem, f"{name} is no number"))
        limits = {"min_value": bounds.minimum, "max_value": bounds.maximum}
        if any(limit is not None for limit in limits.values()):
            problem = f"column {_plain(name)}: {{count}} rows are outside {_interval(bounds.minimum, bounds.maximum)}"
            table.expectations.append(Expectation(RANGES, Kind.BETWEEN, problem, name, limits))
    return table


def _number(value: object) -> float | None:
    """The number a cell holds; None for an empty cell and for anything else."""
    return float(value) if isinstance(value, str) and re.search(NUMBER, value) else None


def _interval(low: float | None, high: float | None) -> str:
    return f"{'-inf' if low is None else f'{low:g}'} to {'inf' if high is None else f'{high:g}'}"


def _plain(name: str) -> str:
    """A column's name, safe in a text that is formatted later."""
    return name.replace("{", "{{").replace("}", "}}")
