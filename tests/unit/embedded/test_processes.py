"""Supervision, with small real programs: what starts, what is said when it does not, and what is left when we go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_approval.embedded import reaper
from model_approval.embedded.processes import Program, ProgramError, Supervisor, clean_environment
from tests.support.servers import alive, wait_until

pytestmark = pytest.mark.integration

STACK = "0123456789abcdef"
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    made = Supervisor(f"{STACK}-{os.getpid()}", tmp_path)
    yield made
    made.stop(grace_s=5.0)


def program(
    tmp_path: Path, code: str, *, name: str = "sleeper", ready: str = "up", deadline_s: float = 20.0
) -> Program:
    """A program that is ready when its log holds a word."""
    log = tmp_path / f"{name}.log"
    return Program(
        name, (sys.executable, "-c", code), tmp_path, ready=lambda: ready in log.read_text(), deadline_s=deadline_s
    )


def test_a_program_is_started_when_it_says_that_it_is_ready(supervisor, tmp_path):
    supervisor.start(program(tmp_path, SLEEPER))

    assert supervisor.log_of("sleeper").read_text() == "up\n"


def test_a_program_that_ends_while_it_starts_is_told_with_the_end_of_its_log(supervisor, tmp_path):
    broken = program(tmp_path, "print('no such database'); raise SystemExit(3)")

    with pytest.raises(ProgramError) as failed:
        supervisor.start(broken)

    said = str(failed.value)
    assert "sleeper ended with exit code 3 while it started" in said
    assert "no such database" in said
    assert str(supervisor.log_of("sleeper")) in said


def test_a_program_that_is_never_ready_is_told_after_its_deadline(supervisor, tmp_path):
    with pytest.raises(ProgramError, match=r"was not ready within 0.5 s"):
        supervisor.start(program(tmp_path, SLEEPER, ready="never said", deadline_s=0.5))


def test_stopping_ends_the_program_and_its_children_in_other_sessions(supervisor, tmp_path):
    children = tmp_path / "children"
    code = (
        "import subprocess, sys, time;"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}], start_new_session=True);"
        f"open({str(children)!r}, 'w').write(str(child.pid)); print('up', flush=True); time.sleep(600)"
    )
    supervisor.start(program(tmp_path, code))
    child = int(children.read_text())
    assert alive(child)

    assert supervisor.stop(grace_s=5.0) == []
    assert not alive(child)


def test_stopping_forces_a_program_that_does_not_listen(supervisor, tmp_path):
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    )
    supervisor.start(program(tmp_path, deaf))

    assert supervisor.stop(grace_s=0.5) == []


def test_stopping_touches_nothing_that_was_not_started_here(supervisor, tmp_path):
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.DEVNULL) as stranger:
        supervisor.start(program(tmp_path, SLEEPER))
        supervisor.stop(grace_s=5.0)

        assert stranger.poll() is None
        stranger.kill()


def test_a_program_that_died_is_started_again_and_named(supervisor, tmp_path):
    supervisor.start(
        program(tmp_path, "import os; print(f'up {os.getpid()}', flush=True); import time; time.sleep(600)")
    )
    first = int(supervisor.log_of("sleeper").read_text().split()[1])
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not alive(first), timeout_s=20, what="the program is gone")

    said = supervisor.restart_dead()

    assert len(said) == 1
    assert "sleeper ended with exit code -9; started again" in said[0]
    wait_until(lambda: supervisor.log_of("sleeper").read_text().count("up") == 2, timeout_s=20, what="the second start")


def test_a_program_that_keeps_dying_is_given_up(supervisor, tmp_path):
    supervisor.start(program(tmp_path, SLEEPER.replace("600", "0.1")))
    refusals: list[str] = []

    def given_up() -> bool:
        try:
            supervisor.restart_dead()
        except ProgramError as err:
            refusals.append(str(err))
        return bool(refusals)

    wait_until(given_up, timeout_s=20, what="giving up")
    assert "died 6 times" in refusals[0]


def test_when_the_supervisor_is_killed_its_programs_are_ended_by_the_reaper(tmp_path):
    stack, pids = f"{STACK}-killed-{os.getpid()}", tmp_path / "pid"
    code = f"""
from pathlib import Path
import sys, time
from model_approval.embedded.processes import Program, Supervisor
supervisor = Supervisor({stack!r}, Path({str(tmp_path)!r}))
command = (sys.executable, "-c", {SLEEPER!r})
supervisor.start(Program("sleeper", command, Path("."), ready=lambda: "up" in supervisor.log_of("sleeper").read_text()))
Path({str(pids)!r}).write_text("started")
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code]) as parent:
        wait_until(pids.exists, what="the program is up", timeout_s=30.0)
        started = reaper.marked(stack)
        assert len(started) == 1
        parent.kill()

    wait_until(lambda: not reaper.marked(stack), timeout_s=20, what="nothing of the stack is left")
    assert not alive(started[0])


def test_settings_of_other_installations_do_not_reach_the_programs():
    given = {"AIRFLOW__CORE__EXECUTOR": "x", "MODEL_APPROVAL_HOME": "x", "AWS_PROFILE": "x", "MLFLOW_TRACKING_URI": "x"}
    os.environ.update(given)
    try:
        kept = clean_environment()
    finally:
        for name in given:
            del os.environ[name]

    assert not given.keys() & kept.keys()
    assert kept["PATH"] == os.environ["PATH"]
