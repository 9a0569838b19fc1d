"""MLPerf LoadGen itself, in the validators' environment."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.validation import PYTHON, REPOSITORY

pytestmark = pytest.mark.contract


def test_a_model_that_breaks_down_in_the_middle_ends_every_scenario_with_its_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [str(PYTHON), "-m", "tests.support.failing_model", str(tmp_path)],
        capture_output=True,
        check=True,
        cwd=REPOSITORY,
        text=True,
    )
    error = "candidate: the model's server answered 500: out of memory"
    assert json.loads(done.stdout) == dict.fromkeys(("single_stream", "multi_stream", "server", "offline"), error)
