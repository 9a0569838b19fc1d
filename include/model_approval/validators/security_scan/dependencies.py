"""What a model says it needs: requirements files, conda environments, and MLflow's `python_env.yaml`.

Pure functions from text to lists. What an installer would run or fetch from elsewhere than its usual index is an
`Oddity`; the rules give it a severity, and the bill of materials and the lookup of vulnerabilities use `Declared`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from model_approval.validators.security_scan.yaml_leaves import Leaf, leaves

_COMMENT = re.compile(r"(^|\s)#.*$")
_HASH = re.compile(r"\s--hash[= ]\S+")
_URL = re.compile(r"^(?:[a-z][a-z0-9]*\+)?[a-z][a-z0-9]*://|^git@|^(?:git|hg|svn|bzr)\+", re.IGNORECASE)
_LOCAL = re.compile(r"^(?:\.{0,2}/|~|[a-z]:\\|\.\.?$|file:)|\.(?:whl|zip|tar\.gz|tgz)$", re.IGNORECASE)
_EXACT = re.compile(r"^={2,3}\s*([^\s*,]+)$")
_CONDA = re.compile(r"^(?:[\w./:-]+::)?([A-Za-z0-9_][\w.-]*)\s*(.*)$")
_CONDA_EXACT = re.compile(r"^(?:==\s*([^\s=*,|]+)|=\s*([^\s=*,|<>!]+)=\S+|=\s*(\d+(?:\.\w+){2,}))$")


class OddityKind(StrEnum):
    """What an installer is told beside names and versions."""

    DIRECT_URL = "direct-url"
    """Code is fetched from an address instead of an index, and its build may run."""
    LOCAL = "local-path"
    """Code that lies beside the list is installed."""
    EDITABLE = "editable"
    INDEX = "index"
    """Packages come from another index than the installer's own."""
    INSECURE = "insecure"
    """Without a check of who answers: plain HTTP, or a host that is trusted blindly."""
    BUILD_OPTION = "build-option"
    """Options for a package's build, which runs the package's code."""
    INCLUDED = "included-file"
    PRERELEASE = "prerelease"
    OTHER_OPTION = "option"
    UNREADABLE = "unreadable"


_OPTIONS: dict[str, OddityKind] = {
    "-e": OddityKind.EDITABLE,
    "--editable": OddityKind.EDITABLE,
    "-i": OddityKind.INDEX,
    "--index-url": OddityKind.INDEX,
    "--pypi-url": OddityKind.INDEX,
    "--extra-index-url": OddityKind.INDEX,
    "-f": OddityKind.INDEX,
    "--find-links": OddityKind.INDEX,
    "--no-index": OddityKind.INDEX,
    "--trusted-host": OddityKind.INSECURE,
    "--global-option": OddityKind.BUILD_OPTION,
    "--install-option": OddityKind.BUILD_OPTION,
    "--config-settings": OddityKind.BUILD_OPTION,
    "--config-setting": OddityKind.BUILD_OPTION,
    "-C": OddityKind.BUILD_OPTION,
    "-r": OddityKind.INCLUDED,
    "--requirement": OddityKind.INCLUDED,
    "-c": OddityKind.INCLUDED,
    "--constraint": OddityKind.INCLUDED,
    "--pre": OddityKind.PRERELEASE,
}


@dataclass(frozen=True)
class Declared:
    """One package that an installer would fetch from an index."""

    name: str
    """In the ecosystem's canonical spelling."""
    version: str | None
    """When exactly one version fits; else None."""
    specifier: str
    """As written, for example `>=2,<3`; empty when any version will do."""
    file: str
    line: int
    """From 1."""
    ecosystem: Literal["PyPI", "conda"] = "PyPI"


@dataclass(frozen=True)
class Oddity:
    """Something beside names and versions."""

    kind: OddityKind
    text: str
    """What was written, without surrounding blanks."""
    line: int


@dataclass(frozen=True)
class Dependencies:
    """All that one file declares."""

    declared: tuple[Declared, ...]
    oddities: tuple[Oddity, ...]
    channels: tuple[tuple[str, int], ...] = ()
    """Conda channels with their lines."""


def read_requirements(text: str, file: str) -> Dependencies:
    """Read a requirements file as pip does: comments, continued lines, options, direct references."""
    found: list[Declared | Oddity] = []
    for line, content in _logical_lines(text):
        found += _requirement(content, file, line)
    return _sorted(found)


def read_conda(text: str, file: str) -> Dependencies:
    """Read a conda environment: channels, packages, and the list for pip in it.

    Raises:
        YamlError: It is no YAML.
    """
    found: list[Declared | Oddity] = []
    channels: list[tuple[str, int]] = []
    for leaf in leaves(text):
        match leaf.path:
            case ("channels", _):
                channels.append((leaf.value, leaf.line))
            case ("dependencies", _) if not leaf.is_alias:
                found.append(_conda_package(leaf, file))
            case ("dependencies", _, "pip", _) if not leaf.is_alias:
                found += _requirement(leaf.value.strip(), file, leaf.line)
            case ("channels" | "dependencies", *_):
                found.append(Oddity(OddityKind.UNREADABLE, leaf.value, leaf.line))
    return _sorted(found, tuple(channels))


def read_python_env(text: str, file: str) -> Dependencies:
    """Read MLflow's `python_env.yaml`.

    Raises:
        YamlError: It is no YAML.
    """
    found: list[Declared | Oddity] = []
    for leaf in leaves(text):
        match leaf.path:
            case ("dependencies" | "build_dependencies", _) if not leaf.is_alias:
                found += _requirement(leaf.value.strip(), file, leaf.line)
            case ("dependencies" | "build_dependencies", *_):
                found.append(Oddity(OddityKind.UNREADABLE, leaf.value, leaf.line))
    return _sorted(found)


def _sorted(found: list[Declared | Oddity], channels: tuple[tuple[str, int], ...] = ()) -> Dependencies:
    declared = tuple(item for item in found if isinstance(item, Declared))
    return Dependencies(declared, tuple(item for item in found if isinstance(item, Oddity)), channels)


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    pending, start = "", 0
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        start = start or number
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            pending += line[:-1]
            continue
        content = _COMMENT.sub("", pending + line).strip()
        if content:
            yield start, content
        pending, start = "", 0
    if pending.strip():
        yield start, pending.strip()


def _requirement(content: str, file: str, line: int) -> list[Declared | Oddity]:
    if content.startswith("-"):
        return [_option(content, line)]
    content = _HASH.sub("", content)
    content, *options = re.split(r"\s+(?=--?[A-Za-z])", content)
    found: list[Declared | Oddity] = [_option(option, line) for option in options]
    if _URL.search(content):
        kind = OddityKind.INSECURE if content.lower().startswith("http:") else OddityKind.DIRECT_URL
        return [*found, Oddity(OddityKind.LOCAL if content.lower().startswith("file:") else kind, content, line)]
    if _LOCAL.search(re.split(r"[\[;@]", content, maxsplit=1)[0].strip()):
        return [*found, Oddity(OddityKind.LOCAL, content, line)]
    try:
        parsed = Requirement(content)
    except InvalidRequirement:
        return [*found, Oddity(OddityKind.UNREADABLE, content, line)]
    exact = _EXACT.match(str(parsed.specifier))
    name = canonicalize_name(parsed.name)
    if parsed.url is not None:
        kind = OddityKind.LOCAL if parsed.url.lower().startswith("file:") else OddityKind.DIRECT_URL
        kind = OddityKind.INSECURE if parsed.url.lower().startswith(("http:", "git+http:", "ftp:")) else kind
        return [*found, Declared(name, None, f"@ {parsed.url}", file, line), Oddity(kind, content, line)]
    return [*found, Declared(name, exact[1] if exact else None, str(parsed.specifier), file, line)]


def _option(content: str, line: int) -> Oddity:
    name = re.split(r"[=\s]", content, maxsplit=1)[0]
    short = content[:2] if not content.startswith("--") else name
    kind = _OPTIONS.get(name) or _OPTIONS.get(short, OddityKind.OTHER_OPTION)
    if kind is OddityKind.INDEX and re.search(r"\bhttp://", content, re.IGNORECASE):
        kind = OddityKind.INSECURE
    return Oddity(kind, content, line)


def _conda_package(leaf: Leaf, file: str) -> Declared | Oddity:
    if _URL.search(leaf.value):
        return Oddity(OddityKind.DIRECT_URL, leaf.value, leaf.line)
    match = _CONDA.match(leaf.value.strip())
    if match is None:
        return Oddity(OddityKind.UNREADABLE, leaf.value, leaf.line)
    specifier = match[2].strip()
    exact = _CONDA_EXACT.match(specifier)
    version = next((group for group in exact.groups() if group), None) if exact else None
    return Declared(match[1].lower(), version, specifier, file, leaf.line, "conda")
