"""Formats that are one protocol buffer, which has no magic bytes: told by their first fields."""

from __future__ import annotations

import re
from collections.abc import Callable

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_CUT_BYTES = 8192
"""A head of this length is cut somewhere; a shorter one is the whole file."""
_ONNX_FIELDS = {1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES}
_ONNX_FIELDS |= {14: _BYTES, 20: _BYTES, 25: _BYTES, 26: _BYTES}
_ONNX_GRAPH = 7
_OPERATOR = re.compile(rb"[A-Za-z_>.][A-Za-z0-9_>.\\/-]{0,200}")
_FINGERPRINT_FIELDS = {1: _VARINT, 2: _VARINT, 3: _VARINT, 4: _VARINT, 5: _VARINT, 6: _BYTES, 7: _BYTES}


def _fields(head: bytes, begin: int = 0, end: int | None = None) -> list[tuple[int, int, int, int]]:
    """Number, wire type, begin and end of each field up to the end, or to the first oddity, which ends with -1."""
    found: list[tuple[int, int, int, int]] = []
    at, stop = begin, len(head) if end is None else end
    while at < min(stop, len(head)) and len(found) < 64:
        key, start = _varint(head, at)
        number, wire = key >> 3, key & 7
        value, at = _varint(head, start) if wire in (_VARINT, _BYTES) else (0, start)
        if key < 0 or value < 0 or number == 0 or wire not in (_VARINT, _FIXED64, _BYTES, _FIXED32):
            return [*found, (-1, -1, at, at)]
        start = at if wire == _BYTES else start
        at += {_BYTES: value, _FIXED64: 8, _FIXED32: 4}.get(wire, 0)
        found.append((number, wire, start, at))
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            return -1, at
        byte = data[at]
        value, at = value | (byte & 0x7F) << shift, at + 1
        if byte < 0x80:
            return value, at
    return -1, at


def _onnx(head: bytes) -> str | None:
    """A ModelProto, by its fields: `ir_version` first, then known fields of the right wire type up to the graph."""
    at, first = 0, True
    while at < len(head):
        key, at = _varint(head, at)
        field, wire = key >> 3, key & 7
        if key < 0 or _ONNX_FIELDS.get(field) != wire or (first and field != 1):
            return None
        if field == _ONNX_GRAPH:
            return "onnx"
        value, at = _varint(head, at)
        if value < 0 or (first and not 1 <= value <= 127):
            return None
        first = False
        at += value if wire == _BYTES else 0
    return "onnx" if at >= _CUT_BYTES else None  # a file that ends before its graph is none


def _saved_model(head: bytes) -> str | None:
    """`saved_model_schema_version: 1`, then a MetaGraphDef, which begins with a message of its own."""
    if not head.startswith(b"\x08\x01\x12"):
        return None
    _, at = _varint(head, 3)
    inner = _fields(head, at)[:1]
    return "saved_model" if inner and 1 <= inner[0][0] <= 7 and inner[0][1] == _BYTES and head[at] < 0x20 else None


def _graph(head: bytes) -> str | None:
    """A GraphDef (a list of nodes: name, operator), alone or in a MetaGraphDef behind its information."""
    if head[:1] not in (b"\x0a", b"\x12"):
        return None
    first = _fields(head)[:1]
    if not first or first[0][1] != _BYTES:
        return None
    _, _, begin, end = first[0]
    if head[:1] == b"\x12":
        return "tf_metagraph" if _is_node(head, begin, end, nested=True) else None
    if _is_node(head, begin, end, nested=False):
        return "tf_graph"
    inner = _fields(head, begin, end)[:2]
    if [field[:2] for field in inner[:1]] == [(2, _BYTES)] and _is_operator_list(head, *inner[0][2:]):
        return "tf_metagraph"
    return None


def _is_node(head: bytes, begin: int, end: int, *, nested: bool) -> bool:
    if nested:
        outer = _fields(head, begin, end)[:1]
        return bool(outer) and outer[0][:2] == (1, _BYTES) and _is_node(head, *outer[0][2:], nested=False)
    fields = _fields(head, begin, end)[:2]
    if [field[:2] for field in fields] != [(1, _BYTES), (2, _BYTES)]:
        return False
    (_, _, name, name_end), (_, _, operator, operator_end) = fields
    return bool(_OPERATOR.fullmatch(head[operator:operator_end])) and b"\0" not in head[name:name_end]


def _is_operator_list(head: bytes, begin: int, end: int) -> bool:
    outer = _fields(head, begin, end)[:1]
    if not outer or outer[0][:2] != (1, _BYTES):
        return False
    inner = _fields(head, *outer[0][2:])[:1]
    return bool(inner) and inner[0][:2] == (1, _BYTES) and bool(_OPERATOR.fullmatch(head[inner[0][2] : inner[0][3]]))


def _keras_metadata(head: bytes) -> str | None:
    """SavedMetadata: objects with a path and an identifier, the first of them the root."""
    if not head.startswith(b"\x0a"):
        return None
    _, at = _varint(head, 1)
    fields = [field for field in _fields(head, at)[:3] if field[0] in (3, 4)]
    return "keras_metadata" if len(fields) > 1 and head[fields[0][2] : fields[0][3]].startswith(b"root") else None


def _fingerprint(head: bytes) -> str | None:
    """FingerprintDef of a SavedModel: hashes, a version and an identifier, all in some dozens of bytes."""
    if len(head) > 512 or head[:1] not in (b"\x08", b"\x09"):
        return None
    fields = _fields(head)
    numbers = {number for number, _, _, _ in fields}
    known = all(_FINGERPRINT_FIELDS.get(number) == wire for number, wire, _, _ in fields)
    return "tf_fingerprint" if known and {1, 2, 3, 4} <= numbers and fields[-1][3] == len(head) else None


def _checkpoint_index(head: bytes) -> str | None:
    """A sorted table whose first key is empty and whose first value is a BundleHeaderProto: `num_shards` first."""
    if head[:2] != b"\0\0" or head[3:4] != b"\x08":
        return None
    return "tf_checkpoint" if 2 <= head[2] <= 32 and b"\x1a\x02\x08" in head[3 : 3 + head[2]] else None


RECOGNISERS: tuple[Callable[[bytes], str | None], ...] = (
    _saved_model,
    _keras_metadata,
    _graph,
    _fingerprint,
    _checkpoint_index,
    _onnx,
)
"""Each names the format of a file by its first bytes, or None."""
