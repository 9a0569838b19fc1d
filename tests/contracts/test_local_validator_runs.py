"""Programs of the local runtime: long output does not stop them, and none outlives its time or its caller."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from model_approval.adapters.local_validators import LocalValidatorRunner
from model_approval.cli.launch import Launch

pytestmark = pytest.mark.contract


def test_a_program_that_prints_more_than_a_pipe_holds_is_read_to_its_end(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nprint('x' * 300_000)\n")
    python.chmod(0o700)
    assert len(LocalValidatorRunner(python).image_digest) == 300_001


def test_a_launch_that_is_left_early_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    (tmp_path / "card.md").write_text("# Card")
    with Launch("security_scan", tmp_path, {}, 60) as launched:
        process, folder = launched._process, Path(launched._folder.name)
    assert process is not None
    assert process.poll() is not None
    assert not folder.exists()
