"""What names promise, compared with what the bytes are."""

from __future__ import annotations

from pathlib import PurePosixPath

from model_approval.domain.evidence import Finding, Severity

_PROMISES = {
    ".json": {"json"},
    ".yaml": {"yaml"},
    ".yml": {"yaml"},
    ".md": {"markdown"},
    ".csv": {"csv"},
    ".txt": {"text"},
    ".safetensors": {"safetensors"},
    ".onnx": {"onnx"},
    ".npy": {"npy"},
    ".npz": {"zip"},
    ".gguf": {"gguf"},
    ".tflite": {"tflite"},
    ".h5": {"hdf5"},
    ".png": {"png"},
    ".pdf": {"pdf"},
}
_CAN_RUN = frozenset(
    {"pickle", "torch", "elf", "pe", "macho", "wasm", "script", "python", "template", "html", "notebook"}
)


def check_name(path: str, found: str) -> Finding | None:
    """A finding when a file is not what its suffix says; grave when what it is can run code."""
    suffix = PurePosixPath(path).suffix.lower()
    promised = _PROMISES.get(suffix)
    if promised is None or found in promised or found == "empty":
        return None
    return Finding(
        rule="folder.disguised",
        severity=Severity.HIGH if found in _CAN_RUN else Severity.MEDIUM,
        file=path,
        message=f"the name ends in {suffix}, the content is {found}",
        advice="give the file the name of its format, or save it in the format of its name",
    )
