"""What the members of torch's zip archives are: tensors, words, TorchScript code, and the pickles that tie them.

Four layouts: `torch.save`, `torch.jit.save` (also for mobile), `torch.export` (`.pt2`) and `torch.package`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from model_approval.domain.formats import detect_format
from model_approval.validators.security_scan.pickles import scan_pickles
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered
from model_approval.validators.security_scan.torchscript import scan_exported_program, scan_torchscript

_RAW = re.compile(r"(?:\.?data|constants|tensors)/\d+|\.data/(?:\d+\.storage|serialization_id|version|python_version)")
_EXPORTED = re.compile(r"data/(?:weights|constants)/(?:\w+_)?\d+")
_WORD = re.compile(
    r"(?:\.data/)?version|byteorder|\.format_version|\.storage_alignment|archive_format|archive_version"
    r"|\.data/extern_modules"
)
_MAX_WORD_BYTES = 4096
_CODE = re.compile(r"code/.+\.py")
_LOADED = frozenset({"pickle", "zip", "torch", "tar", "elf", "pe", "macho"})
"""What torch.export stores as a weight when it is no plain tensor, and what must not pass as one."""
_MAGICS = (b"\x93NUMPY", b"PK\x03\x04", b"\x7fELF", b"\x89HDF", b"7z\xbc\xaf")
"""No tensor begins like this by chance, so another reader is meant; two bytes of a pickle's header may be chance."""
_OWN_CLASSES = "__torch__"


@dataclass
class TorchLayout:
    """The layout of one archive; without a root it is no torch archive and nothing in it is taken for tensors."""

    root: str | None = None
    is_export: bool = False
    parsed_code: bool = False
    """Whether it holds TorchScript and all of it could be read."""
    failed_code: bool = False

    @classmethod
    def of(cls, names: Iterable[str]) -> TorchLayout:
        """Recognise the layout by the names of all members."""
        exported: str | None = None
        for name in names:
            root, _, rest = name.partition("/")
            if rest in ("data.pkl", "constants.pkl"):
                return cls(f"{root}/")
            if rest == "archive_format" or (rest.startswith("models/") and rest.endswith(".json")):
                exported = f"{root}/"
            elif name == "serialized_exported_program.json":  # before torch 2.8 there was no folder around it
                exported = ""
        return cls(exported, is_export=exported is not None)

    def is_raw(self, name: str, head: bytes) -> bool:
        """Whether torch copies this member into a tensor or reads it as a word: never unpickled, whatever it is."""
        inside = self._inside(name)
        if inside is None:
            return False
        if self.is_export and _EXPORTED.fullmatch(inside):
            return detect_format("", head) not in _LOADED
        if head.startswith(_MAGICS):
            return False
        is_word = bool(_WORD.fullmatch(inside)) and len(head) <= _MAX_WORD_BYTES
        return is_word or bool(_RAW.fullmatch(inside))

    def comes_first(self, name: str) -> bool:
        """Code comes before the pickles that name its classes."""
        return self._is_code(name)

    def _is_code(self, name: str) -> bool:
        inside = self._inside(name)
        return inside is not None and bool(_CODE.fullmatch(inside))

    def _scan_code(self, blob: Blob, scan: FileScan) -> None:
        try:
            scan_torchscript(blob, scan)
            self.parsed_code = True
        except Uncovered:
            self.failed_code = True
            raise

    def scan_content(self, blob: Blob, scan: FileScan, name: str) -> None:
        """Hold TorchScript, which torch's own interpreter runs, to its operators; the rest goes by its own format."""
        if self._is_code(name):
            self._scan_code(blob, scan)
        elif self._inside(name) is not None and detect_format("", blob.head()) == "pickle":
            # Classes of `__torch__` are looked up in the archive's own code and nowhere else.
            own = (_OWN_CLASSES,) if self.parsed_code and not self.failed_code else ()
            scan_pickles(blob, scan, own_modules=own)
        else:
            scan.scan(blob)
            if self.is_export and name.endswith(".json"):
                scan_exported_program(blob, scan)

    def _inside(self, name: str) -> str | None:
        return name[len(self.root) :] if self.root is not None and name.startswith(self.root) else None
