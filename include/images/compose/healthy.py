"""Health check of a container: `healthy.py URL [PART]`. Exit code 0: the URL answers 200, and PART is healthy in it.

PART is a part of Airflow as its API server's health report names it: `dag_processor`, `triggerer`. Those two serve
nothing themselves, and their own `airflow jobs check` takes five seconds of a core each time.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request


def problem(url: str, part: str | None) -> str:
    """What is wrong, in words; empty when nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - the compose file's own addresses
            report = json.load(answer) if part else {}
    except (OSError, urllib.error.URLError, ValueError) as err:
        return f"{url}: {err}"
    status = report.get(part, {}).get("status") if part else "healthy"
    return "" if status == "healthy" else f"{part} is {status}"


if __name__ == "__main__":
    sys.exit(problem(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None) or 0)
