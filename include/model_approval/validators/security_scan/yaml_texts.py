"""YAML: no tag of strangers is resolved; the text is searched for spellings, the flat list of values for meaning."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from model_approval.validators.security_scan.config_values import (
    CODE,
    CODE_KEYS,
    OBJECTS,
    TRUE_MEANS_CODE,
    code_message,
    judge,
    record,
)
from model_approval.validators.security_scan.dependency_names import is_environment_file
from model_approval.validators.security_scan.embedded_payloads import find_payloads
from model_approval.validators.security_scan.embedded_secrets import find_secrets
from model_approval.validators.security_scan.mlflow_models import check_mlmodel
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered
from model_approval.validators.security_scan.text_blocks import TextBlock, read_text
from model_approval.validators.security_scan.yaml_leaves import MAX_YAML_CHARS, YamlError, leaves

# A tag can be spelled in full, behind a handle that %TAG declares, or with %-escapes; and what looks like a comment may
# be the end of a quoted text. So every spelling counts wherever it stands: a comment can be reworded.
_TAG = re.compile(
    r"!!?python|tag:yaml\.org,2002:\s*python|^\ufeff?%TAG\b|!<?[\w!:,./-]{0,200}%[0-9a-f]{2}|!!(?:java|ruby|js/function)"
    r"|!ruby/|!!javax?\.",
    re.I | re.M,
)
_KEY = re.compile(
    rf"""(?<![\w/])(?:{"|".join(map(re.escape, sorted(CODE_KEYS)))})(?=['"]?\s*(?::|$))"""
    rf"""|(?<!\w)(?:{"|".join(sorted(TRUE_MEANS_CODE))})(?=['"]?\s*(?::|$))(?!['"]?\s*:\s*(?:false|no|off|null|~)\b)"""
    r"""|"[^"\\\n]*\\[^"\n]*"(?=\s*:)""",
    re.I | re.M,
)
"""Keys by which loaders run code, as in JSON, and quoted keys with escapes, which could spell any of them."""


class YamlScanner:
    """Scans `yaml`: configurations, MLflow's `MLmodel`, and environments."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Search it for what runs or fetches code. Raises Uncovered when it is too long or no YAML."""
        text = read_text(blob, MAX_YAML_CHARS)
        _search_spellings(blob, scan, text)
        whole = TextBlock(text, 1)
        find_secrets(whole, blob, scan)
        find_payloads(whole, blob, scan)
        try:
            _judge_values(blob, scan, text)
        except YamlError as err:
            raise Uncovered(str(err)) from err


def _search_spellings(blob: Blob, scan: FileScan, text: str) -> None:
    for match in _TAG.finditer(text):
        line, message = text.count("\n", 0, match.start()) + 1, "a YAML tag makes a careless loader build objects"
        offset = len(text[: match.start()].encode())
        scan.add(blob, OBJECTS, message, subject=f"{match.group()} line {line}", offset=offset, line=line)
    for match in _KEY.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        offset = len(text[: match.start()].encode())
        scan.add(blob, CODE, code_message(match.group()), subject=match.group().strip(), offset=offset, line=line)


def _judge_values(blob: Blob, scan: FileScan, text: str) -> None:
    values = list(leaves(text))
    for leaf in values:
        for part in CODE_KEYS.intersection(leaf.path[:-1]):
            record(judge((part,), value=True), blob, scan, line=leaf.line)
        if not leaf.is_alias:
            record(judge(leaf.path, leaf.value), blob, scan, line=leaf.line)
        if leaf.path[-1:] == ("chat_template",) and leaf.value:
            from model_approval.validators.security_scan.jinja_templates import check_template

            check_template(blob, scan, leaf.value, where="chat_template")
    if PurePosixPath(blob.name).name.lower() == "mlmodel":
        check_mlmodel(values, blob, scan)
    elif is_environment_file(blob.name):
        # Imported here: it brings readers of versions along, which take their time to start.
        from model_approval.validators.security_scan.dependency_lists import check_dependency_list

        check_dependency_list(text, blob, scan)
