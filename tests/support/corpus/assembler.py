"""Pickles by hand: any import and any call in any protocol, without importing or calling anything.

>>> assemble(Call("os", "system", "true"), protocol=0)
b'cos\nsystem\n(Vtrue\ntR.'
"""

from __future__ import annotations

import pickle
import struct
from dataclasses import dataclass
from typing import Literal

HIGHEST_TEXT = 3
"""The last protocol whose imports are lines of text."""


@dataclass(frozen=True)
class Name:
    """An import that is not called."""

    module: str
    name: str


@dataclass(frozen=True, init=False)
class Call:
    """A call of an import, or of another call's result."""

    function: Name | Call
    arguments: tuple[object, ...]
    way: Literal["reduce", "inst", "obj", "newobj", "newobj_ex"]

    def __init__(
        self,
        module: str | Call,
        name: str = "",
        *arguments: object,
        way: Literal["reduce", "inst", "obj", "newobj", "newobj_ex"] = "reduce",
    ) -> None:
        object.__setattr__(self, "function", module if isinstance(module, Call) else Name(module, name))
        object.__setattr__(self, "arguments", arguments)
        object.__setattr__(self, "way", way)


def assemble(value: object, protocol: int = 4, *, header: bool = True, frame: bool = False) -> bytes:
    """A whole pickle of a value."""
    body = push(value, protocol) + pickle.STOP
    if frame and protocol > HIGHEST_TEXT:
        body = pickle.FRAME + struct.pack("<Q", len(body)) + body
    return (pickle.PROTO + bytes([protocol]) if header and protocol >= 2 else b"") + body


def push(value: object, protocol: int = 4) -> bytes:
    """The operations that leave a value on the stack."""
    if isinstance(value, Call):
        return _call(value, protocol)
    if isinstance(value, Name):
        return _name(value, protocol)
    if isinstance(value, (list, tuple, dict)):
        return _container(value, protocol)
    return _scalar(value, protocol)


def text(value: str, protocol: int = 4) -> bytes:
    """The operation that pushes a text."""
    data = value.encode("utf-8")
    if protocol == 0:
        return pickle.UNICODE + _escaped(value) + b"\n"
    if protocol <= HIGHEST_TEXT or len(data) > 255:
        return pickle.BINUNICODE + struct.pack("<I", len(data)) + data
    return pickle.SHORT_BINUNICODE + bytes([len(data)]) + data


def _escaped(value: str) -> bytes:
    """As the unpickler wants a line: what would end it, or begin an escape, is written as an escape."""
    for char in "\\\0\n\r\x1a":
        value = value.replace(char, f"\\u{ord(char):04x}")
    return value.encode("raw_unicode_escape")


def _scalar(value: object, protocol: int) -> bytes:
    if value is None:
        return pickle.NONE
    if isinstance(value, bool):
        return (b"I01\n" if value else b"I00\n") if protocol < 2 else pickle.NEWTRUE if value else pickle.NEWFALSE
    if isinstance(value, int):
        return pickle.INT + str(value).encode() + b"\n" if protocol == 0 else pickle.BININT + struct.pack("<i", value)
    if isinstance(value, str):
        return text(value, protocol)
    if isinstance(value, bytes) and protocol > 2:
        return pickle.BINBYTES + struct.pack("<I", len(value)) + value
    if isinstance(value, bytes):  # how Python 3 writes bytes in the protocols of Python 2
        return _call(Call("_codecs", "encode", value.decode("latin-1"), "latin1"), protocol)
    raise TypeError(f"the assembler knows no {type(value).__name__}")


def _container(value: list[object] | tuple[object, ...] | dict[object, object], protocol: int) -> bytes:
    if isinstance(value, dict):
        pairs = b"".join(push(key, protocol) + push(item, protocol) for key, item in value.items())
        return pickle.MARK + pairs + pickle.DICT
    items = b"".join(push(item, protocol) for item in value)
    return pickle.MARK + items + (pickle.TUPLE if isinstance(value, tuple) else pickle.LIST)


def _name(value: Name, protocol: int) -> bytes:
    if protocol <= HIGHEST_TEXT:
        return pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode()
    return text(value.module, protocol) + text(value.name, protocol) + pickle.STACK_GLOBAL


def _call(call: Call, protocol: int) -> bytes:
    function, arguments = push(call.function, protocol), b"".join(push(item, protocol) for item in call.arguments)
    if call.way == "inst":
        assert isinstance(call.function, Name)
        return pickle.MARK + arguments + pickle.INST + f"{call.function.module}\n{call.function.name}\n".encode()
    if call.way == "obj":
        return pickle.MARK + function + arguments + pickle.OBJ
    packed = pickle.MARK + arguments + pickle.TUPLE
    if call.way == "newobj":
        return function + packed + pickle.NEWOBJ
    if call.way == "newobj_ex":
        return function + packed + pickle.EMPTY_DICT + pickle.NEWOBJ_EX
    return function + packed + pickle.REDUCE
