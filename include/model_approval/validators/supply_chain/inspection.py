"""What the parts of the inspection share: the artifact's files, what they record, and how they read small files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from model_approval.domain.evidence import Attachment, Finding
from model_approval.domain.scan_parameters import ScanParameters
from model_approval.validators.contract import Task, plain_line
from model_approval.validators.security_scan.scan import FileScan, Rule

MAX_TEXT_BYTES = 4 * 1024**2
"""Of a model card, a licence or a list of requirements; a longer one is not read, and said so."""
_MAX_FINDINGS = 2_000


@dataclass
class Inspection:
    """One artifact under inspection, filled by one part after the other."""

    task: Task
    parameters: ScanParameters
    scans: Mapping[str, FileScan]
    """The scan of each file, by path: gaps are added to the file they are about."""
    now: datetime
    findings: list[Finding] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    limitations: list[str] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)

    def report(self, rule: Rule, message: str, *, file: str = "", subject: str = "", line: int | None = None) -> None:
        """Record a finding; `subject` keeps findings of one rule and file apart."""
        if len(self.findings) >= _MAX_FINDINGS:
            self.limit(f"more than {_MAX_FINDINGS} findings about origin and dependencies, the rest is not listed")
            return
        self.findings.append(
            Finding(
                rule=rule.id,
                severity=rule.severity,
                file=file,
                line=line,
                subject=plain_line(subject, limit=300),
                message=plain_line(message),
                advice=rule.advice,
            )
        )

    def gap(self, path: str, reason: str) -> None:
        """Record that something about a file could not be established, so that the file is not covered."""
        scan = self.scans.get(path)
        if scan is None:
            self.limit(f"{path}: {reason}")
        else:
            scan.gap(plain_line(reason))

    def limit(self, reason: str) -> None:
        """Record that something about the whole could not be established."""
        line = plain_line(reason)
        if line not in self.limitations:
            self.limitations.append(line)

    def path_of(self, path: str) -> Path:
        """Where a file of the manifest lies."""
        root = self.task.artifact_path
        return root if root.is_file() else root / path

    def read_text(self, path: str) -> str | None:
        """A small text of the artifact; None, with a gap, when it is too long, unreadable or not UTF-8."""
        try:
            with self.path_of(path).open("rb") as stream:
                data = stream.read(MAX_TEXT_BYTES + 1)
            if len(data) > MAX_TEXT_BYTES:
                self.gap(path, f"longer than {MAX_TEXT_BYTES} bytes, so what it declares was not read")
                return None
            return data.decode("utf-8-sig")
        except OSError as err:
            self.gap(path, f"cannot be read: {err.strerror}")
        except UnicodeDecodeError:
            self.gap(path, "is not UTF-8, so what it declares was not read")
        return None


def some(names: Iterable[str], *, most: int = 5) -> str:
    """A few names for a sentence; the rest is counted."""
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + rest
