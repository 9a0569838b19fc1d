"""Which interpreter writes which samples, and where in a scratch folder they go."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.corpus.sample import Written, read_index

REPOSITORY = Path(__file__).resolve().parents[3]
VALIDATORS = REPOSITORY / ".venv-validators/bin/python"
SAMPLES = REPOSITORY / ".venv-samples/bin/python"
_QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "jax", "PYTHONWARNINGS": "ignore"}


def torch_python() -> Path | None:
    """An interpreter with torch: `TORCH_PYTHON`, the samples', or the machine's; None if none has it."""
    named = os.environ.get("TORCH_PYTHON")
    candidates = [named] if named else [str(SAMPLES), sys.executable, shutil.which("python3") or ""]
    for candidate in filter(None, candidates):
        probe = ["-c", "import importlib.util as i; raise SystemExit(i.find_spec('torch') is None)"]
        if Path(candidate).exists() and subprocess.run([candidate, *probe], check=False).returncode == 0:
            return Path(candidate)
    return None


def write_with(python: Path, kind: str, folder: Path) -> tuple[Written, ...]:
    """Write a corpus with an interpreter; what it prints is shown only when it fails.

    Raises:
        RuntimeError: It failed, with the end of what it said.
    """
    result = subprocess.run(
        [str(python), "-m", "tests.support.corpus", kind, str(folder)],
        env={**os.environ, **_QUIET, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise RuntimeError(f"{python} could not write the {kind} samples: {result.stderr[-2000:]}")
    return read_index(folder)
