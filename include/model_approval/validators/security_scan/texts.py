"""Plain text, tables, notes and settings: read to their ends, searched for secrets, payloads and what readers run."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import detect_format
from model_approval.validators.security_scan.config_values import (
    CODE,
    CODE_KEYS,
    TARGET_KEYS,
    TRUE_MEANS_CODE,
    Trouble,
    code_message,
    judge,
    record,
)
from model_approval.validators.security_scan.dependency_names import is_requirements_file
from model_approval.validators.security_scan.embedded_payloads import find_payloads
from model_approval.validators.security_scan.embedded_secrets import find_secrets
from model_approval.validators.security_scan.json_texts import search_large
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.text_blocks import TextBlock, read_text, text_blocks

_MAX_LIST_BYTES = 1024 * 1024
_FORMULA = Rule(
    "text.formula", Severity.LOW, "write such cells as text: a spreadsheet runs them when the table is opened"
)
_MARKUP = Rule("text.markup", Severity.LOW, "remove it: a page that shows the text may run it")
_KEYS = CODE_KEYS | TRUE_MEANS_CODE | TARGET_KEYS
_PARTS_OF_KEYS = (
    "_map",
    "custom_p",
    "py/",
    "__re",
    "remote_code",
    "allow_",
    "trust_repo",
    "_target_",
    "_path",
    "install_py",
)
_KEY = "|".join(map(re.escape, sorted(_KEYS)))
_INLINE = re.compile(rf"""(?<![\w/])({_KEY})["']?\s*[=:]\s*(\S.{{0,300}})""")
"""In formats of settings, where tables stand within lines."""
_LINE = re.compile(
    rf"""^\s*["']?({_KEY})["']?\s*[=:]\s*(\S.{{0,300}})""",
    re.MULTILINE,
)
_FORMULA_WORDS = (
    "cmd", "powershell", "mshta", "rundll32", "dde", "hyperlink", "webservice", "importxml", "importdata",
    "importrange", "exec(", "call(", "|",
)  # fmt: skip
_CELL = re.compile(
    r"(?:^|[,;\t\n])\"?\s{0,3}[=+@-][^\n,;\t]{0,20}?(?:cmd|powershell|mshta|rundll32|\bDDE(?:AUTO)?\b|HYPERLINK\s*\("
    r"|WEBSERVICE\s*\(|IMPORT\w+\s*\(|\b(?:EXEC|CALL)\s*\()[^\n]{0,60}|(?:^|[,;\t\n])\"?[=+@-][^\n,;\t]{0,80}\|'?[^\n,;\t]{0,40}!",
    re.IGNORECASE,
)
_MAX_PLACES = 10_000
_SCRIPT = re.compile(
    r"<(?:script|iframe|object|embed)\b|\bon(?:error|load|click|mouseover)\s*=\s*[\"']"
    r"|\]\(\s*(?:javascript|data:text/html|vbscript):",
    re.IGNORECASE,
)
_PATH_CODE = Rule("folder.path-code", Severity.CRITICAL, "remove it; Python runs such lines whenever it starts")
_IMPORT_LINE = re.compile(r"^import[ \t][^\n]{0,200}", re.MULTILINE)
_SETTINGS = frozenset({".toml", ".ini", ".cfg", ".conf", ".properties", ".env", ".txt"})


class TextScanner:
    """Scans `text`, `markdown`, `csv`, `empty`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read it to its end. Raises Uncovered when it is not text all the way."""
        kind, name = detect_format(blob.name, blob.head()), PurePosixPath(blob.name).name.lower()
        suffix = PurePosixPath(name).suffix
        if is_requirements_file(name):
            # Imported here: it brings readers of versions along, which take their time to start.
            from model_approval.validators.security_scan.dependency_lists import check_dependency_list

            check_dependency_list(read_text(blob, _MAX_LIST_BYTES), blob, scan)
        elif suffix in (".json", ".ipynb"):
            # A lenient reader may still take it for what its name says.
            search_large(blob, scan)
            raise Uncovered(f"its name ends in {suffix}, but it is no JSON")
        for block in text_blocks(blob):
            find_secrets(block, blob, scan)
            find_payloads(block, blob, scan)
            if kind == "csv":
                _find_formula(block, blob, scan)
            elif kind == "markdown":
                _first(_SCRIPT, _MARKUP, "the text holds markup that a browser runs", block, blob, scan)
            elif suffix == ".pth":
                _first(_IMPORT_LINE, _PATH_CODE, "Python runs this line when it starts", block, blob, scan)
            elif suffix in _SETTINGS or name == ".env":
                _search_settings(block, blob, scan)


def _first(sought: re.Pattern[str], rule: Rule, message: str, block: TextBlock, blob: Blob, scan: FileScan) -> None:
    if any(finding.rule == rule.id for finding in scan.findings):
        return
    if match := sought.search(block.text):
        scan.add(blob, rule, message, subject=match[0].strip(" ,;\t\"'")[:60], line=block.line_of(match.start()))


def _find_formula(block: TextBlock, blob: Blob, scan: FileScan) -> None:
    """Tables are long, so words of formulas are found first, and the cell around them is looked at."""
    if any(finding.rule == _FORMULA.id for finding in scan.findings):
        return
    lower, tries = block.text.lower(), 0
    for word in _FORMULA_WORDS:
        at = lower.find(word)
        while at >= 0 and tries < _MAX_PLACES:
            tries += 1
            match = _CELL.search(block.text, max(0, at - 100), at + 150)
            if match:
                message = "a cell is a formula that starts programs or fetches"
                shown = match[0].strip(" ,;\t\n\"'")[:60]
                scan.add(blob, _FORMULA, message, subject=shown, line=block.line_of(match.end()))
                return
            at = lower.find(word, at + len(word))


def _search_settings(block: TextBlock, blob: Blob, scan: FileScan) -> None:
    if not any(part in block.text for part in _PARTS_OF_KEYS):
        return
    for match in (_LINE if blob.name.endswith(".txt") else _INLINE).finditer(block.text):
        key, value = match[1], match[2].strip().strip("\"',;{}[] ")
        line = block.line_of(match.start())
        if key in CODE_KEYS:
            record(iter([Trouble(CODE, code_message(key), key)]), blob, scan, line=line)
        else:
            record(judge((key,), value), blob, scan, line=line)
