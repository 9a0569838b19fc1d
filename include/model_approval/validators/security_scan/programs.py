"""Code beside the weights: nothing that is served needs it, and loaders run it gladly."""

from __future__ import annotations

import re

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import detect_format
from model_approval.validators.security_scan.embedded_payloads import find_payloads
from model_approval.validators.security_scan.embedded_secrets import find_secrets
from model_approval.validators.security_scan.notebooks import check_notebook
from model_approval.validators.security_scan.python_code import MAX_SOURCE_CHARS, dangerous_mentions
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.text_blocks import TextBlock, read_text

_ADVICE = "remove it from the artifact; code is deployed and reviewed as code"
_WHAT = {
    "elf": (Severity.CRITICAL, "a native program or library"),
    "pe": (Severity.CRITICAL, "a native program or library"),
    "macho": (Severity.CRITICAL, "a native program or library"),
    "bytecode": (Severity.CRITICAL, "compiled code, which shows nobody what it does,"),
    "installer": (Severity.CRITICAL, "an installer or a package of programs"),
    "shortcut": (Severity.CRITICAL, "a shortcut that starts a program"),
    "wasm": (Severity.HIGH, "a WebAssembly program"),
    "script": (Severity.HIGH, "a script or source code"),
    "python": (Severity.HIGH, "Python code"),
    "notebook": (Severity.MEDIUM, "a notebook with code"),
    "html": (Severity.MEDIUM, "markup that a browser may run"),
    "ole": (Severity.HIGH, "an office document or installer, which may hold macros,"),
}
_DANGEROUS = Rule("code.dangerous", Severity.CRITICAL, _ADVICE)
_SHELL = re.compile(
    r"(?:curl|wget|Invoke-WebRequest|iwr)\b[^\n]{0,200}\|\s*(?:ba|z|da)?sh\b|\bnc\s+-\w*e\b|/dev/tcp/|\brm\s+-rf?\s+[/~$]"
    r"|\bbase64\s+(?:-d|--decode)\b|\bpowershell\b[^\n]{0,80}-e(?:nc|ncodedcommand)?\b|\bchild_process\b|\bcrontab\b"
    r"|\bIEX\b|DownloadString|WScript\.Shell|\beval\s*\(\s*atob",
    re.IGNORECASE,
)
_MAX_MENTIONS = 20


class ProgramScanner:
    """Scans every format that is code. That it is there is the finding; texts are read to say what they do."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Record that it is there, and what it names."""
        kind = detect_format(blob.name, blob.head())
        severity, what = _WHAT[kind]
        scan.add(blob, Rule("folder.code", severity, _ADVICE), f"{what} lies among the model's files", subject=kind)
        if kind in ("script", "python", "notebook", "html"):
            _describe(kind, blob, scan)


def _describe(kind: str, blob: Blob, scan: FileScan) -> None:
    try:
        text = read_text(blob, MAX_SOURCE_CHARS).removeprefix("\ufeff")
    except Uncovered as why:
        scan.gap(f"code that was not read: {why}")
        return
    whole = TextBlock(text, 1)
    find_secrets(whole, blob, scan)
    find_payloads(whole, blob, scan)
    if kind == "notebook":
        check_notebook(text, blob, scan)
    elif kind == "python" or (kind == "script" and "python" in text.partition("\n")[0]):
        _describe_python(text, blob, scan)
    for match in list(_SHELL.finditer(text))[:_MAX_MENTIONS] if kind != "python" else []:
        line = whole.line_of(match.start())
        scan.add(blob, _DANGEROUS, f"it holds {match[0][:100]!r}", subject=match[0][:100], line=line)


def _describe_python(text: str, blob: Blob, scan: FileScan) -> None:
    try:
        mentions = dangerous_mentions(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        scan.gap(f"Python code that cannot be parsed: {type(err).__name__}")
        return
    for mention in mentions[:_MAX_MENTIONS]:
        scan.add(blob, _DANGEROUS, f"the code uses {mention.name}", subject=mention.name, line=mention.line)
