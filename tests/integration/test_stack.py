"""The embedded stack, started for real: it answers, only on loopback, survives a restart, and leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model_approval.embedded import reaper
from model_approval.embedded.airflow_api import AirflowHealth, wait_until
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.people import PEOPLE
from model_approval.embedded.ports import holder_of
from model_approval.embedded.stack import GPU_POOL, Stack
from model_approval.embedded.steps import Progress

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

START_S = 360.0


def options(folder: Path) -> StackOptions:
    return StackOptions(state_dir=folder, airflow_port=0, mlflow_port=0, store_port=0, sample=False)


@pytest.fixture(scope="module")
def stack(tmp_path_factory) -> Iterator[Stack]:
    with Stack(options(tmp_path_factory.mktemp("stack")), Progress()) as started:
        started.start()
        yield started


def test_a_terminal_that_is_gone_keeps_nothing_from_being_stopped(tmp_path):
    terminal = io.StringIO()
    with pytest.raises(ValueError, match="closed file"), Stack(options(tmp_path), Progress(terminal)):
        terminal.close()
    with Stack(options(tmp_path), Progress(io.StringIO())) as again:  # refused while the first still holds the folder
        assert again.stack_id


def test_everybody_can_sign_in_and_see_the_review_room(stack):
    for person in PEOPLE:
        plugins = stack.user(person.name).call("GET", "/api/v2/plugins")["plugins"]

        assert "model_review" in {plugin["name"] for plugin in plugins}, person.name


def test_a_wrong_password_is_refused(stack):
    answer = httpx.post(
        f"http://127.0.0.1:{stack.airflow_port}/auth/token",
        json={"username": "ana", "password": "guess"},
        trust_env=False,
    )

    assert answer.status_code == 401


def test_a_viewer_changes_nothing(stack):
    status, _ = stack.user("vera").attempt("PATCH", "/api/v2/dags/promotion_intake__mlflow", {"is_paused": True})

    assert status == 403


def test_all_dags_are_found_and_none_fails_to_import(stack):
    stack.wait_for_dags({"promotion_intake__mlflow", "promote__fraud_scoring"})

    assert stack.user("admin").call("GET", "/api/v2/importErrors")["import_errors"] == []


def test_benchmarks_have_a_pool_that_also_counts_waiting_ones(stack):
    pool = stack.user("olga").call("GET", f"/api/v2/pools/{GPU_POOL}")

    assert (pool["slots"], pool["include_deferred"]) == (1, True)


def test_nothing_listens_beyond_loopback(stack):
    ours = {str(pid) for pid in reaper.marked(stack.stack_id)} | {str(stack.store.pid)}
    everywhere = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            address, port = line.split()[1].split(":")
            if line.split()[3] == "0A" and set(address) == {"0"}:
                everywhere.add(int(port, 16))

    assert {port for port in everywhere if holder_of(port).rpartition("pid ")[2].rstrip(")") in ours} == set()


def test_a_component_that_is_killed_is_started_again(stack: Stack):
    healthy = AirflowHealth(stack.airflow_port).check("triggerer")
    before = stack.pid_of("airflow-triggerer")
    os.kill(before, signal.SIGKILL)

    def again() -> bool:
        stack.tend()
        return stack.pid_of("airflow-triggerer") != before

    wait_until(again, what="another triggerer", deadline_s=60.0)
    assert wait_until(healthy, what="a healthy triggerer", deadline_s=120.0)


START = """
import sys
from pathlib import Path
from model_approval.embedded.layout import StackOptions
from model_approval.embedded.run import run_stack
sys.exit(run_stack(StackOptions(Path(sys.argv[1]), airflow_port=0, mlflow_port=0, store_port=0)))
"""


def start(folder: Path, output: Path) -> subprocess.Popen[bytes]:
    """`make run` in a process of its own, up to the line that says where to click."""
    with output.open("wb") as stream:
        process = subprocess.Popen([sys.executable, "-u", "-c", START, str(folder)], stdout=stream, stderr=stream)

    def up() -> bool:
        assert process.poll() is None, output.read_text()
        return "Ctrl-C stops everything" in output.read_text()

    try:
        wait_until(up, what="the guide", deadline_s=START_S)
    except BaseException:
        process.kill()
        raise
    return process


def stack_of(folder: Path) -> str:
    return str(json.loads((folder / "stack.lock").read_text())["stack"])


def password_line(output: Path) -> str:
    lines = output.read_text().splitlines()
    return next(line for line in lines if " ana " in line)


def test_ctrl_c_stops_everything_and_a_second_start_finds_it_again_and_leaves_nothing_even_when_killed(tmp_path):
    folder, first, second = tmp_path / "state", tmp_path / "first", tmp_path / "second"

    process = start(folder, first)
    ours = reaper.marked(stack_of(folder))
    process.send_signal(signal.SIGINT)

    assert process.wait(timeout=120) == 0, first.read_text()
    assert ours != []
    assert reaper.marked(stack_of(folder)) == []
    assert first.read_text().rstrip().endswith("stopped")

    process = start(folder, second)
    store = int((folder / "store" / "weed.pid").read_text())
    process.kill()
    process.wait()

    assert password_line(first) == password_line(second)
    assert not (folder / "logs" / "airflow-migrate.log.old").exists(), "the second start migrated again"

    def nothing_left() -> bool:
        return not reaper.marked(stack_of(folder)) and not reaper.members([store])

    wait_until(nothing_left, what="the reaper to end what the killed start left", deadline_s=120.0)
