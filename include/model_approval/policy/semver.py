"""Semantic versions and their order (SemVer 2.0.0, https://semver.org).

Our own thirty lines: `packaging` in the lock knows PEP 440, whose `1.0.0rc1` and epochs are not SemVer, and a
library for this one comparison would be one more thing to pin and audit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering

_NUMBER = r"0|[1-9][0-9]{0,17}"
_IDENTIFIER = r"(?:0|[1-9][0-9]{0,17}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER = re.compile(
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<pre>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)


@total_ordering
@dataclass(frozen=True)
class SemVer:
    """A version as SemVer orders it; build metadata does not take part (section 10)."""

    release: tuple[int, int, int]
    pre: tuple[str, ...] = ()

    def __lt__(self, other: SemVer) -> bool:
        return self._rank() < other._rank()

    def _rank(self) -> tuple[tuple[int, int, int], bool, tuple[tuple[int, int, str], ...]]:
        # Section 11: a release stands above its pre-releases; numbers compare as numbers and below words; of two
        # with the same beginning, the longer one is higher, as tuples compare.
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre)
        return self.release, not self.pre, parts


def parse_semver(text: str) -> SemVer | None:
    """Read `MAJOR.MINOR.PATCH[-pre][+build]`; None when it is not that (no leading `v`, no leading zeros)."""
    match = _SEMVER.fullmatch(text)
    if match is None:
        return None
    release = (int(match["major"]), int(match["minor"]), int(match["patch"]))
    return SemVer(release=release, pre=tuple((match["pre"] or "").split(".")) if match["pre"] else ())
