"""`model-approval validator check`: the shipped example conforms, and each broken promise is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from model_approval.cli import make_app

pytestmark = pytest.mark.unit

EXAMPLE = Path(__file__).resolve().parents[3] / "include/images/example-validator/model_card.py"
_HONEST = """
import argparse, json, pathlib
parser = argparse.ArgumentParser()
parser.add_argument("--work", type=pathlib.Path)
parser.add_argument("--report", type=pathlib.Path)
given = parser.parse_args()
told = json.loads((given.work / "input.json").read_text())
report = {"coverage": [{"path": one["path"], "covered": True} for one in told["manifest"]["files"]]}
given.report.write_text(json.dumps(report))
"""
BROKEN = {
    "raise SystemExit('no licence')": "ends with exit code 0",
    "given.report.unlink()": "leaves a report that keeps the contract",
    "given.report.write_text('{\"verdict\": \"passed\"}')": "leaves a report that keeps the contract",
    "given.report.write_text(json.dumps({'coverage': report['coverage'][1:]}))": "names every file as covered or not",
    "import os; given.report.write_text(json.dumps({**report, 'environment': {'pid': str(os.getpid())}}))":
        "says the same the second time",
    "next(p for p in (given.work / 'artifact').rglob('*') if p.is_file()).write_text('x')": "leaves the artifact alone",
}  # fmt: skip


def _check(*command: str) -> tuple[int, dict[str, str | None]]:
    """The exit code, and what is said about each broken promise."""
    done = CliRunner().invoke(make_app(), ["validator", "check", "--json", "--", *command])
    told = json.loads(done.stdout)
    assert told["conforms"] is (done.exit_code == 0)
    return done.exit_code, {one["promise"]: one["why"] for one in told["promises"] if not one["kept"]}


def test_the_shipped_example_keeps_every_promise() -> None:
    assert _check(sys.executable, str(EXAMPLE)) == (0, {})


@pytest.mark.parametrize("line", BROKEN)
def test_a_broken_promise_is_told(tmp_path: Path, line: str) -> None:
    program = tmp_path / "validator.py"
    program.write_text(_HONEST + line)
    code, broken = _check(sys.executable, str(program))
    assert code == 1
    assert BROKEN[line] in broken


def test_a_program_that_accepts_any_input_breaks_a_promise(tmp_path: Path) -> None:
    program = tmp_path / "validator.py"
    program.write_text(_HONEST.replace('told["manifest"]["files"]', 'told.get("manifest", {"files": []})["files"]'))
    assert set(_check(sys.executable, str(program))[1]) == {"refuses an input that it cannot read"}


def test_what_cannot_be_started_is_told(tmp_path: Path) -> None:
    code, broken = _check(str(tmp_path / "missing"))
    assert code == 1
    assert "cannot be started" in str(broken["ends with exit code 0"])


def test_a_model_of_ones_own_can_be_used(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights.bin").write_bytes(b"x")
    arguments = ["validator", "check", "--artifact", str(tmp_path / "model"), "--", sys.executable, str(EXAMPLE)]
    assert CliRunner().invoke(make_app(), arguments).exit_code == 0


def test_parameters_that_are_no_object_are_refused() -> None:
    done = CliRunner().invoke(make_app(), ["validator", "check", "--parameters", "[1]", "--", "true"])
    assert "no JSON object" in str(done.exception)
