"""Where things lie beside this package in a checkout. The standard library alone: a scan starts with it."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
CONFIGURATION = _PACKAGE.parent
"""`include/`, with `policies/`, `committees/` and `targets/`."""
VALIDATORS_PYTHON = CONFIGURATION.parent / ".venv-validators" / "bin" / "python"
"""The interpreter that `make setup` makes for the validators."""
