"""Files that are a template as a whole, as chat templates beside a tokenizer are."""

from __future__ import annotations

from model_approval.validators.security_scan.embedded_secrets import find_secrets
from model_approval.validators.security_scan.jinja_templates import MAX_TEMPLATE_CHARS, check_template
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.text_blocks import TextBlock, read_text


class TemplateScanner:
    """Scans `template`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Parse it and judge what it reaches. Raises Uncovered when it is too long or no text."""
        text = read_text(blob, 4 * MAX_TEMPLATE_CHARS)
        check_template(blob, scan, text)
        find_secrets(TextBlock(text, 1), blob, scan)
