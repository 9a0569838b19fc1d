"""safetensors: a JSON header that must account for every byte of the file, exactly once."""

from __future__ import annotations

import json
import math

from pydantic import JsonValue, NonNegativeInt

from model_approval.domain.base import Record
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered

_MAX_HEADER_BYTES = 100_000_000
"""The format's own limit."""
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
    "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "I64": 64, "U64": 64, "F64": 64,
}  # fmt: skip


class _Tensor(Record):
    dtype: str
    shape: tuple[NonNegativeInt, ...]
    data_offsets: tuple[NonNegativeInt, NonNegativeInt]


class SafetensorsScanner:
    """Scans `safetensors`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Check that header and bytes fit each other. Raises Uncovered for any byte that no tensor owns."""
        blob.stream.seek(0)
        length = int.from_bytes(blob.stream.read(8), "little")
        if length > min(_MAX_HEADER_BYTES, blob.size_bytes - 8):
            raise Uncovered("the header is longer than the file")
        header = json.loads(blob.stream.read(length), object_pairs_hook=_no_duplicates)
        _check_metadata(header.get("__metadata__"), blob, scan)
        spans = sorted(_span(name, tensor) for name, tensor in header.items() if name != "__metadata__")
        at = 0
        for begin, end, name in spans:
            if begin != at:
                raise Uncovered(f"bytes {at} to {begin} before tensor {name!r} belong to none, or to two")
            at = end
        if 8 + length + at != blob.size_bytes:
            raise Uncovered(f"{blob.size_bytes} bytes where the header accounts for {8 + length + at}")


def _check_metadata(metadata: JsonValue, blob: Blob, scan: FileScan) -> None:
    if isinstance(metadata, dict) and set(metadata) - {"format"}:
        # Imported here: most files say no more than their framework, and what searches texts takes its time to start.
        from model_approval.validators.security_scan.metadata_texts import check_metadata

        check_metadata(metadata, blob, scan)


def _no_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name is in the header twice")
    return fields


def _span(name: str, described: JsonValue) -> tuple[int, int, str]:
    tensor = _Tensor.model_validate(described)
    begin, end = tensor.data_offsets
    bits = _BITS[tensor.dtype] * math.prod(tensor.shape)
    if bits % 8 or end - begin != bits // 8:
        raise ValueError(f"tensor {name!r} does not fit its bytes")
    return begin, end, name
