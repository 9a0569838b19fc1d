"""Arrays that joblib writes into the stream of a pickle, right behind the operation that announces them.

A `NumpyArrayWrapper` is built with shape and type; then follow a byte that counts padding, the padding, and the raw
numbers, or, for an array of Python objects, another pickle. This module reads that announcement with a stack machine of
its own, which knows the values it needs and refuses every operation that joblib does not write there.

Source: joblib 1.5, `numpy_pickle.NumpyArrayWrapper.read_array`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

from model_approval.validators.security_scan import pickle_opcodes as op
from model_approval.validators.security_scan.pickle_values import ArrayType, BadPickle, Import, simple_array_type
from model_approval.validators.security_scan.pickle_walk import OPAQUE, Machine
from model_approval.validators.security_scan.scan import Uncovered

_PADDING = b"\xff"
_MARK = object()
_WRAPPER = object()
_MAX_OPERATIONS = 100_000
_HAS_OBJECTS = 0x01
"""`NPY_ITEM_HASOBJECT` of numpy's `ndarraytypes.h`, which `dtype.hasobject` reads."""
_ODD = "an array of joblib's that is not announced the way joblib does"


@dataclass(frozen=True, slots=True)
class _Pushed:
    """A value with the number that the machine knows it by."""

    value: object
    code: int = OPAQUE


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where an array's bytes stand."""

    behind: int
    """Offset behind the announcement: where a reader that knows nothing of joblib goes on."""
    begin: int
    """Offset behind padding; of the nested pickle when it holds objects."""
    byte_count: int
    holds_objects: bool


def read_announcement(machine: Machine, at: int) -> Announcement:
    """Read from behind NEWOBJ to behind the wrapper's BUILD.

    Raises:
        Uncovered: It is not what joblib writes, so the bytes that follow cannot be told.
        BadPickle: It breaks off.
    """
    reader = _Reader(machine, at)
    for _ in range(_MAX_OPERATIONS):
        if reader.step():
            return _announced(machine, reader)
    raise Uncovered(_ODD)


def _announced(machine: Machine, reader: _Reader) -> Announcement:
    state, at = reader.state, reader.at
    machine.leave_frame(at)
    shape, kind = state.get("shape"), state.get("dtype")
    if not isinstance(shape, tuple) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise Uncovered(_ODD)
    if not isinstance(kind, ArrayType):
        raise Uncovered(f"{_ODD}: its type is not known")
    if kind.holds_objects:
        return Announcement(reader.at, at, 0, True)
    if state.get("numpy_array_alignment_bytes") is not None:
        padding = machine.source.read_at(at, 1)
        if not padding:
            raise BadPickle(f"it breaks off at byte {at}")
        if machine.source.read_at(at + 1, padding[0]).strip(_PADDING):
            raise Uncovered(f"{_ODD}: its padding holds other bytes than joblib's")
        at += 1 + padding[0]
    return Announcement(reader.at, at, math.prod(cast("tuple[int, ...]", shape)) * kind.item_bytes, False)


class _Reader:
    """The small stack machine."""

    def __init__(self, machine: Machine, at: int) -> None:
        self.at = at
        self.state: dict[str, object] = {}
        self._machine, self._source = machine, machine.source
        self._stack: list[_Pushed] = [_Pushed(_WRAPPER)]

    def step(self) -> bool:
        """Carry out one operation; whether the wrapper is built."""
        code = self._bytes(1)[0]
        self.at += 1
        try:
            if code == op.BUILD:
                return self._build()
            if not (self._push_value(code) or self._group(code) or self._remember(code)):
                raise Uncovered(_ODD)
        except IndexError as err:
            raise Uncovered(_ODD) from err
        return False

    def _build(self) -> bool:
        state, target = self._stack.pop().value, self._stack[-1]
        if target.value is _WRAPPER:
            if not isinstance(state, dict) or len(self._stack) != 1:
                raise Uncovered(_ODD)
            self.state = state
            return True
        if isinstance(target.value, ArrayType):
            kind = _with_state(target.value, state)
            self._stack[-1] = _Pushed(kind, self._machine.code_of(kind))
            self._rename(target.code, self._stack[-1].code)
        return False

    def _rename(self, old: int, new: int) -> None:
        """A type is kept before it is told its state: what was kept under the old number is the new one."""
        memo = self._machine.memo
        for index in range(len(memo) - 1, max(-1, len(memo) - 1000), -1):
            if memo[index] == old:
                memo[index] = new

    def _push_value(self, code: int) -> bool:
        begin = self.at - 1
        if op.TEXTS.get(code):
            self.at += op.TEXTS[code] + int.from_bytes(self._bytes(op.TEXTS[code]), "little")
            self._stack.append(_Pushed(self._machine.text_at(begin), begin))
        elif code in op.BYTES:
            self.at += op.BYTES[code] + int.from_bytes(self._bytes(op.BYTES[code]), "little")
            self._stack.append(_Pushed(None, begin))
        elif code in _INTEGERS:
            width, signed = _INTEGERS[code]
            value = int.from_bytes(self._take(width), "little", signed=signed)
            self._stack.append(_Pushed(value))
        elif code == op.code_of("LONG1"):
            self._stack.append(_Pushed(int.from_bytes(self._take(self._take(1)[0]), "little", signed=True)))
        elif code in _CONSTANTS:
            self._stack.append(_Pushed({} if code == _EMPTY_DICT else _CONSTANTS[code]))
        elif code in (op.BINGET, op.LONG_BINGET):
            self._get(int.from_bytes(self._take(1 if code == op.BINGET else 4), "little"))
        else:
            return False
        return True

    def _group(self, code: int) -> bool:
        stack = self._stack
        if code == op.MARK:
            stack.append(_Pushed(_MARK))
        elif code in (op.TUPLE1, op.TUPLE2, op.TUPLE3):
            count = code - op.TUPLE1 + 1
            items = tuple(item.value for item in stack[-count:])
            del stack[-count:]
            stack.append(_Pushed(items))
        elif code == op.TUPLE:
            stack.append(_Pushed(tuple(self._above_mark())))
        elif code in (op.SETITEMS, op.SETITEM):
            pairs = self._above_mark() if code == op.SETITEMS else [item.value for item in stack[-2:]]
            if code == op.SETITEM:
                del stack[-2:]
            target = stack[-1].value
            if not isinstance(target, dict):
                raise Uncovered(_ODD)
            target.update(zip(pairs[::2], pairs[1::2], strict=True))
        elif code in (op.STACK_GLOBAL, op.GLOBAL):
            self._import(code)
        elif code == op.REDUCE:
            self._call()
        else:
            return False
        return True

    def _remember(self, code: int) -> bool:
        memo = self._machine.memo
        if code == op.MEMOIZE:
            memo.append(self._stack[-1].code)
        elif code in (op.BINPUT, op.LONG_BINPUT):
            index = int.from_bytes(self._take(1 if code == op.BINPUT else 4), "little")
            if index != len(memo):
                raise Uncovered(_ODD)
            memo.append(self._stack[-1].code)
        elif code == op.FRAME:
            self._machine.enter_frame(self.at - 1)
            self._take(8)
        else:
            return False
        return True

    def _above_mark(self) -> list[object]:
        items: list[object] = []
        while (item := self._stack.pop()).value is not _MARK:
            items.append(item.value)
        return items[::-1]

    def _get(self, index: int) -> None:
        if index >= len(self._machine.memo):
            raise BadPickle(f"byte {self.at} asks for a value that was never kept")
        code = self._machine.memo[index]
        thing = self._machine.thing(code)
        self._stack.append(_Pushed(self._machine.text_at(code) if thing is None else thing, code))

    def _import(self, code: int) -> None:
        at = self.at - 1
        if code == op.STACK_GLOBAL:
            name, module = self._stack.pop().value, self._stack.pop().value
        else:
            module, name = (part.decode("utf-8", "backslashreplace") for part in self._lines())
        if not isinstance(module, str) or not isinstance(name, str):
            raise Uncovered(_ODD)
        imported = self._machine.import_of(module, name, at)
        self._stack.append(_Pushed(self._machine.thing(imported), imported))

    def _lines(self) -> list[bytes]:
        data = self._source.read_at(self.at, 1024).split(b"\n", 2)
        if len(data) != 3:
            raise Uncovered(_ODD)
        self.at += len(data[0]) + len(data[1]) + 2
        return data[:2]

    def _call(self) -> None:
        arguments, function = self._stack.pop().value, self._stack.pop().value
        if not isinstance(function, Import) or not isinstance(arguments, tuple) or not arguments:
            raise Uncovered(_ODD)
        function.called = True
        called = (function.module, function.name)
        if called == ("_codecs", "encode"):  # the bytes in a type's state, as protocol 2 writes them
            self._stack.append(_Pushed(None))
            return
        if called != ("numpy", "dtype") or not isinstance(arguments[0], str):
            raise Uncovered(_ODD)
        kind = simple_array_type(arguments[0])
        self._stack.append(_Pushed(kind, self._machine.code_of(kind)))

    def _take(self, count: int) -> bytes:
        data = self._bytes(count)
        self.at += count
        return data

    def _bytes(self, count: int) -> bytes:
        data = self._source.read_at(self.at, count)
        if len(data) < count:
            raise BadPickle(f"it breaks off at byte {self.at}")
        return data


def _with_state(kind: ArrayType, state: object) -> ArrayType:
    """The type once `__setstate__` told it the rest: for records size and whether a field holds objects.

    Source: numpy `arraydescr_setstate`: (version, byte order, subarray, names, fields, item size, alignment, flags).
    """
    if not isinstance(state, tuple) or len(state) < 8:
        return kind
    size, flags = state[5], state[7]
    if not isinstance(size, int) or not isinstance(flags, int) or size < 0:
        return kind
    return ArrayType(size, bool(flags & _HAS_OBJECTS))


_EMPTY_DICT = op.code_of("EMPTY_DICT")
_CONSTANTS: dict[int, object] = {
    op.code_of("NONE"): None, op.code_of("NEWTRUE"): True, op.code_of("NEWFALSE"): False,
    op.code_of("EMPTY_TUPLE"): (), _EMPTY_DICT: None,
}  # fmt: skip
_INTEGERS = {
    op.code_of("BININT1"): (1, False), op.code_of("BININT2"): (2, False), op.code_of("BININT"): (4, True),
}  # fmt: skip
