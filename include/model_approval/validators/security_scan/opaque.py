"""Formats that are recognised and deliberately not read: what they may hold is said, and the file stays uncovered."""

from __future__ import annotations

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import detect_format
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_CODE = Rule("format.holds-code", Severity.MEDIUM, "register the model in a format without code, such as ONNX")
_HOLDS_CODE = {
    "tensorrt": "a TensorRT engine is GPU code, and may name plug-in libraries to load",
    "torch7": "Lua Torch's files may hold Lua bytecode, which loading brings into the process",
}
_WHY = {
    "rar": "a RAR archive, whose compression is not free: pack the files as zip or tar",
    "sqlite": "an SQLite database: its tables are not looked into",
    "executorch": "an ExecuTorch program: its delegates' parts are compiled for devices",
    "ort": "an ONNX Runtime model in its own format: register the ONNX file",
    "tiff": "a TIFF picture: use PNG",
    "ogg": "an Ogg sound: use WAV",
    "flac": "a FLAC sound: use WAV",
}


class OpaqueScanner:
    """Scans what we have no reader for."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Raises Uncovered, always, with the reason."""
        kind = detect_format(blob.name, blob.head())
        if kind in _HOLDS_CODE:
            scan.add(blob, _CODE, _HOLDS_CODE[kind], subject=kind)
            raise Uncovered(f"{kind} files are not read")
        raise Uncovered(f"not read: {_WHY[kind]}")
