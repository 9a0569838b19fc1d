"""Starts a validator's process, holds it to its limits and sends home what it reports.

    python -m model_approval.validators.supervisor --work DIR --validator NAME [--upload-url-file FILE] [--collect FILE]
        [--servers SOCKET --server-image NAME]

It alone holds the write-once upload URL, and the process that touches the artifact never sees it. Request id, artifact
and image digest in the evidence come from `input.json`, never from that process. Exit 0: the validator ran, whatever it
found. Anything else: it broke, one line on standard error says how, and there is no evidence.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import stat
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError, ModelApprovalError
from model_approval.domain.evidence import Evidence, FileCoverage, ValidatorInput
from model_approval.validators import contract
from model_approval.validators.confinement import forbid_tracing
from model_approval.validators.contract import Limits, Report, Task, Validator, parse_record, plain_line, read_record
from model_approval.validators.process import end_on_sigterm, run_child
from model_approval.validators.registry import VALIDATORS, Entry, entry_of
from model_approval.validators.transfer import put_once

_SERVERS_AWAITED_S = 900.0
_POLL_S = 0.1
_RESERVED_GROUPS = frozenset({"confinement", "model_process"})
_RESERVED_FACTS = frozenset({"server_image", "python", "kernel"})
CHILD_COMMAND = (sys.executable, "-I", "-m", "model_approval.validators.child")


@dataclass(frozen=True)
class Servers:
    """The container beside this one that runs the model servers.

    Attributes:
        socket: Where it listens.
        image: What it was started from, for the evidence.
    """

    socket: Path
    image: str

    def wait(self, longest_s: float = _SERVERS_AWAITED_S) -> None:
        """Wait until it listens, before the check's own clock starts: its image may have to be pulled first.

        Raises:
            EvidenceError: It does not, or says why it cannot.
        """
        start, error = time.monotonic(), self.socket.with_name(contract.SERVERS_ERROR_FILE)
        while not self.socket.exists():
            if error.exists():
                raise EvidenceError(f"the container of the model servers: {plain_line(error.read_text('utf-8'))}")
            if time.monotonic() - start > longest_s:
                raise EvidenceError(f"the container of the model servers did not come up within {longest_s:g} s")
            time.sleep(_POLL_S)


@dataclass(frozen=True)
class Supervisor:
    """Runs one validator over one work folder.

    Attributes:
        registry: The validators that may be asked for.
        child: Command that starts the confined process; `--report-fd N` is added.
    """

    registry: Mapping[str, Entry] = field(default_factory=lambda: VALIDATORS)
    child: Sequence[str] = CHILD_COMMAND

    def run(self, work: Path, validator: str, timeout_s: int | None = None, servers: Servers | None = None) -> Evidence:
        """Run a validator and make evidence of its report.

        Args:
            work: The work folder.
            validator: Which one.
            timeout_s: Instead of the limit in the work folder.
            servers: The model servers' own container, where there is one.

        Raises:
            EvidenceError: It broke: crash, timeout, out of memory, a report that breaks the contract.
        """
        entry = entry_of(validator, self.registry)
        task = _task_of(work, validator, timeout_s)
        if servers:
            servers.wait()
            task = task.model_copy(update={"server_host": str(servers.socket)})
        started_at = datetime.now(UTC)
        report = parse_record(
            Report, run_child(self.child, task, again=entry.covers_every_file), what=f"report of {validator}"
        )
        evidence = evidence_of(entry, task, report, started_at)
        told = {**evidence.environment, "server_image": servers.image} if servers else evidence.environment
        return evidence.model_copy(update={"environment": told})

    def collect(self, work: Path, validator: str, report: Path) -> Evidence:
        """Make evidence of the report that a validator of somebody's own left; nothing of its making runs here.

        Raises:
            EvidenceError: There is no report, or one that breaks the contract.
        """
        entry = Entry(version="own", covers_every_file=True, make=_runs_elsewhere)
        task, started_at = _task_of(work, validator, None), datetime.now(UTC)
        told = parse_record(Report, _read_report(report), what="report.json")
        plain = {key: value for key, value in told.environment.items() if not _is_reserved(key)}
        return evidence_of(entry, task, told.model_copy(update={"environment": plain}), started_at)


def _is_reserved(key: str) -> bool:
    """Whether a key of the environment states what only we may: how a validator of ours was confined, and where."""
    parts = key.strip().casefold().split(".")
    return not _RESERVED_GROUPS.isdisjoint(parts) or parts[-1] in _RESERVED_FACTS


def _runs_elsewhere() -> Validator:
    raise EvidenceError("a validator of somebody's own runs in its own container")


def _read_report(path: Path) -> bytes:
    """Read a file that a stranger made: no link (it could lead to the capability), no pipe, no flood."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as err:
        hint = "the validator must write its report to the path given by --report"
        raise EvidenceError(f"there is no report that can be read: {err.strerror}", hint=hint) from err
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise EvidenceError("the report is no regular file")
        data = stream.read(contract.MAX_REPORT_BYTES + 1)
    if len(data) > contract.MAX_REPORT_BYTES:
        raise EvidenceError(f"the report is longer than {contract.MAX_REPORT_BYTES} bytes")
    return data


def _task_of(work: Path, validator: str, timeout_s: int | None) -> Task:
    given = read_record(ValidatorInput, work / contract.INPUT_FILE)
    limits = work / contract.LIMITS_FILE
    if timeout_s is None:
        timeout_s = read_record(Limits, limits).timeout_s if limits.exists() else contract.DEFAULT_TIMEOUT_S
    if given.manifest.artifact_digest != given.artifact_digest:
        raise EvidenceError(f"{contract.INPUT_FILE}: the manifest is not the one of {given.artifact_digest}")
    artifact = (work / contract.ARTIFACT_DIR).resolve()
    champion = (work / contract.CHAMPION_DIR).resolve() if given.champion_manifest else None
    for folder in filter(None, (artifact, champion)):
        if not folder.exists():
            raise EvidenceError(f"{folder} is missing", hint="run model_approval.validators.fetch first")
    scratch = work / contract.SCRATCH_DIR
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(mode=0o700)
    return Task(
        validator=validator,
        input=given,
        artifact=str(artifact),
        champion=str(champion) if champion else None,
        scratch=str(scratch.resolve()),
        timeout_s=timeout_s,
        vulnerability_database=os.environ.get("MODEL_APPROVAL_OSV_DATABASE") or None,
    )


def evidence_of(entry: Entry, task: Task, report: Report, started_at: datetime) -> Evidence:
    """What the validator reported, with the facts that only its supervisor may state."""
    # A gap in the coverage is no limitation of the whole: the policy's coverage rule judges it, and can be waived.
    coverage = _complete_coverage(task, report) if entry.covers_every_file else report.coverage
    return Evidence(
        request_id=task.input.request_id,
        check=task.input.check,
        validator=task.validator,
        validator_version=entry.version,
        image_digest=task.input.image_digest,
        artifact_digest=task.input.artifact_digest,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        findings=report.findings,
        metrics=report.metrics,
        coverage=coverage,
        device=report.device,
        environment={**report.environment, "python": platform.python_version(), "kernel": platform.release()},
        attachments=report.attachments,
        limitations=report.limitations,
    )


def _complete_coverage(task: Task, report: Report) -> tuple[FileCoverage, ...]:
    """One entry for each file of the manifest, the worst that was told; silence means that it was not looked into."""
    told = {item.path: item for item in sorted(report.coverage, key=lambda item: not item.covered)}
    missing = FileCoverage(path="-", covered=False, note="the validator did not mention this file")
    return tuple(
        told.get(entry.path, missing.model_copy(update={"path": entry.path})) for entry in task.input.manifest.files
    )


def take_upload_url(path: Path) -> str:
    """Read the capability and remove its file, so that nothing started later can find it.

    Raises:
        EvidenceError: There is no such file, or it is empty.
    """
    try:
        url = path.read_text(encoding="ascii").strip()
        path.unlink()
    except (OSError, UnicodeDecodeError) as err:
        raise EvidenceError(f"{path}: the upload URL cannot be taken: {err}") from err
    if not url:
        raise EvidenceError(f"{path}: no upload URL in it")
    return url


def main(argv: list[str] | None = None, supervisor: Supervisor | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.supervisor", description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--validator", required=True)
    parser.add_argument("--upload-url-file", type=Path)
    parser.add_argument("--timeout-s", type=int)
    parser.add_argument("--collect", type=Path, help="the report that a validator of somebody's own left")
    parser.add_argument("--servers", type=Path, help="socket of the container that runs the model servers")
    parser.add_argument("--server-image", default="unknown", help="what that container was started from")
    given = parser.parse_args(argv)
    forbid_tracing()
    os.umask(0o077)
    try:
        url = take_upload_url(given.upload_url_file) if given.upload_url_file else None
        working = supervisor or Supervisor()
        if given.collect:
            evidence = working.collect(given.work, given.validator, given.collect)
        else:
            servers = Servers(given.servers, given.server_image) if given.servers else None
            evidence = working.run(given.work, given.validator, given.timeout_s, servers)
        data = canonical_json(evidence)
        if url:
            put_once(url, data, content_type="application/json")
        else:
            (given.work / contract.EVIDENCE_FILE).write_bytes(data)
    except ModelApprovalError as err:
        sys.stderr.write(f"{given.validator}: {plain_line(str(err))}\n")
        return 1
    except Exception as err:  # noqa: BLE001  # outer edge: a broken validator is reported in one line, not a traceback
        sys.stderr.write(f"{given.validator}: {plain_line(f'{type(err).__name__}: {err}')}\n")
        return 1
    return 0


if __name__ == "__main__":
    end_on_sigterm()
    sys.exit(main())
