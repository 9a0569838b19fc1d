"""What is looked for in HDF5 files of the classic layout, which `hdf5_layout` reads."""

from __future__ import annotations

import io

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import detect_format
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.flatbuffer import FlatReader
from model_approval.validators.security_scan.hdf5_layout import (
    ATTRIBUTE,
    DATASPACE,
    DATATYPE,
    EXTERNAL_FILES,
    FILTERS,
    LAYOUT,
    BeyondClassic,
    ClassicFile,
    Item,
    elements,
    filters,
    kind_of,
)
from model_approval.validators.security_scan.keras_config import check_keras_text
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

ADVICE = "save the model anew into one file"
STORAGE = Rule("hdf5.external-storage", Severity.CRITICAL, ADVICE)
CONFIG_KEYS = frozenset({"model_config", "training_config", "layer_config"})
KNOWN_FILTERS = frozenset({0, 1, 2, 3, 4, 5, 6, 32000})
"""HDF5's own compression filters, and lzf, which h5py brings; others are native libraries loaded by number."""
_COMPACT, _CONTIGUOUS, _CHUNKED = 0, 1, 2


def scan_classic(blob: Blob, scan: FileScan, base: int) -> None:
    """Look into a file of the classic layout.

    Raises:
        BeyondClassic: It is of a newer layout, which somebody else must read; nothing was recorded yet that the other
            would not record as well.
        ValueError: It is damaged.
    """
    file = ClassicFile(FlatReader(blob.stream, blob.size_bytes), base)
    items = list(file.items())  # all of it, before anything is recorded
    for item in items:
        _require_classic(item)
    for item in items:
        for message in item.messages.get(ATTRIBUTE, []):
            name, values = file.attribute(message)
            if name in CONFIG_KEYS and item.path == "/":
                check_keras_text(blob, scan, b"".join(values).rstrip(b"\0").decode("utf-8"))
            else:
                for value in values:
                    check_bytes(blob, scan, f"{item.path}@{name}", value)
        if LAYOUT in item.messages:
            _check_dataset(blob, scan, file, item)
    if file.end < blob.size_bytes:
        scan.gap(f"{blob.size_bytes - file.end} bytes follow after the end of the HDF5 content")
    elif file.end > blob.size_bytes:
        scan.gap(f"the file breaks off: {file.end - blob.size_bytes} bytes are missing")


def check_bytes(blob: Blob, scan: FileScan, name: str, raw: bytes) -> None:
    """Look into bytes that are of a known kind, as pickles are that PyTables keeps."""
    if len(raw) > 1 and detect_format("", raw) not in ("unknown", "empty"):
        scan.unpack(blob, plain_line(name, limit=200), io.BytesIO(raw))


def _require_classic(item: Item) -> None:
    """Leave to the library what is not in one piece and could hold more than numbers."""
    for layout in item.messages.get(LAYOUT, []):
        if layout[0] > 3:
            raise BeyondClassic("layout")
        kinds = [kind_of(message) for message in item.messages.get(DATATYPE, [])]
        if _class_of(layout) == _CHUNKED and any(kind.holds_bytes for kind in kinds):
            raise BeyondClassic("chunks of bytes")


def _class_of(layout: bytes) -> int:
    return layout[1] if layout[0] == 3 else layout[2]


def _check_dataset(blob: Blob, scan: FileScan, file: ClassicFile, item: Item) -> None:
    if external := item.messages.get(EXTERNAL_FILES):
        files = ", ".join(name for message in external for name in file.external_files(message)[:5])
        message = f"{item.path!r} is read from the raw file {files!r}: the loader hands out what is in there"
        scan.add(blob, STORAGE, message, subject=f"{item.path} {files}")
        return
    unknown = [number for message in item.messages.get(FILTERS, []) for number in filters(message)]
    unknown = [number for number in unknown if number not in KNOWN_FILTERS]
    if unknown:
        scan.gap(f"{plain_line(item.path, limit=100)} is compressed by the unknown filter {unknown[0]}")
        return
    (layout,), (space,), (datatype,) = (item.messages.get(number, []) for number in (LAYOUT, DATASPACE, DATATYPE))
    kind, count = kind_of(datatype), elements(space)
    if not kind.holds_bytes or not count:
        return
    if _class_of(layout) == _COMPACT and layout[0] == 3:
        data = layout[4:]
    elif _class_of(layout) == _CONTIGUOUS:
        at = 2 if layout[0] == 3 else 8
        data = file.contiguous(int.from_bytes(layout[at : at + 8], "little"), kind.size * count)
    else:
        raise ValueError(f"{item.path!r} has a layout that is not known")
    for value in file.values(kind, data, count) if data else []:
        check_bytes(blob, scan, item.path, value)
