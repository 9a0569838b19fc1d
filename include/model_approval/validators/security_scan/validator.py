"""The security scan: every file of the artifact, by content, with what was not covered said aloud."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path

from model_approval.domain.content_rules import bind_to_content
from model_approval.domain.evidence import FileCoverage, Metric
from model_approval.domain.manifest import FileEntry
from model_approval.validators import progress
from model_approval.validators.contract import Bounds, Report, Task
from model_approval.validators.security_scan import allowed_globals, second_opinion
from model_approval.validators.security_scan.folder import check_folder
from model_approval.validators.security_scan.scan import UNKNOWN_FORMAT, Blob, Budget, FileScan
from model_approval.validators.security_scan.table import ScannerTable
from model_approval.validators.supply_chain.hook import database_of, supply_chain

_MAX_FINDINGS = 9_000
_MEMORY_BYTES = 1024**3
"""Scans stream and stay below half of it; a dictionary of strong compression that needs more is a gap of its file."""


class SecurityScan:
    """The validator `security_scan`."""

    def bounds(self, task: Task) -> Bounds:
        """Memory for what is read in windows; scratch for what archives unfold to."""
        largest = max((entry.size_bytes for entry in task.input.manifest.files), default=0)
        return Bounds(memory_bytes=_MEMORY_BYTES, file_bytes=Budget().unfolded_bytes_of(largest))

    def prepare(self, task: Task) -> None:
        """Open the database of known vulnerabilities, which is out of reach later."""
        self._database = database_of(task)

    def run(self, task: Task) -> Report:
        """Scan every file of the manifest."""
        files = task.input.manifest.files
        paths = {entry.path: entry.size_bytes for entry in files}
        scans = list(_scan_all(task, paths))
        references = frozenset(path for scan in scans for path in scan.references)
        task = task.pinned()
        origin = supply_chain(task, scans, self._database)
        coverage = tuple(_coverage(scan, references) for scan in scans)
        findings = [*check_folder(scans), *(finding for scan in scans for finding in scan.findings)]
        findings += origin.findings
        digests = {entry.path: entry.sha256 for entry in task.input.manifest.files}
        findings = list(bind_to_content(findings, digests))
        return Report(
            findings=tuple(sorted(findings, key=lambda item: -item.severity.rank)[:_MAX_FINDINGS]),
            metrics=(
                Metric(name="files_scanned", value=sum(item.covered for item in coverage), unit="files"),
                Metric(name="artifact_size", value=task.input.manifest.size_bytes, unit="bytes"),
            ),
            coverage=coverage,
            environment={
                "picklescan": version("picklescan"),
                "allowed_globals": allowed_globals.VERSION,
                **second_opinion.version_of(),
                **origin.environment,
            },
            attachments=tuple(origin.attachments),
            limitations=(*_limitations(len(findings)), *origin.limitations),
        )


def _scan_all(task: Task, paths: Mapping[str, int]) -> Iterator[FileScan]:
    manifest, bytes_done = task.input.manifest, 0
    count, total = len(manifest.files), manifest.size_bytes
    for number, entry in enumerate(manifest.files, start=1):
        yield _scan_file(task, entry, paths)
        bytes_done += entry.size_bytes
        progress.report(f"scanned {number} of {count} files, {bytes_done:,} of {total:,} bytes")


def _scan_file(task: Task, entry: FileEntry, paths: Mapping[str, int]) -> FileScan:
    root = task.artifact_path
    path = root if root.is_file() else root / entry.path
    scan = FileScan(entry.path, entry.size_bytes, ScannerTable(), Path(task.scratch), paths, cautious=task.cautious)
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            if size != entry.size_bytes:
                scan.gap(f"has {size} bytes, {entry.size_bytes} were pinned")
            scan.scan(Blob(entry.path, "", stream, size))
        if not task.cautious:  # it reads with the parsers that can crash
            second_opinion.ask(path, scan)
    except OSError as err:
        scan.gap(f"cannot be read: {err.strerror}")
    return scan


def _coverage(scan: FileScan, references: frozenset[str]) -> FileCoverage:
    if scan.path in references and scan.format in ("unknown", "empty") and scan.gaps.keys() <= {UNKNOWN_FORMAT}:
        return FileCoverage(path=scan.path, covered=True, format="tensor-data", note="raw tensors of a model beside it")
    return scan.coverage()


def _limitations(findings: int) -> tuple[str, ...]:
    if findings <= _MAX_FINDINGS:
        return ()
    return (f"{findings} findings, of which the gravest {_MAX_FINDINGS} are listed",)
