"""What scanners say about samples: ours and the two that it must beat, in one process of the validators' interpreter.

`python -m tests.support.corpus.judge {ours,picklescan,modelaudit} FOLDER` prints one JSON line an entry of the folder,
which is a file or a folder. Ours runs here without its confinement, since starting it for each of hundreds of samples
would take most of the time; `model-approval scan` itself is tested elsewhere.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.support.corpus.sample import INDEX

TIMEOUT_S = 120
_SCANNER = "security_scan"


@dataclass(frozen=True)
class Judgement:
    """What a scanner says about one sample.

    Attributes:
        name: The sample.
        verdict: `failed` (malicious), `passed` or `inconclusive`.
        said: Its reasons, the gravest first.
    """

    name: str
    verdict: str
    said: tuple[str, ...] = ()


def ours(path: Path) -> Judgement:
    """The verdict of our security scan, as `model-approval scan` has it."""
    from model_approval.domain.manifest import manifest_of_folder
    from model_approval.validators.contract import Report, Task
    from model_approval.validators.security_scan.validator import SecurityScan

    manifest = manifest_of_folder(path)
    given = {
        "request_id": "0" * 16, "check": _SCANNER, "artifact_digest": manifest.artifact_digest, "manifest": manifest,
        "image_digest": "sha256:" + "0" * 64,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as scratch:
        fields = {
            "validator": _SCANNER,
            "input": given,
            "artifact": str(path),
            "scratch": scratch,
            "timeout_s": TIMEOUT_S,
        }
        scan, task = SecurityScan(), Task.model_validate(fields)
        scan.prepare(task)
        report: Report = scan.run(task)
    grave = [item for item in report.findings if item.severity.rank >= 3]
    said = [f"{item.severity}:{item.rule} {item.subject} {item.message}"[:160] for item in report.findings]
    gaps = [f"gap: {item.path}: {item.format}: {item.note}"[:300] for item in report.coverage if not item.covered]
    blind = bool(gaps or report.limitations)
    verdict = "failed" if grave else "inconclusive" if blind else "passed"
    return Judgement(path.name, verdict, (*said[:4], *gaps[:3], *report.limitations[:2]))


def picklescan(path: Path) -> Judgement:
    """picklescan's: infected is failed, a scan error is inconclusive."""
    from picklescan.scanner import scan_directory_path, scan_file_path

    result = scan_directory_path(str(path)) if path.is_dir() else scan_file_path(str(path))
    said = tuple(f"{item.safety.value}: {item.module}.{item.name}" for item in result.globals)[:4]
    verdict = "failed" if result.infected_files else "inconclusive" if result.scan_err else "passed"
    return Judgement(path.name, verdict, said)


def modelaudit(path: Path) -> Judgement:
    """modelaudit's: an issue of severity critical is failed, no success is inconclusive; warnings do not count."""
    from modelaudit.core import scan_model_directory_or_file

    result = scan_model_directory_or_file(str(path))
    grave = [issue for issue in result.issues if issue.severity.value == "critical"]
    said = tuple(f"{issue.severity.value}: {issue.message}"[:160] for issue in result.issues)[:4]
    complete = result.success and not result.has_errors
    return Judgement(path.name, "failed" if grave else "passed" if complete else "inconclusive", said)


JUDGES: dict[str, Callable[[Path], Judgement]] = {"ours": ours, "picklescan": picklescan, "modelaudit": modelaudit}


def judge(judge_name: str, folder: Path) -> Iterator[Judgement]:
    """Every entry of a folder, one after the other; a crash or a timeout is inconclusive and says so."""
    for path in sorted(folder.iterdir()):
        if path.name == INDEX:
            continue
        try:
            with _deadline():
                yield JUDGES[judge_name](path)
        except Exception as err:  # noqa: BLE001  # whatever a scanner does with a sample is its answer
            yield Judgement(path.name, "inconclusive", (f"raised {type(err).__name__}: {err}"[:300],))


@contextmanager
def _deadline() -> Iterator[None]:
    def too_late(*_: object) -> None:
        raise TimeoutError(f"not done after {TIMEOUT_S} s")

    before = signal.signal(signal.SIGALRM, too_late)
    signal.alarm(TIMEOUT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="tests.support.corpus.judge", description=__doc__)
    parser.add_argument("judge", choices=JUDGES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    os.environ.update(PROMPTFOO_DISABLE_TELEMETRY="1", NO_ANALYTICS="1")
    answers, sys.stdout = sys.stdout, sys.stderr  # scanners print; the answers alone are ours
    for judgement in judge(given.judge, given.folder):
        answers.write(json.dumps(asdict(judgement)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
