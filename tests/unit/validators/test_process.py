"""A validator's process that a parser crashed is run once more without such parsers, and only then given up."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.contract import Task
from model_approval.validators.process import run_child
from tests.support.validation import a_validator_input

_DIES = """
import json, os, signal, sys
task = json.load(sys.stdin)
if not task["cautious"] or {always}:
    os.kill(os.getpid(), signal.{signal})
os.write(int(sys.argv[-1]), b"cautious report")
"""


def _command(signal: str, *, always: bool = False) -> tuple[str, ...]:
    return (sys.executable, "-c", _DIES.format(signal=signal, always=always))


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return Task(
        validator="security_scan",
        input=a_validator_input(),
        artifact=str(tmp_path),
        scratch=str(tmp_path),
        timeout_s=60,
    )


@pytest.mark.parametrize("signal", ["SIGSEGV", "SIGABRT", "SIGPROF"])
def test_what_a_parser_crashed_is_run_again_cautiously(task: Task, signal: str) -> None:
    assert run_child(_command(signal), task, again=True) == b"cautious report"


_READS_THEN_DIES = """
import json, os, signal, sys
task = json.load(sys.stdin)
read = os.read(task["manifest_fd"], 100)
if not task["cautious"]:
    os.kill(os.getpid(), signal.SIGSEGV)
os.write(int(sys.argv[-1]), read)
"""


def test_the_second_run_is_offered_the_manifest_anew(task: Task) -> None:
    def offer() -> int:
        reading, writing = os.pipe()
        os.write(writing, b"the manifest")
        os.close(writing)
        return reading

    command = (sys.executable, "-c", _READS_THEN_DIES)
    assert run_child(command, task, again=True, offer=offer) == b"the manifest"


def test_a_process_that_crashes_both_times_is_broken(task: Task) -> None:
    with pytest.raises(EvidenceError, match="SIGSEGV"):
        run_child(_command("SIGSEGV", always=True), task, again=True)


def test_a_process_killed_from_outside_is_not_run_again(task: Task) -> None:
    with pytest.raises(EvidenceError, match="killed from outside"):
        run_child(_command("SIGKILL"), task, again=True)


def test_only_who_asks_for_it_is_run_again(task: Task) -> None:
    with pytest.raises(EvidenceError, match="SIGSEGV"):
        run_child(_command("SIGSEGV"), task)


_SUPERVISES = """
import sys
from model_approval.validators.contract import Task
from model_approval.validators.process import end_on_sigterm, run_child
end_on_sigterm()
opens = f"import time; kept = open({sys.argv[1]!r}, 'wb'); time.sleep(600)"
run_child((sys.executable, "-c", opens), Task.model_validate_json(sys.stdin.read()))
"""


def test_a_supervisor_that_is_told_to_end_ends_its_child(task: Task, tmp_path: Path) -> None:
    """The child holds a named pipe open; at its death, and not before, whoever reads the pipe sees its end."""
    os.mkfifo(tmp_path / "held")
    supervisor = subprocess.Popen(
        [sys.executable, "-c", _SUPERVISES, str(tmp_path / "held")], stdin=subprocess.PIPE, text=True
    )
    assert supervisor.stdin is not None
    supervisor.stdin.write(task.model_dump_json())
    supervisor.stdin.close()
    with (tmp_path / "held").open("rb") as pipe:  # opens when the child does
        supervisor.terminate()
        assert supervisor.wait(timeout=20) == 143
        assert select.select([pipe], [], [], 20)[0]
        assert pipe.read() == b""
