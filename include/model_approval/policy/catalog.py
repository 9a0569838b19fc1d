"""The policies in force, read from a folder: `policies/`, `committees/` and `targets/`, one YAML file each.

A bad file takes down only itself (and the policies that name it); the others still load. Airflow builds a catalog at
each DAG parse, so nothing heavy is imported here and nothing is read twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from model_approval.domain.base import Record
from model_approval.domain.committee import Committee
from model_approval.domain.deployment import Target
from model_approval.domain.errors import NotFoundError, PolicyError, RequestRefusedError
from model_approval.domain.request import RegisteredVersion
from model_approval.policy.cross_checks import Loaded, cross_check, overlap, overlap_words
from model_approval.policy.loader import validated
from model_approval.policy.schema import FrozenPolicy, Policy
from model_approval.policy.yaml_source import read_yaml

RecordT = TypeVar("RecordT", bound=Record)


@dataclass(frozen=True)
class _Contents:
    frozen: tuple[FrozenPolicy, ...]
    errors: tuple[PolicyError, ...]


class FileCatalog:
    """The catalog of one configuration folder (`ports.PolicyCatalog`). Reads each file once, when first asked."""

    def __init__(self, config_dir: Path) -> None:
        self._root = config_dir

    def all(self) -> list[FrozenPolicy]:
        """Every policy that can be used, by name."""
        return list(self._contents.frozen)

    def problems(self) -> list[str]:
        """What keeps files from being used, `file:line: field: ...` each, with what to do; by file and line."""
        return [str(error) for error in self._contents.errors]

    def errors(self) -> tuple[PolicyError, ...]:
        """The same as values."""
        return self._contents.errors

    def lint(self) -> list[str]:
        """What loads and is still doubtful: two policies that could both govern a version."""
        return [overlap_words(one, two) for one, two in combinations(self._contents.frozen, 2) if overlap(one, two)]

    def by_name(self, name: str) -> FrozenPolicy:
        """The policy of that name. Raises NotFoundError, saying which there are."""
        for frozen in self._contents.frozen:
            if frozen.policy.name == name:
                return frozen
        names = ", ".join(frozen.policy.name for frozen in self._contents.frozen) or "none"
        raise NotFoundError(f"there is no policy {name!r}", hint=f"usable policies: {names}; see `policy check`")

    def for_version(self, version: RegisteredVersion, environment: str) -> FrozenPolicy:
        """The one policy that governs this promotion.

        Raises:
            RequestRefusedError: None does, or more than one.
        """
        found = [frozen for frozen in self._contents.frozen if frozen.policy.match.covers(version, environment)]
        if len(found) == 1:
            return found[0]
        what = f"{version.registry}/{version.model} to {environment}"
        if found:
            names = " and ".join(frozen.policy.name for frozen in found)
            hint = "narrow the models or environment of all but one"
            raise RequestRefusedError(f"{names} all govern {what}; exactly one policy must", hint=hint)
        broken = f"; {len(self.errors())} mistakes keep others from being used" if self.errors() else ""
        hint = f"known: {', '.join(_paths(self._contents.frozen)) or 'no path at all'}{broken}"
        raise RequestRefusedError(f"no policy governs {what}", hint=hint)

    @cached_property
    def _contents(self) -> _Contents:
        errors: list[PolicyError] = []
        committees = _by_name(_load(self._root, "committees", Committee, errors), errors)
        targets = _by_name(_load(self._root, "targets", Target, errors), errors)
        policies = _by_name(_load(self._root, "policies", Policy, errors), errors)
        frozen = []
        for loaded in policies.values():
            mistakes = list(cross_check(loaded, committees, targets))
            errors.extend(mistakes)
            if not mistakes:
                review, deployment = loaded.record.review, loaded.record.deployment
                frozen.append(
                    FrozenPolicy(
                        policy=loaded.record,
                        committee=committees[review.committee].record,
                        target=targets[deployment.target].record,
                    )
                )
        return _Contents(tuple(frozen), tuple(sorted(errors, key=lambda error: (error.file, error.line, error.field))))


def _load(root: Path, folder: str, kind: type[RecordT], errors: list[PolicyError]) -> list[Loaded[RecordT]]:
    if not (root / folder).is_dir():
        errors.append(PolicyError("the folder is missing", file=folder, hint=f"make it below {root}"))
        return []
    found = []
    for path in sorted((root / folder).glob("*.y*ml")):
        try:
            source = read_yaml(path, file=f"{folder}/{path.name}")
        except PolicyError as err:
            errors.append(err)
            continue
        record, mistakes = validated(source, kind)
        errors.extend(mistakes)
        if record is not None:
            found.append(Loaded(record, source))
    return found


def _by_name(loaded: list[Loaded[RecordT]], errors: list[PolicyError]) -> dict[str, Loaded[RecordT]]:
    """By name. Two files of one name are both refused: nobody could say which was meant."""
    found: dict[str, Loaded[RecordT]] = {}
    twice: set[str] = set()
    for one in loaded:
        name: str = getattr(one.record, "name")  # noqa: B009 - every kind of file has one, `Record` has not
        other = found.setdefault(name, one)
        if other is not one:
            twice.add(name)
            message = f"{name!r} is the name in {other.source.file} too; both are left out"
            errors.append(one.mistake(message, "name", hint="give each its own name"))
    return {name: one for name, one in sorted(found.items()) if name not in twice}


def _paths(policies: tuple[FrozenPolicy, ...]) -> list[str]:
    return [
        f"{frozen.policy.match.registry}/{'|'.join(frozen.policy.match.models)} to {frozen.policy.match.environment}"
        for frozen in policies
    ]
