"""OpenVINO graphs: XML that names operations and where their numbers lie in the `.bin` file beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from xml.parsers import expat

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.windows import BLOCK_BYTES

_ENTITY = Rule("xml.entity", Severity.HIGH, "write the file without a document type")
_EXTENSION = Rule("openvino.extension", Severity.MEDIUM, "export the model with OpenVINO's own operations")
_OPSET = re.compile(r"(?:opset|experimental)\d{0,3}")
_MAX_DEPTH = 1000
_CUSTOM = frozenset({"CustomLayer", "Extension", "PythonOp", "Custom"})


class OpenvinoScanner:
    """Scans `openvino`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read every tag; entities are refused before they are expanded. Raises Uncovered when it is damaged."""
        document = _Document(blob, scan)
        blob.stream.seek(0)
        try:
            while block := blob.stream.read(BLOCK_BYTES):
                document.parser.Parse(block, False)
            document.parser.Parse(b"", True)
        except expat.ExpatError as err:
            raise Uncovered(f"damaged: {err}") from err
        if document.root != "net":
            raise Uncovered(f"no OpenVINO graph but a document of kind {document.root[:60]!r}")
        weights = str(PurePosixPath(blob.path).with_suffix(".bin"))
        if not blob.inner and weights in scan.paths:
            scan.references.add(weights)


class _Document:
    def __init__(self, blob: Blob, scan: FileScan) -> None:
        self._blob, self._scan = blob, scan
        self._depth = 0
        self._seen: set[str] = set()
        self.root = ""
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.EntityDeclHandler = self._entity

    def _entity(self, name: str, *_: object) -> None:
        message = f"the file declares the entity {name!r}, which makes readers fetch or unfold"
        self._scan.add(self._blob, _ENTITY, message, subject=name, line=self.parser.CurrentLineNumber)
        raise Uncovered("a document with entities is not expanded")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Uncovered(f"nested deeper than {_MAX_DEPTH} tags")
        self.root = self.root or tag
        if tag == "layer":
            self._layer(attributes.get("version", "opset"), attributes.get("type", ""))

    def _layer(self, version: str, kind: str) -> None:
        subject = f"{version}:{kind}"
        if (_OPSET.fullmatch(version) and kind not in _CUSTOM) or subject in self._seen:
            return
        self._seen.add(subject)
        message = f"operation {kind} of {version!r} runs in a library of its own"
        self._scan.add(self._blob, _EXTENSION, message, subject=subject, line=self.parser.CurrentLineNumber)
        self._scan.gap(f"what operation {subject} does")

    def _end(self, tag: str) -> None:
        self._depth -= 1
