"""Names of archive members: what unpacking would write where it should not, and names that readers take differently."""

from __future__ import annotations

import re

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

_ADVICE = "write the archive anew, with plain relative names"
_PATH = Rule("archive.path", Severity.HIGH, _ADVICE)
_ODD_NAME = Rule("archive.odd-name", Severity.LOW, _ADVICE)
_DUPLICATE = Rule("archive.duplicate", Severity.HIGH, "write the archive anew")
_CASE = Rule("archive.case", Severity.LOW, "give members names that differ in more than case")
_LINK = Rule("archive.link", Severity.HIGH, "pack the content of what is linked")
_INNER_LINK = Rule("archive.inner-link", Severity.LOW, "pack the content of what is linked")
_DRIVE = re.compile(r"[A-Za-z]:")
# Characters that turn the direction of writing or have no width: what a person reads is not what is unpacked.
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")


def escapes(name: str) -> str | None:
    """Why unpacking under this name would write outside of its folder, or elsewhere than it reads; else None."""
    parts = name.replace("\\", "/").split("/")
    if parts[0] == "" or _DRIVE.match(name):
        return "it is absolute"
    if ".." in parts:
        return "it climbs out with '..'"
    if any(ord(char) < 32 or ord(char) == 127 for char in name):
        return "it holds a control character, at which some readers cut it off"
    return None


class MemberNames:
    """The names of one archive, checked as they come."""

    def __init__(self, blob: Blob, scan: FileScan) -> None:
        """Start with no names."""
        self._blob, self._scan = blob, scan
        self._seen: set[str] = set()
        self._folded: set[str] = set()

    def check(self, name: str) -> None:
        """Record what is wrong with a name."""
        if why := escapes(name):
            message = f"the name {name!r} would be unpacked outside of its folder or under another name: {why}"
            self._scan.add(self._blob, _PATH, message, subject=name)
        elif "\\" in name or _INVISIBLE.search(name):
            message = f"the name {name!r} holds a backslash or an invisible character; readers take it differently"
            self._scan.add(self._blob, _ODD_NAME, message, subject=name)
        folded = name.casefold()
        if name in self._seen:
            message = f"two members are called {name!r}; readers disagree which one counts"
            self._scan.add(self._blob, _DUPLICATE, message, subject=name)
        elif folded in self._folded:
            message = f"another member is called {name!r} but for upper and lower case"
            self._scan.add(self._blob, _CASE, message, subject=name)
        self._seen.add(name)
        self._folded.add(folded)

    def check_link(self, name: str, target: str) -> None:
        """Record a link: grave when it leads out of the archive."""
        depth = name.count("/")
        climbs, lowest = 0, 0
        for part in target.replace("\\", "/").split("/"):
            climbs += -1 if part == ".." else part not in ("", ".")
            lowest = min(lowest, climbs)
        if target.startswith(("/", "\\")) or _DRIVE.match(target) or -lowest > depth:
            message = f"member {name!r} is a link to {target[:200]!r}, outside of the archive"
            self._scan.add(self._blob, _LINK, message, subject=name)
        else:
            message = f"member {name!r} is a link to {target[:200]!r} in the archive"
            self._scan.add(self._blob, _INNER_LINK, message, subject=name)
