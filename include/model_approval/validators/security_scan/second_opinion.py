"""A second opinion by `modelaudit` on Keras and skops files about which our own scanners are undecided.

Undecided means: something in the file is unknown to us, and nothing grave was found. Whatever we know in full needs no
denylist on top, and modelaudit takes seconds to import and to think: 25 s for a 9 MB Keras archive, against 0.1 s.
Measured with 0.2.54 over our samples: of 46 malicious Keras files it calls 14 critical, of 15 of TensorFlow 8, of 15 of
ONNX 8, of 14 of TensorFlow Lite none, all of which our scanners find; and it calls every honest SavedModel critical
(`SaveV2`, `RestoreV2`, `Assert`). So it is asked about Keras and skops alone, and only what it calls critical counts.
"""

from __future__ import annotations

import os
import signal
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Protocol, cast

from model_approval.domain.evidence import Finding, Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.scan import PARSER_ERRORS, FileScan

ENGINE = "modelaudit"
_ADVICE = "look at what modelaudit names; save the model anew without it"
_MAX_BYTES = 16 * 1024**2
_TIME_S = 10
_CPU_S = 60
"""Where no Python runs any more, no handler does either: then the kernel ends the process, and it is started anew."""
_SILENT = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1"}
"""Its telemetry is off, besides there being no network."""
_SCANNERS = {
    "keras_h5": "keras_h5_scanner:KerasH5Scanner",
    "keras_zip": "keras_zip_scanner:KerasZipScanner",
    "skops": "skops_scanner:SkopsScanner",
}
_FAMILIES = ("CVE-", "Lambda layer", "Detected OperatorFuncNode", "Detected MethodNode", "Detected Card.get_model")
"""Beginnings of the messages that no honest sample raised."""


class _Issue(Protocol):
    message: str
    rule_code: str | None


def version_of() -> Mapping[str, str]:
    """What the evidence's environment says about it; read from metadata, without importing it."""
    return {ENGINE: version(ENGINE)}


def ask(path: Path, scan: FileScan) -> None:
    """Ask about one file of the artifact, when it is of a kind that is asked about and we are undecided.

    Args:
        path: The file.
        scan: Our own finished scan of it; takes findings, and a gap when there was no answer in time.
    """
    grave = any(finding.severity.rank >= Severity.HIGH.rank for finding in scan.findings)
    kind = _kind_of(path, scan.format) if scan.gaps and not grave and scan.size_bytes <= _MAX_BYTES else None
    if kind is None:
        return
    try:
        with _time_limit():
            issues = _issues(kind, path)
    except Exception as err:  # noqa: BLE001  # a library's crash over one file must not hide what others hold
        scan.gap(plain_line(f"no second opinion by {ENGINE}: {type(err).__name__}: {err}", limit=200))
        return
    known = {(finding.rule, finding.subject) for finding in scan.findings}
    for issue in issues:
        finding = _finding(scan.path, issue)
        if (finding.rule, finding.subject) not in known:
            known.add((finding.rule, finding.subject))
            scan.findings.append(finding)


def _kind_of(path: Path, found: str) -> str | None:
    if found == "hdf5":
        return "keras_h5"
    if found != "zip":
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist()[:10_000])
    except PARSER_ERRORS:
        return None
    if {"config.json", "metadata.json"} <= names:
        return "keras_zip"
    return "skops" if "schema.json" in names else None


def _issues(kind: str, path: Path) -> list[_Issue]:
    os.environ.update(_SILENT)
    module, name = _SCANNERS[kind].split(":")
    scanner = getattr(import_module(f"modelaudit.scanners.{module}"), name)
    result = scanner({"timeout": _TIME_S}).scan(str(path))
    found = [issue for issue in result.issues if issue.severity.value == "critical"]
    return cast("list[_Issue]", [issue for issue in found if issue.message.startswith(_FAMILIES)])


def _finding(path: str, issue: _Issue) -> Finding:
    head = plain_line(issue.message, limit=300)
    label = head.split(":", 1)[0] if head.startswith("CVE-") else (issue.rule_code or "finding")
    return Finding(
        rule=f"modelaudit.{label.lower()}",
        severity=Severity.HIGH,
        file=path,
        subject=head,
        message=f"modelaudit says: {head}",
        advice=_ADVICE,
        engines=(ENGINE,),
    )


@contextmanager
def _time_limit() -> Iterator[None]:
    """Interrupt what takes too long. Raises TimeoutError inside; does nothing outside of the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"no answer within {_TIME_S} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, _TIME_S)
    signal.setitimer(signal.ITIMER_PROF, _CPU_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
