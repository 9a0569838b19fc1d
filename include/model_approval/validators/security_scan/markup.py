"""XML: networks and statistical models are written in it. Read as text; nothing resolves what it refers to."""

from __future__ import annotations

import re

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.embedded_payloads import find_payloads
from model_approval.validators.security_scan.embedded_secrets import find_secrets
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule
from model_approval.validators.security_scan.text_blocks import text_blocks

_ENTITY = Rule("xml.entity", Severity.HIGH, "write the file without a document type")
_OBJECTS = Rule("xml.objects", Severity.CRITICAL, "remove it; a model is data")
_SCRIPT = Rule("xml.script", Severity.HIGH, "remove it; a model is data")
_SOUGHT = (
    (_ENTITY, re.compile(r"<!ENTITY\s[^>]{0,300}"), "the file declares entities, which make readers fetch or unfold"),
    (_ENTITY, re.compile(r"<!DOCTYPE\s+\S{1,100}\s+SYSTEM\s[^>]{0,200}"), "readers fetch its document type"),
    (_ENTITY, re.compile(r"<xi:include\b[^>]{0,200}"), "readers include other files"),
    (
        _OBJECTS,
        re.compile(r"java\.beans\.XMLDecoder|<(?:dynamic-proxy|sorted-set)>|java\.lang\.(?:ProcessBuilder|Runtime)"),
        "readers of Java objects run what it names",
    ),
    (_SCRIPT, re.compile(r"<(?:\w+:)?script\b[^>]{0,100}", re.IGNORECASE), "it holds a script"),
)


class XmlScanner:
    """Scans `xml`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Search it to its end. Raises Uncovered when it is no text."""
        seen: set[str] = set()
        for block in text_blocks(blob):
            find_secrets(block, blob, scan)
            find_payloads(block, blob, scan)
            for rule, sought, message in _SOUGHT:
                match = sought.search(block.text)
                if match and message not in seen:
                    seen.add(message)
                    shown = plain_line(match[0], limit=100)
                    scan.add(blob, rule, message, subject=shown, line=block.line_of(match.start()))
