"""Starting in order: what may begin at once does, what must wait waits, a failure ends it all."""

from __future__ import annotations

import io
import threading

import pytest

from model_approval.embedded.steps import Progress, Step, run_steps

pytestmark = pytest.mark.unit


def quiet() -> Progress:
    return Progress(io.StringIO())


def nothing() -> None:
    """Stops nothing."""


def test_a_step_waits_for_those_that_it_names():
    done: list[str] = []
    steps = [
        Step("roof", lambda: done.append("roof"), after=("walls",)),
        Step("walls", lambda: done.append("walls"), after=("ground",)),
        Step("ground", lambda: done.append("ground")),
    ]

    run_steps(steps, quiet(), stop=nothing)

    assert done == ["ground", "walls", "roof"]


def test_steps_that_do_not_wait_for_each_other_run_at_once():
    both = threading.Barrier(2, timeout=10.0)

    run_steps([Step("left", both.wait), Step("right", both.wait)], quiet(), stop=nothing)

    assert both.n_waiting == 0


def test_a_failure_stops_the_others_and_is_what_the_caller_sees():
    stopped = threading.Event()

    def fail() -> None:
        raise RuntimeError("no disk")

    with pytest.raises(RuntimeError, match="no disk"):
        run_steps([Step("long", lambda: stopped.wait(60.0)), Step("short", fail)], quiet(), stop=stopped.set)

    assert stopped.is_set()


def test_a_step_that_waits_for_one_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="roof"):
        run_steps([Step("roof", nothing, after=("walls",))], quiet(), stop=nothing)


def test_each_finished_step_is_told_with_its_time():
    said = io.StringIO()
    progress = Progress(said)

    run_steps([Step("ground", nothing)], progress, stop=nothing)

    assert "ground (0." in said.getvalue()
    assert progress.timings["ground"] >= 0.0
