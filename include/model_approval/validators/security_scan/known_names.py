"""Lists of names that are too long for a module: one file each in `names/`, words between blanks, `#` for comments."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def known_names(which: str) -> frozenset[str]:
    """The names of one list, for example `onnx_operators`."""
    text = (Path(__file__).parent / "names" / f"{which}.txt").read_text("utf-8")
    return frozenset(word for line in text.splitlines() if not line.startswith("#") for word in line.split())
