"""Zip archives that lie: written by hand, member by member, so that each part can be made to disagree with another."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


@dataclass(frozen=True)
class Part:
    """One member as it is written.

    Attributes:
        central: Fields of its directory entry that differ from its own header: `name`, `method`, `flags`, `crc`,
            `packed`, `size`, `at`.
        before: Bytes between the member before it and its header.
    """

    name: bytes
    data: bytes = b""
    method: int = 0
    flags: int = 0
    packed: bytes | None = None
    crc: int | None = None
    mode: int = 0
    extra: bytes = b""
    before: bytes = b""
    central: dict[str, int | bytes] = field(default_factory=dict)


def a_zip_of(parts: Sequence[Part], *, prefix: bytes = b"", after: bytes = b"", comment: bytes = b"") -> bytes:
    """A zip archive with exactly these members; offsets count from the file's beginning."""
    body, directory = prefix, b""
    for part in parts:
        packed = part.data if part.packed is None else part.packed
        crc = zlib.crc32(part.data) if part.crc is None else part.crc
        body += part.before
        at = len(body)
        sizes = struct.pack("<3L", crc, len(packed), len(part.data))
        body += _LOCAL + struct.pack("<5H", 20, part.flags, part.method, 0, 33) + sizes
        body += struct.pack("<2H", len(part.name), len(part.extra)) + part.name + part.extra + packed
        directory += _entry(part, crc, len(packed), at)
    end = struct.pack("<4H2LH", 0, 0, len(parts), len(parts), len(directory), len(body + after), len(comment))
    return body + after + directory + _END + end + comment


def _entry(part: Part, crc: int, packed: int, at: int) -> bytes:
    told: dict[str, int | bytes] = {
        "name": part.name, "method": part.method, "flags": part.flags, "crc": crc, "packed": packed,
        "size": len(part.data), "at": at,
    }  # fmt: skip
    told |= part.central
    name = told["name"]
    assert isinstance(name, bytes)
    return (
        _CENTRAL
        + struct.pack("<6H", 3 << 8 | 20, 20, told["flags"], told["method"], 0, 33)
        + struct.pack("<3L", told["crc"], told["packed"], told["size"])
        + struct.pack("<5H2L", len(name), 0, 0, 0, 0, part.mode << 16, told["at"])
        + name
    )
