"""Declared dependencies, looked up among known vulnerabilities.

"Nothing known" is said of exact versions in a fresh database alone. A missing or old database, a version left open, a
package from an address: each is a gap of the file that declares it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from packaging.version import InvalidVersion, Version

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.dependencies import (
    Declared,
    Dependencies,
    Oddity,
    OddityKind,
    read_conda,
    read_python_env,
    read_requirements,
)
from model_approval.validators.security_scan.scan import Rule
from model_approval.validators.security_scan.yaml_leaves import YamlError
from model_approval.validators.supply_chain.advisories import Advisory
from model_approval.validators.supply_chain.inspection import Inspection, some
from model_approval.validators.supply_chain.names import (
    is_conda,
    is_list_of_dependencies,
    is_python_env,
    is_requirements,
)
from model_approval.validators.supply_chain.vulnerability_database import Database

_READERS: tuple[tuple[Callable[[str], bool], Callable[[str, str], Dependencies]], ...] = (
    (is_requirements, read_requirements),
    (is_conda, read_conda),
    (is_python_env, read_python_env),
)
_FROM_ELSEWHERE = frozenset(
    {
        OddityKind.DIRECT_URL,
        OddityKind.EDITABLE,
        OddityKind.INSECURE,
        OddityKind.LOCAL,
        OddityKind.UNREADABLE,
    }
)
_BOOTSTRAP = frozenset({"pip", "python", "setuptools", "wheel"})
"""What conda and MLflow list to build an environment with, mostly without a version. No server imports them, and the
interpreter is the image's; with an exact version they are looked up like all others."""
_MAX_PACKAGES = 5_000
"""Of one file. An environment has hundreds."""
_GRAVEST_FIRST = (Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW, Severity.INFO)
_KNOWN_NAMES = ("CVE-", "GHSA-", "PYSEC-")
"""Which of a flaw's names is used, so that a finding keeps its fingerprint when databases merge."""
_NO_DATABASE = (
    "there is no database of known vulnerabilities: give one with --osv or MODEL_APPROVAL_OSV_DATABASE "
    "(made by `model-approval vulnerabilities import`)"
)


@dataclass(frozen=True)
class _Flaw:
    """Advisories that are about one flaw of one package."""

    name: str
    advisories: tuple[Advisory, ...]

    @property
    def severity(self) -> Severity:
        return next(one for one in _GRAVEST_FIRST if any(one is item.severity for item in self.advisories))


def read_dependencies(inspection: Inspection) -> tuple[Declared, ...]:
    """All packages that files of the artifact declare; a file that cannot be read is a gap."""
    declared: list[Declared] = []
    for path in inspection.scans:
        reader = next((read for applies, read in _READERS if applies(path)), None)
        text = inspection.read_text(path) if reader else None
        if reader is None or text is None:
            continue
        try:
            found = reader(text, path)
        except YamlError as err:
            inspection.gap(path, f"the packages it declares cannot be read: {err}")
            continue
        declared += found.declared[:_MAX_PACKAGES]
        if len(found.declared) > _MAX_PACKAGES:
            inspection.gap(path, f"declares more than {_MAX_PACKAGES} packages, the rest was not looked up")
        elsewhere = [one.text for one in found.oddities if _leads_elsewhere(one, path, inspection)]
        if elsewhere:
            inspection.gap(
                path, f"not looked up for known vulnerabilities, not named with a version: {some(elsewhere)}"
            )
    return tuple(declared)


def _leads_elsewhere(oddity: Oddity, path: str, inspection: Inspection) -> bool:
    """Whether it installs what is not among the packages that are looked up; a list beside it is read itself."""
    if oddity.kind is OddityKind.INCLUDED:
        target = str(PurePosixPath(path).parent / re.split(r"[=\s]", oddity.text)[-1])
        return target not in inspection.scans or not is_list_of_dependencies(target)
    return oddity.kind in _FROM_ELSEWHERE


def check_dependencies(inspection: Inspection, declared: Sequence[Declared], database: Database | None) -> None:
    """Look declared packages up; findings for what is known, gaps for what could not be looked up."""
    if not declared:
        return
    files = sorted({one.file for one in declared})
    why_not = _why_not(database, inspection.now, inspection.parameters.max_database_age_days)
    for file in files:
        if why_not:
            number = len({one.name for one in declared if one.file == file})
            packages = "1 package" if number == 1 else f"{number} packages"
            inspection.gap(file, f"declares {packages}, not looked up for known vulnerabilities: {why_not}")
    inspection.environment["vulnerability_database"] = database.snapshot.words() if database else "none"
    if database is None:
        return
    for file in files:
        _look_up_file(inspection, database, file, [one for one in declared if one.file == file])


def _look_up_file(inspection: Inspection, database: Database, file: str, declared: Sequence[Declared]) -> None:
    open_versions, foreign = [], []
    for one in declared:
        version = _version(one)
        if version is not None:
            _look_up(inspection, database, one, version)
        if one.ecosystem == "conda":
            foreign += [one.name] if one.name not in _BOOTSTRAP else []
        elif version is None:
            open_versions.append(f"{one.name} {one.specifier}".strip())
    if open_versions:
        inspection.gap(file, f"not looked up for known vulnerabilities, no exact version: {some(open_versions)}")
    if foreign:
        # A package of the same name is looked up, yet its name on the channel may be another (pytorch is torch).
        inspection.gap(file, f"the database says nothing of conda's own packages: {some(foreign)}")


def _why_not(database: Database | None, now: datetime, max_age_days: int) -> str:
    if database is None:
        return _NO_DATABASE
    age = (now - database.snapshot.latest).days
    if age <= max_age_days:
        return ""
    day = database.snapshot.latest.date().isoformat()
    return f"the database is of {day}, {age} days old, where {max_age_days} are allowed: import a newer export"


def _version(declared: Declared) -> Version | None:
    try:
        return Version(declared.version) if declared.version else None
    except InvalidVersion:
        return None


def _look_up(inspection: Inspection, database: Database, declared: Declared, version: Version) -> None:
    hits, unclear = [], []
    for advisory in database.advisories(declared.name):
        affected = advisory.affects(version)
        if affected:
            hits.append(advisory)
        elif affected is None:
            unclear.append(advisory.id)
    for flaw in _flaws(hits):
        _report(inspection, declared, flaw)
    if unclear:
        inspection.gap(declared.file, f"whether {declared.name} {version} has {some(unclear)} cannot be told")


def _flaws(advisories: Iterable[Advisory]) -> list[_Flaw]:
    """Join advisories that share a name."""
    groups: list[tuple[set[str], list[Advisory]]] = []
    for advisory in advisories:
        names, members = set(advisory.names), [advisory]
        for group in [group for group in groups if group[0] & names]:
            groups.remove(group)
            names |= group[0]
            members += group[1]
        groups.append((names, members))
    flaws = [_Flaw(min(names, key=_preference), tuple(members)) for names, members in groups]
    return sorted(flaws, key=lambda flaw: (-flaw.severity.rank, flaw.name))


def _preference(name: str) -> tuple[int, str]:
    kinds = [number for number, prefix in enumerate(_KNOWN_NAMES) if name.startswith(prefix)]
    return (kinds[0] if kinds else len(_KNOWN_NAMES), name)


def _report(inspection: Inspection, declared: Declared, flaw: _Flaw) -> None:
    package = f"{declared.name} {declared.version}"
    summary = next((one.summary for one in flaw.advisories if one.summary), "no summary")
    names = sorted({name for one in flaw.advisories for name in one.names} - {flaw.name})
    also = f" (also {some(names)})" if names else ""
    if any(one.id.startswith("MAL-") for one in flaw.advisories):
        rule = Rule("dependency.malicious", Severity.CRITICAL, "remove the package, and look at who put it there")
    else:
        fixed = sorted({version for one in flaw.advisories for version in one.fixed_in})
        advice = f"declare a version with the fix ({', '.join(fixed[:5])})" if fixed else "use another package"
        rule = Rule("dependency.vulnerable", flaw.severity, advice)
    inspection.report(
        rule,
        f"{package} is known for {flaw.name}{also}: {summary}",
        file=declared.file,
        subject=f"{package} {flaw.name}",
        line=declared.line,
    )
