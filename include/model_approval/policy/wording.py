"""A pydantic error -> words for the author of a YAML file: what is wrong, and what would be right."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import ErrorDetails

from model_approval.policy.yaml_source import Location

_PATTERNS: Mapping[str, str] = {
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$": "lower-case letters, digits and inner hyphens, at most 63",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$": "letters, digits, '.', '_' and '-', first a letter or digit, at most 128",
    r"^[^\x00-\x1f\x7f]+$": "text without control characters",
    r"^[0-9]+(\.[0-9]+)?(m|Ki|Mi|Gi|Ti)?$": "a quantity such as 500m, 2 or 4Gi",
    r"^[a-z][a-z0-9_]{0,39}$": "lower-case letters, digits and '_', starting with a letter, at most 40",
    r"^[a-z][a-z0-9-]{0,39}$": "lower-case letters, digits and '-', starting with a letter, at most 40",
    r"^mf1-[0-9a-f]{32}$": "a fingerprint as `model-approval scan` shows it: 'mf1-' and 32 hexadecimal digits",
    r"^[A-Za-z0-9-]{1,64}$": "an HTTP header name: letters, digits and '-'",
    r"^[a-z0-9][a-z0-9._-]{0,79}$": "the name of a table, for example 'latencies.csv'",
    r"^[\x20-\x7e]{0,1024}$": "printable ASCII, at most 1024 characters",
}
"""What each pattern of the schemas asks for; a test holds this complete."""

_TYPES: Mapping[str, str] = {
    "string_type": "text; put it in quotes",
    "tuple_type": "a list: one item a line, each after '- ', or [in, brackets]",
    "frozen_set_type": "a list: one item a line, each after '- ', or [in, brackets]",
    "dict_type": "a mapping: 'key: value' lines, indented below",
    "model_type": "a mapping: 'key: value' lines, indented below",
    "model_attributes_type": "a mapping: 'key: value' lines, indented below",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "date_from_datetime_parsing": "a day such as 2026-12-31",
    "date_parsing": "a day such as 2026-12-31",
    "date_type": "a day such as 2026-12-31",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def explain(error: ErrorDetails, *, kind: type[BaseModel], location: Location) -> tuple[str, str]:
    """Put one error into words.

    Args:
        error: One item of `ValidationError.errors()`.
        kind: The model that was validated.
        location: Where the error is.

    Returns:
        What is wrong, and what to do (may be empty).
    """
    context, value = error.get("ctx", {}), _shown(error["input"])
    what = error["type"]
    if what == "missing":
        return "is missing", _how_to_write(kind, location)
    if what == "extra_forbidden":
        return "is not a known key", _nearest(str(location[-1]), _keys_at(kind, location[:-1]))
    if what in _TYPES:
        return f"is {value}", f"must be {_TYPES[what]}"
    if what in _BOUNDS:
        name, words = _BOUNDS[what]
        return f"is {value}", f"must be {words} {context[name]}"
    if what in ("literal_error", "enum"):
        return f"is {value}", f"must be {context['expected']}"
    if what == "string_pattern_mismatch":
        return f"is {value}", f"must be {_PATTERNS.get(context['pattern'], context['pattern'])}"
    if what == "value_error":
        return str(context["error"]), ""
    return _lengths(error, value)


def described_patterns() -> frozenset[str]:
    """The patterns that have words."""
    return frozenset(_PATTERNS)


def _lengths(error: ErrorDetails, value: str) -> tuple[str, str]:
    context = error.get("ctx", {})
    if error["type"] == "too_short":
        return "is empty" if not error["input"] else "is too short", f"give at least {context['min_length']}"
    if error["type"] == "too_long":
        return "has too many items", f"give at most {context['max_length']}"
    if error["type"] == "string_too_short":
        return f"is {value}", f"give at least {_count(context['min_length'], 'character')}"
    if error["type"] == "string_too_long":
        return f"is {value}", f"give at most {context['max_length']} characters"
    return error["msg"].lower(), ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _how_to_write(kind: type[BaseModel], location: Location) -> str:
    here = _schema_at(kind, location)
    key = location[-1]
    if "const" in here:
        return f"write `{key}: {here['const']}`"
    if "enum" in here:
        return f"write `{key}:` with one of {', '.join(here['enum'])}"
    return f"write `{key}:`, see the schema beside the file"


def _nearest(key: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known here: {', '.join(known)}" if known else ""


def _keys_at(kind: type[BaseModel], location: Location) -> tuple[str, ...]:
    return tuple(_schema_at(kind, location).get("properties", {}))


def _schema_at(kind: type[BaseModel], location: Location) -> JsonSchemaValue:
    """The JSON Schema of a location: what an editor would offer there."""
    schema = json_schema_of(kind)
    here = schema
    for part in (None, *location):
        if isinstance(part, int):
            here = here.get("items", {})
        elif part is not None:
            # A mapping's values: pydantic writes `patternProperties` when the keys have a pattern.
            values = next(iter(here.get("patternProperties", {}).values()), here.get("additionalProperties") or {})
            here = here.get("properties", {}).get(part, values)
        for option in here.get("anyOf", ()):
            if "$ref" in option:
                here = option
        if "$ref" in here:
            here = schema["$defs"][here["$ref"].rpartition("/")[2]]
    return here


@lru_cache
def json_schema_of(kind: type[BaseModel]) -> JsonSchemaValue:
    """The JSON Schema of a model as its files are written (by alias)."""
    return kind.model_json_schema(by_alias=True)
