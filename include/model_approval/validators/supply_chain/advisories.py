"""Advisories in the OSV format, and whether one affects a version of a package.

Source: "Open Source Vulnerability format" 1.7, its sections `affected[].ranges` and "Evaluation". Only the ecosystem
PyPI is read. What cannot be evaluated is said so: it must end as a gap, never as "not affected".
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Literal

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from model_approval.domain.base import Record, UtcTime
from model_approval.domain.evidence import Severity
from model_approval.validators.supply_chain.cvss import severity_of

EventKind = Literal["introduced", "fixed", "last_affected", "limit"]
_KINDS: tuple[EventKind, ...] = ("introduced", "fixed", "last_affected", "limit")


class _Foreign(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: object) -> object:
        """Some databases write a field that they have nothing for as null."""
        if isinstance(given, dict):
            return {key: value for key, value in given.items() if value is not None}
        return given


class _Package(_Foreign):
    ecosystem: str
    name: str


class _Range(_Foreign):
    type: str
    events: tuple[dict[str, str], ...]


class _Score(_Foreign):
    type: str = ""
    score: str


class _Affected(_Foreign):
    package: _Package | None = None
    ranges: tuple[_Range, ...] = ()
    versions: tuple[str, ...] = ()
    severity: tuple[_Score, ...] = ()


class OsvRecord(_Foreign):
    """A record as databases export it; what we do not know in it is passed over."""

    id: Annotated[str, Field(min_length=1)]
    modified: UtcTime
    withdrawn: UtcTime | None = None
    aliases: tuple[str, ...] = ()
    summary: str = ""
    details: str = ""
    severity: tuple[_Score, ...] = ()
    affected: tuple[_Affected, ...] = ()
    database_specific: dict[str, JsonValue] = {}


class Advisory(Record):
    """What one advisory says about one package."""

    id: str
    aliases: tuple[str, ...] = ()
    severity: Severity
    summary: str = ""
    ranges: tuple[tuple[tuple[EventKind, str], ...], ...] = ()
    """Each range as its events; of any order."""
    versions: tuple[str, ...] = ()
    """Affected versions one by one, beside the ranges."""

    @property
    def names(self) -> frozenset[str]:
        """All identifiers of the same flaw."""
        return frozenset({self.id, *self.aliases})

    @cached_property
    def fixed_in(self) -> tuple[str, ...]:
        """Versions that mend it, in order."""
        found = {version for events in self.ranges for kind, version in events if kind == "fixed"}
        return tuple(sorted(found, key=_sort_key))

    def affects(self, version: Version) -> bool | None:
        """Whether a version is affected; None when the record does not allow to tell."""
        if not self.ranges and not self.versions:
            return None
        public = Version(version.public)  # `2.1.0+cu118` is a build of 2.1.0, and has its flaws
        answers = [_in_range(public, events) for events in self.ranges]
        answers.append(_in_list(public, self.versions))
        if True in answers:
            return True
        return None if None in answers else False


def advisories_of(record: OsvRecord) -> Mapping[str, Advisory]:
    """What a record says about each PyPI package, by canonical name; nothing, when it was withdrawn."""
    found: dict[str, Advisory] = {}
    if record.withdrawn is not None and record.withdrawn <= datetime.now(UTC):
        return found
    for affected in record.affected:
        package = affected.package
        if package is None or package.ecosystem.split(":")[0] != "PyPI":
            continue
        name = canonicalize_name(package.name)
        before = found.get(name)
        ranges = tuple(_events(one) for one in affected.ranges if one.type in ("ECOSYSTEM", "SEMVER"))
        found[name] = Advisory(
            id=record.id,
            aliases=record.aliases,
            severity=_severity(record, affected),
            summary=(record.summary or record.details.split("\n", 1)[0])[:300],
            ranges=(before.ranges if before else ()) + ranges,
            versions=(before.versions if before else ()) + affected.versions,
        )
    return found


def _severity(record: OsvRecord, affected: _Affected) -> Severity:
    if record.id.startswith("MAL-"):
        return Severity.CRITICAL
    label = record.database_specific.get("severity")
    vectors = [one.score for one in (*record.severity, *affected.severity)]
    return severity_of(label if isinstance(label, str) else "", vectors)


def _events(given: _Range) -> tuple[tuple[EventKind, str], ...]:
    return tuple((kind, event[kind]) for event in given.events for kind in _KINDS if kind in event)


def _in_range(version: Version, events: tuple[tuple[EventKind, str], ...]) -> bool | None:
    """The specification's algorithm over events in order of their versions; None when one is no version."""
    try:
        ordered = sorted((_parsed(value), kind) for kind, value in events if kind != "limit")
        limits = [Version(value) for kind, value in events if kind == "limit" and value != "*"]
    except InvalidVersion:
        return None
    if limits and not any(version < limit for limit in limits):
        return False
    affected = False
    for at, kind in ordered:
        if kind == "introduced" and version >= at:
            affected = True
        elif (kind == "fixed" and version >= at) or (kind == "last_affected" and version > at):
            affected = False
    return affected


def _in_list(version: Version, versions: tuple[str, ...]) -> bool:
    # A version that no installer accepts cannot be declared either, so it is passed over here.
    return any(_sort_key(one) == (1, version, "") for one in versions)


def _parsed(value: str) -> Version:
    return Version("0.dev0") if value == "0" else Version(value)  # "0" means: from the very first on


def _sort_key(value: str) -> tuple[int, Version, str]:
    try:
        return 1, Version(value), ""
    except InvalidVersion:
        return 0, Version("0"), value
