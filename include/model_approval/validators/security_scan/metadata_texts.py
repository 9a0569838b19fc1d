"""Texts that formats of weights carry along: names and values that a person, or a loader, will read."""

from __future__ import annotations

import json
from collections.abc import Mapping

from model_approval.validators.security_scan.config_values import judge, record
from model_approval.validators.security_scan.embedded_payloads import find_payloads
from model_approval.validators.security_scan.embedded_secrets import scan_text_for_secrets
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.text_blocks import TextBlock

_MAX_CHARS = 4 * 1024**2
_MAX_ENTRIES = 10_000


def check_metadata(entries: Mapping[str, object], blob: Blob, scan: FileScan) -> None:
    """Judge names and values as those of a configuration are, and search them for secrets and payloads."""
    if len(entries) > _MAX_ENTRIES:
        scan.gap(f"more than {_MAX_ENTRIES} entries of metadata")
        return
    text = json.dumps(dict(entries), indent=0, ensure_ascii=False)
    if len(text) > _MAX_CHARS:
        scan.gap(f"metadata of more than {_MAX_CHARS} characters")
        return
    for key, value in entries.items():
        record(judge((str(key),), value), blob, scan)
    scan_text_for_secrets(text, blob, scan)
    find_payloads(TextBlock(text, 1), blob, scan)
