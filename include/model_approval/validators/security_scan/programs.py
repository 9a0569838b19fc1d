"""Code beside the weights: nothing that is served needs it, and loaders run it gladly."""

from __future__ import annotations

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import detect_format
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

_ADVICE = "remove it from the artifact; code is deployed and reviewed as code"
_WHAT = {
    "elf": (Severity.CRITICAL, "a native program or library"),
    "pe": (Severity.CRITICAL, "a native program or library"),
    "macho": (Severity.CRITICAL, "a native program or library"),
    "wasm": (Severity.HIGH, "a WebAssembly program"),
    "script": (Severity.HIGH, "a script"),
    "python": (Severity.HIGH, "Python code"),
    "notebook": (Severity.MEDIUM, "a notebook with code"),
    "template": (Severity.MEDIUM, "a template, which the serving process would run"),
    "html": (Severity.MEDIUM, "markup that a browser may run"),
}


class ProgramScanner:
    """Scans every format that is code. The finding says all there is to say: the file is not read further."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Record that it is there."""
        severity, what = _WHAT[detect_format(blob.name, blob.head())]
        scan.add(blob, Rule("folder.code", severity, _ADVICE), f"{what} lies among the model's files")
