"""`make demo`, as a newcomer types it: green means that every line of its table is as it must be."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from model_approval.embedded import reaper

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]

COMMAND = Path(sys.executable).with_name("model-approval")
DEADLINE_S = 1400.0
"""Four minutes are promised on two cores of one's own; tests share theirs."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[int, str, Path]:
    """Exit code, what it said, and the state folder that it left."""
    folder = tmp_path_factory.mktemp("demo") / "state"
    done = subprocess.run(
        [str(COMMAND), "demo", "--state-dir", str(folder)], capture_output=True, text=True, timeout=DEADLINE_S
    )
    return done.returncode, done.stdout + done.stderr, folder


def row(said: str, claim: str) -> str:
    """The table's row whose claim begins with these words, on one line."""
    lines = said.splitlines()
    start = next((number for number, line in enumerate(lines) if claim in line and line.startswith("│")), None)
    assert start is not None, said
    end = next(number for number, line in enumerate(lines[start:], start) if line.startswith(("├", "└")))
    cells = zip(*(line.strip("│").split("│") for line in lines[start:end]), strict=True)
    return " | ".join(" ".join(part.strip() for part in cell).strip() for cell in cells)


def test_every_line_is_as_it_must_be(demo):
    code, said, _ = demo

    assert code == 0, said
    assert "NOT" not in said
    assert "every line is as it must be" in said


@pytest.mark.parametrize(
    ("claim", "outcome", "why"),
    [
        ("rita approves", "refused (403)", "rita requested this promotion"),
        ("a good model", "deployed", "serves as promised"),
        ("a real inference", "answered", "probabilities"),
        ("bytes changed", "deployment_failed", "model.onnx: pinned as sha256:"),
        ("a pickle", "rejected", "pickle.dangerous-import in preprocessing.pkl"),
        ("a model too slow", "rejected", "is above the limit of 50 ms"),
        ("audit verify", "exit code 0", "verified with the public key alone"),
    ],
)
def test_each_decision_is_shown_with_its_reason(demo, claim, outcome, why):
    _, said, _ = demo

    shown = row(said, claim)

    assert shown.startswith("ok |")
    assert f"| {outcome} |" in shown
    assert why in shown


def test_nothing_of_it_runs_afterwards(demo):
    _, said, folder = demo

    assert said.rstrip().endswith("stopped")
    assert reaper.marked(json.loads((folder / "stack.lock").read_text())["stack"]) == []
