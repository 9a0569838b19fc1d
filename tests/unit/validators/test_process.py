"""A validator's process that a parser crashed is run once more without such parsers, and only then given up."""

from __future__ import annotations

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


def test_a_process_that_crashes_both_times_is_broken(task: Task) -> None:
    with pytest.raises(EvidenceError, match="SIGSEGV"):
        run_child(_command("SIGSEGV", always=True), task, again=True)


def test_a_process_killed_from_outside_is_not_run_again(task: Task) -> None:
    with pytest.raises(EvidenceError, match="killed from outside"):
        run_child(_command("SIGKILL"), task, again=True)


def test_only_who_asks_for_it_is_run_again(task: Task) -> None:
    with pytest.raises(EvidenceError, match="SIGSEGV"):
        run_child(_command("SIGSEGV"), task)
