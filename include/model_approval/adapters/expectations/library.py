"""The library itself, made quiet; its import takes about six seconds, once in a process."""

from __future__ import annotations

import logging
import os
from typing import Any


def library() -> Any:  # noqa: ANN401  # the library's own types are reached through this module object
    """Import it without telemetry, and without the hundreds of lines that it logs once Airflow configured logging."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    logging.getLogger("great_expectations._docs_decorators").setLevel(logging.WARNING)
    import great_expectations as gx

    return gx
