"""Holds a validator of somebody's own to the contract, by running it over small artifacts.

The contract is told to people in include/docs/custom-validators.md. The program is run as this user, without a
container and unconfined: its author runs it, on a machine of theirs.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import JsonValue

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import ValidatorInput
from model_approval.domain.manifest import ArtifactManifest, manifest_of_folder
from model_approval.validators import contract
from model_approval.validators.contract import Report, parse_record, plain_line

_SAMPLE = {
    "model.onnx": bytes(range(256)),
    "docs/model_card.md": b"# Model card\n\n## Intended use\n\nNone.\n",
    "strange name.bin": b"\xff\x00" * 100,
}
_BARE = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Answer:
    """One promise of the contract, and whether it is kept."""

    promise: str
    kept: bool
    why: str = ""


@dataclass(frozen=True)
class _Ended:
    code: int
    said: str
    data: bytes | None


class Conformance:
    """The checks, each of which runs the program anew."""

    def __init__(self, command: Sequence[str], parameters: dict[str, JsonValue], timeout_s: int) -> None:
        """Prepare.

        Args:
            command: How to start the program; `--work DIR --report FILE` is added.
            parameters: Of the check.
            timeout_s: For each run.
        """
        self._command, self._parameters, self._timeout_s = list(command), parameters, timeout_s

    def answers(self, artifact: Path | None = None) -> list[Answer]:
        """Run everything, over a folder or over a sample of ours."""
        with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
            work = Path(folder, "work")
            work.mkdir()
            manifest = _prepare(work, artifact)
            given = self._input(manifest)
            first, second = (self._run(work, given, f"{count}.json") for count in (1, 2))
            report, problem = _parsed(first)
            answers = [
                Answer("ends with exit code 0", first.code == 0, first.said),
                Answer("leaves a report that keeps the contract", report is not None, problem),
                _names_every_file(report, manifest),
                Answer("says the same the second time", first.data == second.data, "the two reports differ"),
                Answer(
                    "leaves the artifact alone",
                    manifest_of_folder(work / contract.ARTIFACT_DIR) == manifest,
                    "it changed files below artifact/",
                ),
            ]
            refused = self._run(work, b'{"schema_id": "of another world"}', "3.json")
            why = "it ended with exit code 0 on an input.json that it cannot know"
            answers.append(Answer("refuses an input that it cannot read", refused.code != 0, why))
            if report is None:
                # Without a report nothing is known about the promises that speak of one or of what it did.
                answers = [one if not one.kept else replace(one, kept=False, why="not tested") for one in answers[1:]]
                answers.insert(0, Answer("ends with exit code 0", first.code == 0, first.said))
            return [replace(one, why="") if one.kept else one for one in answers]

    def _input(self, manifest: ArtifactManifest) -> bytes:
        return canonical_json(
            ValidatorInput(
                request_id="conformance",
                check="conformance",
                artifact_digest=manifest.artifact_digest,
                manifest=manifest,
                image_digest="local",
                parameters=self._parameters,
                allow_cpu=True,
            )
        )

    def _run(self, work: Path, given: bytes, report_name: str) -> _Ended:
        report = work.parent / "report" / report_name
        report.parent.mkdir(exist_ok=True)
        (work / contract.INPUT_FILE).write_bytes(given)
        command = [*self._command, "--work", str(work), "--report", str(report)]
        try:
            done = subprocess.run(
                command, env=_BARE, stdin=subprocess.DEVNULL, capture_output=True, timeout=self._timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            return _Ended(-1, f"it did not end within {self._timeout_s} s", None)
        except OSError as err:
            return _Ended(-1, f"it cannot be started: {err.strerror}", None)
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        said = plain_line(lines[-1]) if lines else f"it ended with exit code {done.returncode} and said nothing"
        return _Ended(done.returncode, said, report.read_bytes() if report.is_file() else None)


def _prepare(work: Path, artifact: Path | None) -> ArtifactManifest:
    target = work / contract.ARTIFACT_DIR
    if artifact is not None:
        shutil.copytree(artifact, target)
    else:
        for name, data in _SAMPLE.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(data)
    return manifest_of_folder(target)


def _parsed(ended: _Ended) -> tuple[Report | None, str]:
    if ended.data is None:
        return None, "there is no file at the path given by --report"
    try:
        return parse_record(Report, ended.data, what="report.json"), ""
    except EvidenceError as err:
        return None, err.message


def _names_every_file(report: Report | None, manifest: ArtifactManifest) -> Answer:
    named = {item.path for item in report.coverage} if report else set()
    silent = [entry.path for entry in manifest.files if entry.path not in named]
    return Answer("names every file as covered or not", not silent, f"silent about {', '.join(silent[:5])}")
