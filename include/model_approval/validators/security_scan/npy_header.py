"""The header of a `.npy` file, read without numpy, to tell arrays of plain numbers from all others."""

from __future__ import annotations

import ast
import math
import re

_MAGIC = b"\x93NUMPY"
_MAX_HEADER_BYTES = 10_000
_NUMBER = re.compile(r"[<>|=](?:([biufc])([0-9]{1,3})|([SVU])([0-9]{1,9})|([mM])8(?:\[[0-9A-Za-z/]{1,20}\])?)")


def numeric_file_bytes(head: bytes) -> int | None:
    """How long a `.npy` file with this beginning must be, when its array holds plain numbers or fixed text.

    Args:
        head: The first bytes of the file, `HEAD_BYTES` or more.

    Returns:
        Header and array together, in bytes; None for object arrays, records, damaged or unusual headers, which numpy's
        own reader then has to judge.
    """
    if not head.startswith(_MAGIC) or len(head) < 12:
        return None
    version = head[6:8]
    if version not in (b"\x01\0", b"\x02\0", b"\x03\0"):
        return None
    width = 2 if version == b"\x01\0" else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    text = head[8 + width : 8 + width + length]
    if length > _MAX_HEADER_BYTES or len(text) < length:
        return None
    try:
        fields = ast.literal_eval(text.decode("utf-8" if version == b"\x03\0" else "latin-1").strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        return None
    shape, size = fields["shape"], _item_bytes(fields["descr"])
    if size is None or not isinstance(shape, tuple) or not all(type(side) is int and side >= 0 for side in shape):
        return None
    return 8 + width + length + size * math.prod(shape)


def _item_bytes(descr: object) -> int | None:
    match = _NUMBER.fullmatch(descr) if isinstance(descr, str) else None
    if match is None:
        return None
    if match[1]:
        return int(match[2]) if int(match[2]) in (1, 2, 4, 8, 16, 32) else None
    if match[3]:
        return int(match[4]) * (4 if match[3] == "U" else 1)
    return 8
