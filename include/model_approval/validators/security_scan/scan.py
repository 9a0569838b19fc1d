"""What scanners share: the blob they read, the budget they spend, the findings and gaps they record.

The rule of the whole validator: bytes that no scanner has read to their end are not covered, and a file with such
bytes is a limitation of the evidence. Nothing here ever says "clean".
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Protocol, cast

from model_approval.domain.evidence import FileCoverage, Finding, Severity
from model_approval.domain.formats import HEAD_BYTES, detect_format
from model_approval.validators.contract import plain_line

_BLOCK_BYTES = 1024 * 1024
_SPOOL_BYTES = 8 * 1024**2
UNKNOWN_FORMAT = "its format is not known"
MAX_FINDINGS_A_FILE = 200
MAX_GAPS_A_FILE = 100
_MAX_GAPS_TOLD = 5
PARSER_ERRORS = (
    ValueError, LookupError, TypeError, AttributeError, EOFError, OSError, ArithmeticError, RecursionError,
    struct.error, zipfile.BadZipFile, tarfile.TarError, NotImplementedError,
)  # fmt: skip
"""What hostile bytes make parsers raise; each means that the rest was not read."""


@dataclass(frozen=True)
class Rule:
    """One thing that is looked for."""

    id: str
    severity: Severity
    advice: str


class Uncovered(Exception):  # it is an outcome of a scan, not an error of ours
    """This blob, or what is in it, was not looked into; the message says why."""


@dataclass
class Budget:
    """How much nesting one file may cost: a few bytes can unfold to terabytes.

    The figures fit a 50 GB checkpoint (tens of thousands of members, hardly compressible) and stop a bomb early.
    """

    max_depth: int = 5
    max_members: int = 100_000
    max_unfolded_bytes: int = 64 * 1024**3
    max_ratio: int = 200
    """Unfolded bytes for each byte of the file; compressed tensors reach 10, sparse ones 100."""
    max_pickle_bytes: int = 4 * 1024**3
    """Of operations and short values, which are walked one by one; long values are passed over and do not count."""
    members: int = 0
    unfolded_bytes: int = 0
    pickle_bytes: int = 0

    def spend_member(self) -> None:
        """Count one archive member. Raises Uncovered beyond the limit."""
        self.members += 1
        if self.members > self.max_members:
            raise Uncovered(f"more than {self.max_members} archive members")

    def spend_pickle_bytes(self, count: int) -> None:
        """Count bytes of pickles that are walked. Raises Uncovered beyond the limit."""
        self.pickle_bytes += count
        if self.pickle_bytes > self.max_pickle_bytes:
            raise Uncovered(f"more than {self.max_pickle_bytes} bytes of pickle operations")

    def unfolded_bytes_of(self, file_bytes: int) -> int:
        """How many bytes a file of that size may unfold to."""
        return min(self.max_unfolded_bytes, max(64 * 1024**2, self.max_ratio * file_bytes))

    def spend_bytes(self, count: int, *, file_bytes: int) -> None:
        """Count unfolded bytes. Raises Uncovered beyond the total or the ratio."""
        self.unfolded_bytes += count
        allowed = self.unfolded_bytes_of(file_bytes)
        if self.unfolded_bytes > allowed:
            raise Uncovered(f"unfolds to more than {allowed} bytes from {file_bytes}, which looks like a bomb")


@dataclass(frozen=True)
class Blob:
    """Bytes to look into: a file of the artifact, or something unpacked from one."""

    path: str
    """The artifact's file, as the manifest names it."""
    inner: str
    """Where in it, for example `archive.zip!a/data.pkl`; empty for the file itself."""
    stream: IO[bytes]
    """Seekable, positioned anywhere."""
    size_bytes: int
    depth: int = 0

    @property
    def name(self) -> str:
        """The name that tells about the format."""
        return self.inner.rsplit("!", 1)[-1] if self.inner else self.path

    def head(self) -> bytes:
        """The first bytes; leaves the stream at its beginning."""
        self.stream.seek(0)
        data = self.stream.read(HEAD_BYTES)
        self.stream.seek(0)
        return data


class Scanner(Protocol):
    """Reads one family of formats."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Record findings and unpack what is inside. Raises Uncovered for what it cannot read to the end."""
        ...


@dataclass
class FileScan:
    """The scan of one file of the artifact, with everything nested in it."""

    path: str
    size_bytes: int
    scanners: Mapping[str, Scanner]
    scratch: Path
    paths: Mapping[str, int] = field(default_factory=dict)
    """All paths of the artifact with their sizes in bytes: what references may point to."""
    budget: Budget = field(default_factory=Budget)
    format: str = "unknown"
    findings: list[Finding] = field(default_factory=list)
    gaps: dict[str, None] = field(default_factory=dict)
    """What was not looked into, each reason once, in their order."""
    cautious: bool = False
    """Whether to leave alone what needs a native parser that can crash."""
    references: set[str] = field(default_factory=set)
    """Other files of the artifact that this one explains as its raw data."""

    def add(
        self,
        blob: Blob,
        rule: Rule,
        message: str,
        *,
        subject: str = "",
        offset: int | None = None,
        line: int | None = None,
    ) -> None:
        """Record a finding; beyond the limit of one file the least severe are a gap, since nobody reads a million.

        Args:
            blob: Where it was found.
            rule: What was looked for.
            message: What it means, in words.
            subject: What it is about: an imported name, an operator. Findings that differ in it can be accepted apart.
            offset: Byte in the blob.
            line: Line in a text, from 1.
        """
        finding = Finding(
            rule=rule.id,
            severity=rule.severity,
            file=self.path,
            inner=plain_line(blob.inner, limit=1000),
            offset=offset,
            line=line,
            subject=plain_line(subject, limit=300),
            message=plain_line(message),
            advice=rule.advice,
        )
        if len(self.findings) < MAX_FINDINGS_A_FILE:
            self.findings.append(finding)
            return
        self.gap(f"more than {MAX_FINDINGS_A_FILE} findings, the least severe are not listed")
        least = min(range(len(self.findings)), key=lambda at: self.findings[at].severity.rank)
        if finding.severity.rank > self.findings[least].severity.rank:
            self.findings[least] = finding

    def gap(self, reason: str) -> None:
        """Record that something was not looked into; of hundreds of reasons nobody needs the last."""
        if len(self.gaps) < MAX_GAPS_A_FILE:
            self.gaps[reason] = None

    def scan(self, blob: Blob) -> None:
        """Look into a blob with the scanner of its format; whatever stops the scanner is a gap."""
        try:
            self._scan(blob)
        except Uncovered as why:
            self.gap(f"{plain_line(blob.inner, limit=200)}: {why}" if blob.inner else str(why))
        except PARSER_ERRORS as why:
            self.gap(plain_line(f"{blob.inner or 'not readable'}: {type(why).__name__}: {why}", limit=400))
        except Exception as why:  # noqa: BLE001  # one damaged file must not hide what was found in all others
            crash = f"{blob.inner or 'its scanner'}: crashed with {type(why).__name__}: {why}"
            self.gap(plain_line(crash, limit=400))

    def _scan(self, blob: Blob) -> None:
        kind = detect_format(blob.name, blob.head())
        if not blob.inner:
            self.format = kind
        if blob.depth > self.budget.max_depth:
            raise Uncovered(f"nested deeper than {self.budget.max_depth} levels")
        if kind not in ("pickle", "empty"):
            self._look_for_old_pickle(blob)
        scanner = self.scanners.get(kind)
        if scanner is None:
            raise Uncovered(f"there is no scanner for {kind} yet")
        scanner.scan(blob, self)

    def _look_for_old_pickle(self, blob: Blob) -> None:
        # Protocols 0 and 1 have no magic, what stands first may be a text of any length, and other magic may be text.
        from model_approval.validators.security_scan.pickles import find_program

        find_program(blob, self)

    def unpack(self, blob: Blob, name: str, source: IO[bytes]) -> None:
        """Copy something nested to scratch, within the budget, and look into it."""
        self.budget.spend_member()
        with SpooledTemporaryFile(max_size=_SPOOL_BYTES, dir=str(self.scratch)) as copy:
            size = 0
            while block := source.read(_BLOCK_BYTES):
                size += len(block)
                self.budget.spend_bytes(len(block), file_bytes=self.size_bytes)
                copy.write(block)
            inner = f"{blob.inner}!{name}" if blob.inner else name
            self.scan(Blob(self.path, inner, cast("IO[bytes]", copy), size, blob.depth + 1))

    def drain(self, source: IO[bytes]) -> None:
        """Read raw data to its end (which checks archive checksums) without looking into it."""
        self.budget.spend_member()
        while block := source.read(_BLOCK_BYTES):
            self.budget.spend_bytes(len(block), file_bytes=self.size_bytes)

    def coverage(self) -> FileCoverage:
        """What became of this file."""
        more = len(self.gaps) - _MAX_GAPS_TOLD
        told = "; ".join(islice(self.gaps, _MAX_GAPS_TOLD)) + (f"; and {more} more" if more > 0 else "")
        return FileCoverage(path=self.path, covered=not self.gaps, format=self.format, note=plain_line(told))
