"""Jupyter notebooks: the code of their cells, with the shell commands that a leading `!` or `%%` hands on."""

from __future__ import annotations

import json
import re

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.python_code import dangerous_mentions
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

_MAX_CELLS = 5_000
_SHELL = Rule("code.shell", Severity.HIGH, "remove the notebook from the artifact")
_DANGEROUS = Rule("code.dangerous", Severity.HIGH, "remove the notebook from the artifact")
_MAGIC = re.compile(
    r"^\s*(?:!+(?=\S)|%%(?:bash|sh|script|cmd|powershell|perl|ruby|javascript|js|html)\b|%(?:system|sx|run|load_ext)\b).{0,200}",
    re.MULTILINE,
)


def check_notebook(text: str, blob: Blob, scan: FileScan) -> None:
    """Record what the cells would run. Raises ValueError when it is no JSON."""
    document = json.loads(text)
    cells = document.get("cells", []) if isinstance(document, dict) else []
    sources = [
        _source(cell) for cell in cells[:_MAX_CELLS] if isinstance(cell, dict) and cell.get("cell_type") == "code"
    ]
    if len(cells) > _MAX_CELLS:
        scan.gap(f"a notebook of more than {_MAX_CELLS} cells")
    for number, source in enumerate(sources, start=1):
        for match in list(_MAGIC.finditer(source))[:20]:
            command = plain_line(match[0], limit=150)
            scan.add(blob, _SHELL, f"code cell {number} hands to the shell: {command!r}", subject=command)
        _check_code(_MAGIC.sub("pass", source), number, blob, scan)


def _source(cell: dict[str, object]) -> str:
    source = cell.get("source", "")
    return "".join(map(str, source)) if isinstance(source, list) else str(source)


def _check_code(source: str, number: int, blob: Blob, scan: FileScan) -> None:
    try:
        mentions = dangerous_mentions(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        scan.gap(f"code cell {number} is no Python that can be read")
        return
    for mention in mentions[:20]:
        scan.add(blob, _DANGEROUS, f"code cell {number} uses {mention.name}", subject=mention.name)
