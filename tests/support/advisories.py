"""OSV records for tests, invented; an export is a zip of them, as the database's maintainers publish it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any


def an_advisory(**changes: object) -> dict[str, Any]:
    """`GHSA-aaaa`: `left-pad` is affected from 1.0 to before 1.3, severity MODERATE; changed yesterday."""
    return {
        "schema_version": "1.7.0",
        "id": "GHSA-aaaa",
        "aliases": ["CVE-2026-1"],
        "modified": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
        "summary": "pads too far",
        "database_specific": {"severity": "MODERATE"},
        "affected": [an_affected()],
        **changes,
    }


def an_affected(*events: Mapping[str, str], name: str = "Left_Pad", **changes: object) -> dict[str, Any]:
    """A package with one range."""
    return {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": list(events or ({"introduced": "1.0"}, {"fixed": "1.3"}))}],
        **changes,
    }


def write_export(path: Path, *records: Mapping[str, Any]) -> Path:
    """A zip with one file a record."""
    with zipfile.ZipFile(path, "w") as archive:
        for record in records:
            archive.writestr(f"{record['id']}.json", json.dumps(record))
    return path
