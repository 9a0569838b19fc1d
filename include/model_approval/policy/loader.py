"""Policy, committee and target files: YAML -> records, each mistake with its line.

    >>> load_policy(Path("include/policies/fraud-scoring.yaml")).name
    'fraud-scoring'

A mistake reads `policies/fraud.yaml:31: checks[1].rules[0].limit.maximun: is not a known key (did you mean
'maximum'?)`. Never imports or executes anything that a file names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from model_approval.domain.base import Record
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import Target
from model_approval.domain.errors import PolicyError
from model_approval.policy.schema import Policy
from model_approval.policy.wording import explain
from model_approval.policy.yaml_source import Location, Source, dotted, parse_yaml, read_yaml

ConfigurationT = TypeVar("ConfigurationT", bound=Record)

KINDS: dict[str, type[Record]] = {
    "policies": Policy,
    "committees": Committee,
    "targets": Target,
}
"""The folders of a configuration and what their files hold."""


def load_policy(path: Path, *, file: str | None = None) -> Policy:
    """Read a policy file. Raises PolicyError for the first mistake; `file` is how messages name it."""
    return _only(path, Policy, file)


def load_committee(path: Path, *, file: str | None = None) -> Committee:
    """Read a committee file. Raises PolicyError for the first mistake."""
    return _only(path, Committee, file)


def load_target(path: Path, *, file: str | None = None) -> Target:
    """Read a target file. Raises PolicyError for the first mistake."""
    return _only(path, Target, file)


def load_all_errors(path: Path, kind: type[ConfigurationT], *, file: str | None = None) -> tuple[PolicyError, ...]:
    """Every mistake in a file, in order of lines; empty when it is good."""
    try:
        return validated(read_yaml(path, file=file), kind)[1]
    except PolicyError as err:
        return (err,)


def parse(text: str, kind: type[ConfigurationT], *, file: str) -> ConfigurationT:
    """Read text that is already here, for example a proposed policy. Raises PolicyError for the first mistake."""
    return _first(validated(parse_yaml(text, file=file), kind))


def validated(source: Source, kind: type[ConfigurationT]) -> tuple[ConfigurationT | None, tuple[PolicyError, ...]]:
    """The record a source describes, or every mistake in it by line."""
    try:
        record = kind.model_validate(source.value)
    except ValidationError as err:
        told = {mistake.field for mistake in source.errors}
        found = (_mistake(error, source, kind) for error in err.errors(include_url=False) if not _is_echo(error))
        mistakes = [*source.errors, *(mistake for mistake in found if mistake.field not in told)]
        return None, tuple(sorted(mistakes, key=lambda mistake: (mistake.line, mistake.field)))
    return (None, source.errors) if source.errors else (record, ())


def _only(path: Path, kind: type[ConfigurationT], file: str | None) -> ConfigurationT:
    return _first(validated(read_yaml(path, file=file), kind))


def _first(result: tuple[ConfigurationT | None, tuple[PolicyError, ...]]) -> ConfigurationT:
    record, mistakes = result
    if record is None:
        raise mistakes[0]
    return record


def _is_echo(error: ErrorDetails) -> bool:
    """Whether pydantic calls a list too short only because its items, told already, did not count."""
    return error["type"] == "too_short" and len(error["input"]) >= error["ctx"]["min_length"]


def _mistake(error: ErrorDetails, source: Source, kind: type[Record]) -> PolicyError:
    # pydantic appends "[key]" where the key of a mapping is wrong, not its value.
    location: Location = tuple(part for part in error["loc"] if part != "[key]")
    message, hint = explain(error, kind=kind, location=location)
    return PolicyError(message, file=source.file, line=source.line_of(location), field=dotted(location), hint=hint)
