"""Requirements and environments: what an installer would run, or fetch from elsewhere than its usual index."""

from __future__ import annotations

from pathlib import PurePosixPath

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.dependencies import (
    Dependencies,
    Oddity,
    OddityKind,
    read_conda,
    read_python_env,
    read_requirements,
)
from model_approval.validators.security_scan.dependency_names import is_requirements_file
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_PIN = "name packages and exact versions of the registry that the serving environment uses"
_UNPINNED = Rule("dependency.unpinned", Severity.INFO, _PIN)
_CHANNEL = Rule(
    "dependency.channel", Severity.MEDIUM, "take the packages from a channel that the operator runs or knows"
)
_KNOWN_CHANNELS = frozenset(
    {"defaults", "conda-forge", "main", "anaconda", "pytorch", "nvidia", "nodefaults", "r", "bioconda"}
)
_MAX_REPORTED = 100
_MAX_ENVIRONMENT_CHARS = 512 * 1024
_RULES: dict[OddityKind, tuple[Severity, str, bool]] = {
    OddityKind.DIRECT_URL: (Severity.HIGH, "installs code from an address that no index vouches for", False),
    OddityKind.INSECURE: (Severity.HIGH, "installs code without checking who sends it", False),
    OddityKind.BUILD_OPTION: (Severity.HIGH, "passes options to a package's build, which runs its code", False),
    OddityKind.EDITABLE: (Severity.HIGH, "installs and runs code from a folder or repository", False),
    OddityKind.LOCAL: (Severity.MEDIUM, "installs code that lies beside the list", True),
    OddityKind.INDEX: (
        Severity.MEDIUM,
        "takes packages from another index, where other people own the same names",
        True,
    ),
    OddityKind.INCLUDED: (Severity.INFO, "includes another list", False),
    OddityKind.PRERELEASE: (Severity.LOW, "allows versions that are not released", False),
    OddityKind.OTHER_OPTION: (Severity.LOW, "sets an option of the installer", False),
    OddityKind.UNREADABLE: (Severity.MEDIUM, "is no name and version of a package", True),
}
"""Severity, meaning, and whether what it leads to stays unknown."""


def check_dependency_list(text: str, blob: Blob, scan: FileScan) -> None:
    """Look into a list of dependencies, its kind told by its name.

    Raises:
        YamlError: It should be YAML and is none.
        Uncovered: It is longer than any environment.
    """
    name = PurePosixPath(blob.name).name.lower()
    if not is_requirements_file(name) and len(text) > _MAX_ENVIRONMENT_CHARS:
        raise Uncovered(f"an environment of more than {_MAX_ENVIRONMENT_CHARS} characters")
    if is_requirements_file(name):
        found = read_requirements(text, blob.name)
    elif name.startswith("python_env"):
        found = read_python_env(text, blob.name)
    else:
        found = read_conda(text, blob.name)
    for oddity in found.oddities[:_MAX_REPORTED]:
        _report(oddity, blob, scan)
    if len(found.oddities) > _MAX_REPORTED or len(found.channels) > _MAX_REPORTED:
        scan.gap(f"more than {_MAX_REPORTED} options and addresses in a list of dependencies")
    _report_channels(found, blob, scan)
    loose = [item.name for item in found.declared if item.version is None and not item.specifier.startswith("@")]
    if loose:
        message = f"{len(loose)} packages without an exact version: {', '.join(loose[:20])}"
        scan.add(blob, _UNPINNED, message, subject="unpinned")


def _report(oddity: Oddity, blob: Blob, scan: FileScan) -> None:
    severity, meaning, unknown = _RULES[oddity.kind]
    shown = plain_line(oddity.text, limit=200)
    if oddity.kind is OddityKind.INCLUDED and _lies_beside(oddity.text, blob, scan):
        return
    rule = Rule(f"dependency.{oddity.kind}", severity, _PIN)
    scan.add(blob, rule, f"{shown!r} {meaning}", subject=shown, line=oddity.line)
    if unknown or oddity.kind is OddityKind.INCLUDED:
        scan.gap(f"what {plain_line(shown, limit=100)!r} installs is not known")


def _lies_beside(option: str, blob: Blob, scan: FileScan) -> bool:
    target = option.replace("=", " ").split()[-1]
    return str(PurePosixPath(blob.path).parent / target) in scan.paths and ".." not in target


def _report_channels(found: Dependencies, blob: Blob, scan: FileScan) -> None:
    for channel, line in found.channels[:_MAX_REPORTED]:
        name = channel.removeprefix("https://").rstrip("/").rsplit("/", 1)[-1]
        if name not in _KNOWN_CHANNELS or (":" in channel and not channel.startswith("https://")):
            shown = plain_line(channel, limit=200)
            scan.add(blob, _CHANNEL, f"packages come from the channel {shown!r}", subject=shown, line=line)
