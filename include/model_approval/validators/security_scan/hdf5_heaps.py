"""HDF5's global heaps, checked before its library reads them: a false size in one keeps the library busy for good.

Layout: HDF5 file format specification, section III.E. A collection is a header of 16 bytes and objects of 16 bytes and
their data, padded to 8; object 0 is the free rest.
"""

from __future__ import annotations

from collections.abc import Iterator

from model_approval.validators.security_scan.scan import Blob

_SIGNATURE = b"GCOL\x01\0\0\0"
_BLOCK_BYTES = 4 * 1024**2
_HEADER_BYTES = 16
_MAX_COLLECTION_BYTES = 1024**3


def check_heaps(blob: Blob) -> None:
    """Walk all collections. Raises ValueError when an object does not fit its collection."""
    for at in _collections(blob):
        size = _number(blob, at + 8, 8)
        if not _HEADER_BYTES <= size <= min(_MAX_COLLECTION_BYTES, blob.size_bytes - at):
            raise ValueError(f"the global heap at byte {at} has the size {size}")
        _check_objects(blob, at + _HEADER_BYTES, at + size)


def _check_objects(blob: Blob, at: int, end: int) -> None:
    while at + _HEADER_BYTES <= end:
        index, size = _number(blob, at, 2), _number(blob, at + 8, 8)
        if index == 0:  # the free rest, whose size counts its own header
            if size < _HEADER_BYTES or at + size > end:
                raise ValueError(f"the free part of a global heap at byte {at} has the size {size}")
            at += size
        else:
            at += _HEADER_BYTES + -(-size // 8) * 8
            if at > end:
                raise ValueError(f"an object of {size} bytes does not fit its global heap")


def _collections(blob: Blob) -> Iterator[int]:
    """Where the signature stands, at multiples of 8 as the library writes it, and elsewhere too."""
    blob.stream.seek(0)
    start, tail = 0, b""
    found: list[int] = []
    while block := blob.stream.read(_BLOCK_BYTES):
        data = tail + block
        at = data.find(_SIGNATURE)
        while at >= 0:
            found.append(start - len(tail) + at)
            at = data.find(_SIGNATURE, at + 1)
        start += len(block)
        tail = data[-len(_SIGNATURE) + 1 :]
    yield from found


def _number(blob: Blob, at: int, width: int) -> int:
    blob.stream.seek(at)
    return int.from_bytes(blob.stream.read(width), "little")
