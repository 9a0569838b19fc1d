"""A hostile validator under the real supervisor: what it tries is refused, and how it ends is told in words."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_approval.domain.digests import canonical_json
from model_approval.domain.evidence import Evidence
from model_approval.domain.manifest import manifest_of_folder
from tests.support.models import write_folder
from tests.support.validation import PYTHON, REPOSITORY, a_validator_input

pytestmark = pytest.mark.contract

_HOSTILE = REPOSITORY / "tests/support/hostile.py"


@dataclass
class Outcome:
    """How the supervisor ended, and the evidence it wrote."""

    code: int
    said: str
    evidence: Evidence | None

    def of(self, attempt: str) -> str:
        """What came of an attempt."""
        assert self.evidence is not None, self.said
        return self.evidence.environment[attempt]


Try = Callable[..., Outcome]


@pytest.fixture
def attempt(tmp_path: Path) -> Try:
    """Run the hostile validator with attempts by name, over two small files."""

    def run(timeout_s: int = 60, parameters: dict[str, object] | None = None, **attempts: object) -> Outcome:
        artifact = write_folder(tmp_path / "artifact", {"a.json": b"{}", "b.json": b"{}"})
        manifest = manifest_of_folder(artifact)
        given = a_validator_input(manifest=manifest, parameters={"attempts": attempts, **(parameters or {})})
        (tmp_path / "input.json").write_bytes(canonical_json(given))
        arguments = ["--work", str(tmp_path), "--validator", "hostile", "--timeout-s", str(timeout_s)]
        command = [str(PYTHON), "-I", str(_HOSTILE), *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=120, env={"PATH": os.environ["PATH"], "SECRET": "s3cr3t"}
        )
        file = tmp_path / "evidence.json"
        evidence = Evidence.model_validate_json(file.read_bytes()) if file.exists() else None
        return Outcome(result.returncode, result.stderr.strip(), evidence)

    return run


def test_every_lock_is_in_force_on_this_machine(attempt: Try) -> None:
    outcome = attempt()
    for lock in ("limits", "capabilities", "landlock", "seccomp"):
        assert outcome.of(f"confinement.{lock}").startswith("in force")


def test_no_connection_can_be_opened(attempt: Try) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        outcome = attempt(connect=listener.getsockname()[1], unix_socket=True)
    assert outcome.of("connect").startswith("refused: PermissionError")
    assert outcome.of("unix_socket").startswith("refused: PermissionError")


def test_no_file_beside_its_inputs_can_be_read(attempt: Try, tmp_path: Path) -> None:
    capability = tmp_path / "upload_url"
    capability.write_text("https://store.example/evidence?signature=1")
    assert attempt(read="/etc/passwd").of("read").startswith("refused: PermissionError")
    assert attempt(read=str(capability)).of("read").startswith("refused: PermissionError")
    assert attempt(read=str(tmp_path / "artifact/a.json")).of("read") == "done: b'{}'"


def test_only_scratch_can_be_written_and_only_so_much(attempt: Try, tmp_path: Path) -> None:
    outcome = attempt(
        write=str(tmp_path / "evidence.json"),
        write_beside_artifact=True,
        change_artifact=True,
        write_scratch=True,
        fill_disk=True,
    )
    assert outcome.of("write").startswith("refused: PermissionError")
    assert outcome.of("write_beside_artifact").startswith("refused: PermissionError")
    assert outcome.of("change_artifact").startswith("refused: PermissionError")
    assert outcome.of("write_scratch") == "done: 1000"
    assert outcome.of("fill_disk").startswith("refused: OSError: [Errno 27] File too large")


def test_threads_run_but_no_process_can_be_started(attempt: Try) -> None:
    outcome = attempt(thread=True, fork=True, execute=True)
    assert outcome.of("thread") == "done: a thread ran"
    assert outcome.of("fork").startswith("refused: PermissionError")
    assert outcome.of("execute").startswith("refused: PermissionError")


def test_its_supervisor_is_out_of_reach(attempt: Try) -> None:
    outcome = attempt(environment_of_supervisor=True, memory_of_supervisor=True, kill_supervisor=True)
    for name in ("environment_of_supervisor", "memory_of_supervisor", "kill_supervisor"):
        assert outcome.of(name).startswith("refused: PermissionError")


def test_nothing_of_the_environment_comes_through(attempt: Try) -> None:
    assert outcome_names(attempt(own_environment=True)) <= {"HOME", "LANG", "LC_CTYPE", "PATH", "TMPDIR"}


def outcome_names(outcome: Outcome) -> set[str]:
    """The variables that the child saw."""
    return set(json.loads(outcome.of("own_environment").removeprefix("done: ").replace("'", '"')))


def test_memory_is_bounded(attempt: Try) -> None:
    assert attempt(eat_memory=True).of("eat_memory").startswith("refused: MemoryError")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("crash", "crashed with SIGABRT"),
        ("killed", "killed from outside, most likely out of memory"),
        ("end_silently", "ended without a report"),
        ("flood_report", "the report is longer than"),
    ],
)
def test_an_end_without_a_report_is_one_line_and_leaves_no_evidence(attempt: Try, what: str, words: str) -> None:
    outcome = attempt(**{what: True})
    assert outcome.code == 1
    assert outcome.said.startswith(f"hostile: {words}")
    assert "\n" not in outcome.said
    assert outcome.evidence is None


def test_a_validator_that_hangs_is_stopped_in_time(attempt: Try) -> None:
    outcome = attempt(timeout_s=1, hang=True)
    assert outcome.code == 1
    assert outcome.said.startswith("hostile: stopped after 1 s")
    assert outcome.evidence is None


def test_noise_is_bounded_and_without_control_characters(attempt: Try) -> None:
    outcome = attempt(chatter=True)
    assert outcome.code == 1
    assert len(outcome.said) < 3000
    assert "\x1b" not in outcome.said


@pytest.mark.parametrize(
    ("forged", "words"),
    [
        ("no json", "report of hostile: the document: Invalid JSON"),
        ('{"request_id": "pr-other"}', "report of hostile: request_id: Extra inputs are not permitted"),
        ('{"metrics": [{"name": "latency", "unit": "ms", "value": "NaN"}]}', "report of hostile: metrics.0.value"),
    ],
)
def test_a_report_that_breaks_the_contract_is_no_evidence(attempt: Try, forged: str, words: str) -> None:
    outcome = attempt(forge_report=forged)
    assert outcome.code == 1
    assert words in outcome.said
    assert outcome.evidence is None


def test_a_file_that_the_report_is_silent_about_is_not_covered(attempt: Try) -> None:
    outcome = attempt(parameters={"forget_a_file": True})
    assert outcome.evidence is not None
    assert [(item.path, item.covered) for item in outcome.evidence.coverage] == [("a.json", False), ("b.json", True)]


def test_who_and_what_comes_from_the_input_and_not_from_the_report(attempt: Try) -> None:
    evidence = attempt(forge_report='{"environment": {"python": "9.9"}}').evidence
    assert evidence is not None
    given = a_validator_input()
    assert (evidence.request_id, evidence.image_digest) == (given.request_id, given.image_digest)
    assert (evidence.validator, evidence.validator_version) == ("hostile", "0")
