"""Golden files: what a reader reviews in a diff. `UPDATE_GOLDEN=1` writes them anew."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml


def assert_golden(path: Path, found: object) -> None:
    """Compare a plain object with its golden file (YAML)."""
    text = yaml.safe_dump(json.loads(json.dumps(found)), sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing: run again with UPDATE_GOLDEN=1 and read what it writes"
    assert text == path.read_text(), f"{path.name} differs: if that is meant, run again with UPDATE_GOLDEN=1"
