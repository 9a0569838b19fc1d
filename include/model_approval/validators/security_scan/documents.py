"""PDF papers beside a model card: actions, scripts and attachments are findings, also inside of compressed objects."""

from __future__ import annotations

import bisect
import itertools
import re
import zlib
from collections.abc import Iterator

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.bounds import at_most
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.trailing import scan_trailing

_ACTIVE = Rule("document.active", Severity.MEDIUM, "print the document to a plain PDF, or leave it out")
_MAX_BYTES = 256 * 1024**2
_MAX_OBJECTS_BYTES = 16 * 1024**2
_ACTION = re.compile(rb"/(JavaScript|JS|Launch|EmbeddedFiles?|RichMedia|SubmitForm|ImportData|GoToR|GoToE|XFA)\b")
_ESCAPED = re.compile(rb"#([0-9A-Fa-f]{2})")
_OBJECTS = re.compile(rb"/ObjStm\b[^>]{0,400}>>\s*stream\r?\n")
_STREAM_END = re.compile(rb"endstream\b")
_MAX_OBJECT_STREAMS = 20_000
_END = re.compile(rb"%%EOF[ \t\r\n]*")


class PdfScanner:
    """Scans `pdf`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Search it for what a reader would run. Raises Uncovered when it is too large, encrypted or has no end."""
        if blob.size_bytes > _MAX_BYTES:
            raise Uncovered(f"a PDF of more than {_MAX_BYTES} bytes")
        blob.stream.seek(0)
        data = blob.stream.read()
        seen: set[bytes] = set()
        for part in itertools.chain((data,), _object_streams(data, scan)):
            for match in _ACTION.finditer(_ESCAPED.sub(_unescape, part)):
                if match[1] not in seen:
                    seen.add(match[1])
                    name = match[1].decode()
                    message = f"the document has {name}: a reader may run or fetch something when it is opened"
                    scan.add(blob, _ACTIVE, message, subject=name)
        if re.search(rb"/Encrypt\b", data):
            raise Uncovered("an encrypted PDF")
        ends = list(_END.finditer(data))
        if not ends:
            raise Uncovered("the PDF breaks off")
        scan_trailing(blob, scan, ends[-1].end(), "document")


def _unescape(match: re.Match[bytes]) -> bytes:
    return bytes.fromhex(match[1].decode())


def _object_streams(data: bytes, scan: FileScan) -> Iterator[bytes]:
    """The objects that newer PDFs pack; what cannot be unpacked has no objects a reader could use."""
    ends = [match.start() for match in _STREAM_END.finditer(data)]
    for match in at_most(_OBJECTS.finditer(data), "packed objects", _MAX_OBJECT_STREAMS):
        at = bisect.bisect_left(ends, match.end())
        if at == len(ends):
            return
        try:
            part = zlib.decompressobj().decompress(memoryview(data)[match.end() : ends[at]], _MAX_OBJECTS_BYTES)
        except zlib.error:
            continue
        scan.budget.spend_bytes(len(part), file_bytes=scan.size_bytes)
        yield part
