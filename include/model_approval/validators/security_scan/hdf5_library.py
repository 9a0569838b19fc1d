"""HDF5 of the newer layouts, read by its own library: links, external storage, attributes and arrays of bytes.

Hostile files can crash or confuse this process, which holds nothing and reaches nothing. Its supervisor then starts it
once more without this library, so that the findings about all other files are not lost. Links are looked at and never
followed, and no array is read but short ones of bytes.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field

import h5py
import numpy as np

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.hdf5_classic import (
    ADVICE,
    CONFIG_KEYS,
    KNOWN_FILTERS,
    STORAGE,
    check_bytes,
)
from model_approval.validators.security_scan.keras_config import check_keras_text
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_LINK = Rule("hdf5.external-link", Severity.HIGH, ADVICE)
_VIRTUAL = Rule("hdf5.virtual-dataset", Severity.HIGH, ADVICE)
_MAX_OBJECTS = 200_000
_MAX_ATTRIBUTES = 100_000
_MAX_TEXT_BYTES = 64 * 1024**2
_MAX_SECONDS = 60
"""Of the processor, for one file."""
_MAX_BYTES_ARRAY = 64 * 1024**2
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass
class _Walk:
    blob: Blob
    scan: FileScan
    seen: set[tuple[int, int]] = field(default_factory=set)
    attributes: int = 0


def scan_with_library(blob: Blob, scan: FileScan) -> None:
    """Walk all groups, datasets and attributes. Raises OSError or ValueError for damage, Uncovered for too much."""
    blob.stream.seek(0)
    # The library can be made to spin where no Python runs any more: then the kernel ends this process.
    signal.setitimer(signal.ITIMER_PROF, _MAX_SECONDS)
    try:
        with h5py.File(blob.stream, "r", rdcc_nbytes=1024**2) as file:
            _check_extent(blob, scan, file)
            walk = _Walk(blob, scan)
            for found in _objects(walk, file):
                _check_attributes(walk, found)
                if isinstance(found, h5py.Dataset):
                    _check_dataset(walk, found)
    except RuntimeError as err:  # what h5py makes of an error in the library's depth
        raise Uncovered(f"damaged: {err}") from err
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _check_extent(blob: Blob, scan: FileScan, file: h5py.File) -> None:
    """Bytes after the last that the file's own header accounts for."""
    end = _end_of_file(blob, file.userblock_size)
    if end is not None and end < blob.size_bytes:
        scan.gap(f"{blob.size_bytes - end} bytes follow after the end of the HDF5 content")


def _end_of_file(blob: Blob, base: int) -> int | None:
    """The end of file address of the superblock (HDF5 file format specification, section II.A)."""
    blob.stream.seek(base)
    head = blob.stream.read(64)
    if not head.startswith(_SIGNATURE):
        return None
    version = head[8]
    if version in (0, 1):
        width, at = head[13], 24 + (4 if version == 1 else 0)
    elif version in (2, 3):
        width, at = head[9], 12
    else:
        return None
    address = int.from_bytes(head[at + 2 * width : at + 3 * width], "little")
    return base + address if width <= 8 else None


def _objects(walk: _Walk, file: h5py.File) -> Iterator[h5py.Group | h5py.Dataset]:
    """All groups and datasets that lie in this file, each once."""
    pending: list[tuple[str, h5py.Group | h5py.Dataset]] = [("", file)]
    while pending:
        path, current = pending.pop()
        info = h5py.h5o.get_info(current.id)
        if (info.fileno, info.addr) in walk.seen:
            continue
        walk.seen.add((info.fileno, info.addr))
        if len(walk.seen) > _MAX_OBJECTS:
            raise Uncovered(f"more than {_MAX_OBJECTS} groups and datasets")
        yield current
        if isinstance(current, h5py.Group):
            pending += _children(walk, path, current)


def _children(walk: _Walk, path: str, group: h5py.Group) -> Iterator[tuple[str, h5py.Group | h5py.Dataset]]:
    for name in group:
        link = group.get(name, getlink=True)
        inner = f"{path}/{name}"
        if isinstance(link, h5py.ExternalLink):
            message = f"{inner!r} is read from another file, {link.filename!r}"
            walk.scan.add(walk.blob, _LINK, message, subject=f"{inner} {link.filename}")
        elif isinstance(link, h5py.HardLink):
            child = group[name]
            if isinstance(child, (h5py.Group, h5py.Dataset)):
                yield inner, child


def _check_attributes(walk: _Walk, found: h5py.Group | h5py.Dataset) -> None:
    for name in found.attrs:
        walk.attributes += 1
        if walk.attributes > _MAX_ATTRIBUTES:
            raise Uncovered(f"more than {_MAX_ATTRIBUTES} attributes")
        stored = found.attrs.get_id(name)
        size = stored.dtype.itemsize * math.prod(stored.shape or ())
        if size > _MAX_TEXT_BYTES:
            raise Uncovered(f"the attribute {name!r} has {size} bytes")
        value = found.attrs[name]
        raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else _raw(value)
        if name in CONFIG_KEYS and found.name == "/":
            check_keras_text(walk.blob, walk.scan, raw.decode("utf-8"))
        else:
            check_bytes(walk.blob, walk.scan, f"{found.name}@{name}", raw)


def _raw(value: object) -> bytes:
    """The bytes of a value that could hold a pickle: texts, opaque values and arrays of bytes."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and (value.dtype.kind in "SV" or value.dtype == np.uint8):
        return bytes(value.tobytes())
    return b""


def _check_dataset(walk: _Walk, found: h5py.Dataset) -> None:
    layout = found.id.get_create_plist()
    name = str(found.name)
    if found.external:
        files = ", ".join(str(part[0]) for part in found.external[:5])
        message = f"{name!r} is read from the raw file {files!r}: the loader hands out what is in there"
        walk.scan.add(walk.blob, STORAGE, message, subject=f"{name} {files}")
        return
    if found.is_virtual:
        sources = {str(source.file_name) for source in found.virtual_sources()[:100]} - {"."}
        if sources:
            message = f"{name!r} is put together from other files: {', '.join(sorted(sources)[:5])}"
            walk.scan.add(walk.blob, _VIRTUAL, message, subject=f"{name} {' '.join(sorted(sources)[:5])}")
        return
    foreign = [layout.get_filter(n)[0] for n in range(layout.get_nfilters())]
    if unknown := [number for number in foreign if number not in KNOWN_FILTERS]:
        walk.scan.gap(f"{plain_line(name, limit=100)} is compressed by the unknown filter {unknown[0]}")
        return
    kind = found.dtype
    vlen = h5py.check_vlen_dtype(kind)
    if vlen is not None or (kind.kind in "SV" or (kind.kind == "u" and kind.itemsize == 1)):
        _check_bytes_array(walk, found)


def _check_bytes_array(walk: _Walk, found: h5py.Dataset) -> None:
    """Arrays of bytes: PyTables keeps pickled objects so."""
    if found.nbytes > _MAX_BYTES_ARRAY or found.size is None or found.size * 16 > _MAX_BYTES_ARRAY:
        walk.scan.gap(f"{plain_line(str(found.name), limit=100)}: {found.nbytes} bytes that are no numbers")
        return
    if h5py.check_vlen_dtype(found.dtype) is not None and found.size:
        for number, row in enumerate(found[...].flat):
            check_bytes(walk.blob, walk.scan, f"{found.name}[{number}]", row if isinstance(row, bytes) else _raw(row))
    elif found.size:
        check_bytes(walk.blob, walk.scan, str(found.name), _raw(found[...]))
