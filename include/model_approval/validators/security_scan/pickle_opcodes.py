"""The pickle machine's operations as numbers and tables, for a walk that spends a tenth of a microsecond on each.

Source: the standard library's `pickletools.opcodes`, from which the tables are made; the names are its names.
"""

from __future__ import annotations

import pickletools
from typing import Final

_BY_NAME: Final = {opcode.name: opcode for opcode in pickletools.opcodes}


def code_of(name: str) -> int:
    """The byte of an operation."""
    return ord(_BY_NAME[name].code)


KNOWN: Final = frozenset(code_of(name) for name in _BY_NAME)

_PUSHES_ONE_VALUE = {
    "NONE": 0, "NEWTRUE": 0, "NEWFALSE": 0, "EMPTY_LIST": 0, "EMPTY_DICT": 0, "EMPTY_SET": 0, "EMPTY_TUPLE": 0,
    "BININT1": 1, "BININT2": 2, "BININT": 4, "BINFLOAT": 8, "NEXT_BUFFER": 0,
}  # fmt: skip

FIXED: Final = bytes(
    1 + _PUSHES_ONE_VALUE[name] if (name := next((n for n in _BY_NAME if code_of(n) == code), "")) in _PUSHES_ONE_VALUE
    else 0
    for code in range(256)
)  # fmt: skip
"""Bytes of operations that push one value and have an argument of fixed length, itself included; else 0."""

LONG_ARGUMENT: Final = {
    code_of(name): width
    for name, width in {
        "SHORT_BINUNICODE": 1, "BINUNICODE": 4, "BINUNICODE8": 8, "SHORT_BINBYTES": 1, "BINBYTES": 4, "BINBYTES8": 8,
        "SHORT_BINSTRING": 1, "BINSTRING": 4, "BYTEARRAY8": 8, "LONG1": 1, "LONG4": 4,
    }.items()
}  # fmt: skip
"""Operations that push one value, with a length of that many bytes (little-endian) before its bytes."""

LINES: Final = {code_of(name): count for name, count in (
    ("INT", 1), ("LONG", 1), ("FLOAT", 1), ("STRING", 1), ("UNICODE", 1), ("PERSID", 1), ("GET", 1), ("PUT", 1),
    ("GLOBAL", 2), ("INST", 2),
)}  # fmt: skip
"""Operations whose arguments are lines of text."""

TEXTS: Final = {
    code_of("SHORT_BINUNICODE"): 1, code_of("BINUNICODE"): 4, code_of("BINUNICODE8"): 8,
    code_of("SHORT_BINSTRING"): 1, code_of("BINSTRING"): 4, code_of("UNICODE"): 0, code_of("STRING"): 0,
}  # fmt: skip
"""Operations that push text, with the width of their length; 0: a line."""

BYTES: Final = {code_of("SHORT_BINBYTES"): 1, code_of("BINBYTES"): 4, code_of("BINBYTES8"): 8}

MARK, STOP, POP, POP_MARK, DUP = (code_of(name) for name in ("MARK", "STOP", "POP", "POP_MARK", "DUP"))
MEMOIZE, PUT, BINPUT, LONG_BINPUT = (code_of(name) for name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"))
GET, BINGET, LONG_BINGET = (code_of(name) for name in ("GET", "BINGET", "LONG_BINGET"))
GLOBAL, STACK_GLOBAL, INST, OBJ = (code_of(name) for name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ"))
REDUCE, BUILD, NEWOBJ, NEWOBJ_EX = (code_of(name) for name in ("REDUCE", "BUILD", "NEWOBJ", "NEWOBJ_EX"))
TUPLE, TUPLE1, TUPLE2, TUPLE3 = (code_of(name) for name in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"))
LIST, DICT, FROZENSET = (code_of(name) for name in ("LIST", "DICT", "FROZENSET"))
APPEND, APPENDS, SETITEM, SETITEMS, ADDITEMS = (
    code_of(name) for name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS")
)
PROTO, FRAME, BINPERSID, PERSID, READONLY_BUFFER = (
    code_of(name) for name in ("PROTO", "FRAME", "BINPERSID", "PERSID", "READONLY_BUFFER")
)
EXT1, EXT2, EXT4 = (code_of(name) for name in ("EXT1", "EXT2", "EXT4"))
SHORT_BINUNICODE = code_of("SHORT_BINUNICODE")
