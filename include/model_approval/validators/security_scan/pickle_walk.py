"""Runs a pickle's stack machine without its data: which names are imported, and what is done with them.

Values are whole numbers. Text and bytes are the offset where they stand in the file, everything else of interest (an
imported name, an array's type) has a number below `OPAQUE`, all the rest is `OPAQUE`. So the walk knows exactly which
two texts an import joins, and what is called, while it holds eight bytes for each memoised value and none of the data.
It streams: a window of the file at a time, long arguments are passed over.

Where unpicklers disagree with each other (operations across the border of a frame) it says so instead of guessing:
whoever wrote the pickle chose the odd way.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Final

from model_approval.validators.security_scan import pickle_opcodes as op
from model_approval.validators.security_scan.pickle_reader import PickleReader
from model_approval.validators.security_scan.pickle_values import (
    ARRAY_WRAPPERS,
    CALLS_ITS_FIRST,
    LOADS_BYTES,
    NAMED_CALLS,
    PLAIN_BASES,
    BadPickle,
    Import,
    Oddity,
    Pair,
    Source,
    Thing,
    Walk,
    decimal,
    decoded,
    simple_array_type,
)
from model_approval.validators.security_scan.scan import Uncovered

OPAQUE: Final = -1
_TUPLE_OF: Final = -(1 << 50)
"""A tuple whose first item is the text or bytes at an offset is this number minus the offset."""
_SETSTATE: Final = b"__setstate__"
_NEVER_KEPT: Final = -(1 << 62)
"""In the memo, where a number was left out."""
_WINDOW_BYTES: Final = 512 * 1024
_FIRST_WINDOW_BYTES: Final = 16 * 1024
_SHORT_BYTES: Final = 260
"""The longest operation of the fast loop: two bytes and a short text."""
_MAX_NAMED: Final = 50
_MAX_STACK: Final = 3_000_000
_MAX_IMPORTS: Final = 20_000
_MAX_THINGS: Final = 500_000
_MAX_MEMO: Final = 12_000_000
"""Each takes eight bytes; a pickle of fifty megabytes made of nothing but short texts has seven million."""


OnArray = Callable[["Machine", int], int]
"""Called when an array that stands in the stream is announced; gets the offset, returns the one behind the array."""


class Machine(PickleReader):
    """One walk over one pickle."""

    def __init__(
        self, source: Source, walk: Walk, spend: Callable[[int], None], on_array: OnArray | None = None
    ) -> None:
        """Prepare a walk.

        Args:
            source: The bytes.
            walk: Filled while walking, so that a pickle that breaks off still shows what it would have run before.
            spend: Called with the number of bytes of each window; may raise to stop.
            on_array: Follows joblib's arrays; without it their announcement is an ordinary object.
        """
        super().__init__(source)
        self.walk = walk
        self.stack: list[int] = []
        self.memo = array("q")
        self._marks: list[int] = []
        self._things: list[Thing] = []
        self._codes: dict[tuple[str, str], int] = {}
        self._pairs: dict[tuple[int, int], int] = {}
        self._types: dict[str | None, int] = {}
        self._spend, self._on_array = spend, on_array
        self._frame_end = 0
        self._numbered_with_gaps = False
        self._kept = 0
        self._changed: dict[int, int] | None = None
        """In a walk aside: what the memo held before it was changed."""
        self._restart = False
        """The fast loop must read its settings again."""

    def run_aside(self, walk: Walk, start: int) -> None:
        """Walk from the state that this walk is in, as a reader does that goes on elsewhere; leaves this one as it was.

        Calls of what was imported before are noted on the same imports. Raises as `run`.
        """
        other = Machine(self.source, walk, self._spend)
        other.stack, other._marks, other._things = [*self.stack, OPAQUE], self._marks[:], self._things[:]
        other._codes, other._pairs = dict(self._codes), dict(self._pairs)
        other._numbered_with_gaps, other._kept = self._numbered_with_gaps, self._kept
        # The memo is not copied, since it can be large and there can be many arrays: what is changed is put back.
        other.memo, other._changed, length = self.memo, {}, len(self.memo)
        try:
            other.run(start)
        finally:
            for index, value in other._changed.items():
                self.memo[index] = value
            del self.memo[length:]

    def run(self, start: int) -> int:
        """Walk from an offset to behind STOP; returns that offset.

        Raises:
            BadPickle: It breaks off.
            Uncovered: It is larger than the walk may be.
        """
        at, wanted = start, _FIRST_WINDOW_BYTES
        while True:
            window = self.source.read_at(at, wanted)
            if not window:
                raise BadPickle(f"it ends without STOP at byte {at}")
            self._check_size()
            begin = at
            try:
                at, stopped = self._run_window(window, at)
                self._spend(max(1, min(at - begin, len(window))))
                wanted = min(_WINDOW_BYTES, 2 * wanted) if at - begin > wanted // 2 else wanted
            except IndexError as err:
                raise BadPickle(f"an operation near byte {at} lacks its operands or its argument") from err
            if at > self.source.size_bytes:
                raise BadPickle("its last argument is longer than the file")
            if stopped:
                return at

    def _check_size(self) -> None:
        if len(self.stack) > _MAX_STACK or len(self._marks) > _MAX_STACK or len(self.memo) > _MAX_MEMO:
            raise Uncovered("a pickle that keeps more values at a time than the scan follows")

    def _run_window(self, window: bytes, base: int) -> tuple[int, bool]:  # noqa: C901  # one loop, for speed
        """The fast loop: the operations that make up the bulk of any pickle. The rest goes to `_rare`."""
        stack, memo, marks, fixed = self.stack, self.memo, self._marks, op.FIXED
        push = stack.append
        memoize, keep = (self._memoize, self._keep) if self._numbered_with_gaps else (memo.append, memo.append)
        at_end = base + len(window) >= self.source.size_bytes
        limit = len(window) if at_end else max(1, len(window) - _SHORT_BYTES)
        frame_end = self._frame_end - base
        if 0 < frame_end < limit:
            limit = frame_end
        at = 0
        while at < limit:
            code = window[at]
            if length := fixed[code]:
                push(OPAQUE)
                at += length
            elif code == op.MEMOIZE:
                memoize(stack[-1])
                at += 1
            elif code == op.SHORT_BINUNICODE:
                push(base + at)
                if window[at + 1] == 12 and window[at + 2 : at + 14] == _SETSTATE:
                    self._odd(Oddity.CALL_BY_STATE, base + at)
                at += 2 + window[at + 1]
            elif code == op.BINGET:
                self._get(window[at + 1], base + at)
                at += 2
            elif code == op.BINPUT and window[at + 1] == len(memo):
                keep(stack[-1])
                at += 2
            elif code == op.MARK:
                marks.append(len(stack))
                at += 1
            elif code == op.SETITEMS or code == op.APPENDS or code == op.ADDITEMS:
                del stack[marks.pop() :]
                if stack[-1] < OPAQUE:
                    self._note_change(base + at)
                at += 1
            elif code == op.STOP:
                stack.pop()
                self._check_frame(base + at + 1)
                return base + at + 1, True
            else:
                at = self._rare(code, base + at) - base
                if self._restart or at >= limit:
                    self._restart = False
                    break
        self._check_frame(base + at)
        return base + at, False

    def _check_frame(self, at: int) -> None:
        """Frames end where an operation ends. Called where the fast loop stops, which it does at a frame's end."""
        if self._frame_end and at >= self._frame_end:
            if at > self._frame_end:
                self._odd(Oddity.FRAME, self._frame_end)
            self._frame_end = 0

    # ------------------------------------------------------------------------------------------------ rare operations

    def _rare(self, code: int, at: int) -> int:
        """Carry out an operation; returns the offset behind it."""
        behind = self._values(code, at)
        if behind is None:
            behind = self._calls(code, at)
        if behind is None:
            behind = self._lines(code, at)
        if behind is None:
            raise BadPickle(f"byte {at} holds {bytes([code])!r}, which is no operation")
        if behind > self.source.size_bytes:
            raise BadPickle(f"the argument of the operation at byte {at} is longer than the file")
        if self._frame_end and behind > self._frame_end and code != op.FRAME:
            self._odd(Oddity.FRAME, at)
            self._frame_end = 0
        return behind

    def _values(self, code: int, at: int) -> int | None:  # noqa: C901  # a table of operations, each one line
        stack = self.stack
        if width := op.LONG_ARGUMENT.get(code):
            length = self.number_at(at + 1, width)
            stack.append(at if code in op.TEXTS or code in op.BYTES else OPAQUE)
            self._note_long(code, at, length)
            return at + 1 + width + length
        if code in (op.TUPLE1, op.TUPLE2, op.TUPLE3):
            count = code - op.TUPLE1 + 1
            first, second = stack[-count], stack[1 - count] if count > 1 else OPAQUE
            del stack[-count:]
            stack.append(self._tuple_of(first, second))
        elif code == op.TUPLE:
            mark = self._marks.pop()
            first, second = (*stack[mark : mark + 2], OPAQUE, OPAQUE)[:2]
            del stack[mark:]
            stack.append(self._tuple_of(first, second))
        elif code in (op.LIST, op.DICT, op.FROZENSET):
            del stack[self._marks.pop() :]
            stack.append(OPAQUE)
        elif code in (op.APPEND, op.SETITEM):
            del stack[-1 if code == op.APPEND else -2 :]
            self._note_change(at)
        elif code == op.POP:
            # As the unpickler does: with nothing above the mark, the mark itself goes.
            if self._marks and self._marks[-1] == len(stack):
                self._marks.pop()
            else:
                stack.pop()
        elif code == op.POP_MARK:
            del stack[self._marks.pop() :]
        elif code == op.DUP:
            stack.append(stack[-1])
        elif code == op.BINPERSID:
            stack[-1] = OPAQUE
        elif code != op.READONLY_BUFFER:
            return self._memo(code, at)
        return at + 1

    def _memo(self, code: int, at: int) -> int | None:
        if code == op.BINPUT:
            self._put(self.number_at(at + 1, 1))
            return at + 2
        if code == op.LONG_BINPUT:
            self._put(self.number_at(at + 1, 4))
            return at + 5
        if code == op.LONG_BINGET:
            self._get(self.number_at(at + 1, 4), at)
            return at + 5
        if code == op.PROTO:
            return at + 2
        if code == op.FRAME:
            self.enter_frame(at)
            return at + 9
        return None

    def enter_frame(self, at: int) -> None:
        """Begin the frame that the operation at an offset announces."""
        if self._frame_end and self._frame_end != at:
            self._odd(Oddity.FRAME, at)
        self._restart = True
        self._frame_end = at + 9 + self.number_at(at + 1, 8)
        if self._frame_end > self.source.size_bytes:
            self._odd(Oddity.FRAME, at)

    def leave_frame(self, at: int) -> None:
        """What follows from an offset on stands in no frame: raw bytes that joblib writes between two."""
        if self._frame_end and self._frame_end != at:
            self._odd(Oddity.FRAME, at)
        self._frame_end = 0

    def _calls(self, code: int, at: int) -> int | None:
        stack = self.stack
        if code == op.STACK_GLOBAL:
            name, module = stack.pop(), stack.pop()
            self._import_from_stack(module, name, at)
        elif code == op.REDUCE:
            arguments, function = stack.pop(), stack.pop()
            stack.append(self._call(function, arguments, at))
        elif code in (op.NEWOBJ, op.NEWOBJ_EX):
            del stack[-1 if code == op.NEWOBJ else -2 :]
            return self._make(stack.pop(), at)
        elif code == op.OBJ:
            mark = self._marks.pop()
            function = stack[mark]
            del stack[mark:]
            stack.append(self._call(function, OPAQUE, at))
        elif code == op.BUILD:
            stack.pop()
            self._note_change(at)
        elif code in (op.EXT1, op.EXT2, op.EXT4):
            self._odd(Oddity.EXTENSION, at)
            stack.append(OPAQUE)
            return at + 1 + {op.EXT1: 1, op.EXT2: 2, op.EXT4: 4}[code]
        else:
            return None
        return at + 1

    def _lines(self, code: int, at: int) -> int | None:
        if code not in op.LINES:
            return None
        lines, behind = self.lines_at(at + 1, op.LINES[code])
        if code in (op.GLOBAL, op.INST):
            if code == op.INST:
                del self.stack[self._marks.pop() :]
            self._push_import(decoded(lines[0]), decoded(lines[1]), at)
            if code == op.INST:
                self.stack.append(self._call(self.stack.pop(), OPAQUE, at))
        elif code == op.GET:
            self._get(decimal(lines[0], at), at)
        elif code == op.PUT:
            self._put(decimal(lines[0], at))
        else:
            self.stack.append(at if code in op.TEXTS else OPAQUE)
            if code in op.TEXTS and self.text_at(at) == _SETSTATE.decode():
                self._odd(Oddity.CALL_BY_STATE, at)
        return behind

    # -------------------------------------------------------------------------------------------------------- helpers

    def _get(self, index: int, at: int) -> None:
        value = self.memo[index] if index < len(self.memo) else _NEVER_KEPT
        if value == _NEVER_KEPT:
            raise BadPickle(f"byte {at} asks for a value that was never kept")
        self.stack.append(value)

    def _put(self, index: int) -> None:
        memo, value = self.memo, self.stack[-1]
        if index > _MAX_MEMO:
            raise Uncovered("a pickle that numbers its values beyond what the scan follows")
        if index > len(memo) and not self._numbered_with_gaps:
            self._numbered_with_gaps = self._restart = True
            self._kept = len(memo)
        if self._changed is not None and index < len(memo):
            self._changed.setdefault(index, memo[index])
        memo.extend([_NEVER_KEPT] * (index + 1 - len(memo)))
        self._kept += memo[index] == _NEVER_KEPT
        memo[index] = value

    def _keep(self, value: int) -> None:
        self._kept += 1
        self.memo.append(value)

    def _memoize(self, value: int) -> None:
        # Unpicklers take the count of kept values for the number; without gaps that is the length.
        self._put(self._kept)

    def _note_change(self, at: int) -> None:
        """Something is set on the value on top."""
        if isinstance(self.thing(self.stack[-1]), Import):
            self._odd(Oddity.CHANGED_IMPORT, at)

    def _note_long(self, code: int, at: int, length: int) -> None:
        if code in op.TEXTS:
            if length == len(_SETSTATE) and self.text_at(at) == _SETSTATE.decode():
                self._odd(Oddity.CALL_BY_STATE, at)
        elif code in op.BYTES or code == op.code_of("BYTEARRAY8"):
            self.walk.byte_strings += 1

    def _import_from_stack(self, module: int, name: int, at: int) -> None:
        texts = self.text_at(module), self.text_at(name)
        if texts[0] is None or texts[1] is None:
            self._odd(Oddity.UNTOLD_IMPORT, at)
            self.stack.append(OPAQUE)
        else:
            self._push_import(texts[0], texts[1], at)

    def _push_import(self, module: str, name: str, at: int) -> None:
        self.stack.append(self.import_of(module, name, at))

    def import_of(self, module: str, name: str, at: int) -> int:
        """Note an import; returns its number."""
        code = self._codes.get((module, name))
        if code is None:
            if len(self._codes) >= _MAX_IMPORTS:
                raise Uncovered(f"a pickle that imports more than {_MAX_IMPORTS} names")
            found = self.walk.imports.setdefault((module, name), Import(module, name, at))
            code = self._codes[module, name] = self.code_of(found)
        return code

    def _call(self, function: int, arguments: int, at: int) -> int:
        """Note a call; returns the number of its result."""
        called = self.thing(function)
        if not isinstance(called, Import):
            self._odd(Oddity.COMPUTED_CALL, at)
            return OPAQUE
        called.called = True
        first = _TUPLE_OF - arguments if arguments <= _TUPLE_OF else None
        if (called.module, called.name) in NAMED_CALLS:
            return self._call_by_name(called, first, at)
        if (called.module, called.name) in CALLS_ITS_FIRST:
            self._call_argument(called, arguments, at)
        if (called.module, called.name) == ("numpy", "dtype") and first is not None:
            return self._array_type(self.text_at(first))
        if (called.module, called.name) == LOADS_BYTES:
            self._load_nested(first)
        return OPAQUE

    def _array_type(self, described: str | None) -> int:
        code = self._types.get(described)
        if code is None:
            code = self._types[described] = self.code_of(simple_array_type(described))
        return code

    def _call_by_name(self, called: Import, first: int | None, at: int) -> int:
        """A function that looks a type up by its name: what it gives back is as good as an import of it."""
        name = (self.text_at(first) if first is not None else None) or ""
        if len(called.named) < _MAX_NAMED:
            called.named.add(name)
        return self.import_of("builtins", name, at) if name.isidentifier() else OPAQUE

    def _tuple_of(self, first: int, second: int) -> int:
        if first >= 0:
            return _TUPLE_OF - first
        if not isinstance(self.thing(first), Import):
            return OPAQUE
        code = self._pairs.get((first, second))
        if code is None:
            code = self._pairs[first, second] = self.code_of(Pair(first, second))
        return code

    def _call_argument(self, called: Import, arguments: int, at: int) -> None:
        """Follow a function that itself calls the class or function that it is given."""
        pair = self.thing(arguments)
        first = self.thing(pair.first) if isinstance(pair, Pair) else None
        base = self.thing(pair.second) if isinstance(pair, Pair) else None
        if not isinstance(first, Import) or (first.module, first.name) in (*CALLS_ITS_FIRST, LOADS_BYTES):
            self._odd(Oddity.COMPUTED_CALL, at)
        elif called.name.startswith(("__newobj", "_new_")):
            first.made = True
        elif called.name != "_reconstructor":
            first.called = True
        elif isinstance(base, Import) and (base.module, base.name) in PLAIN_BASES:
            first.made = True
        else:
            # With any other base its constructor is called, as if the pickle had done so.
            first.called = True
            if isinstance(base, Import):
                base.called = True

    def _load_nested(self, at: int | None) -> None:
        width = op.BYTES.get(self.source.read_at(at, 1)[0]) if at is not None else None
        if at is None or width is None:
            self.walk.gaps.append("a torch file inside of the pickle, which the scan does not find")
        else:
            self.walk.nested.append((at + 1 + width, self.number_at(at + 1, width)))

    def _make(self, kind: int, at: int) -> int:
        made = self.thing(kind)
        if not isinstance(made, Import):
            self._odd(Oddity.COMPUTED_CALL, at)
        else:
            made.made = True
            if self._on_array and (made.module, made.name) in ARRAY_WRAPPERS:
                behind = self._on_array(self, at + 1)
                self.stack.append(OPAQUE)
                return behind
        self.stack.append(OPAQUE)
        return at + 1

    def thing(self, code: int) -> Thing | None:
        """What a number stands for, when it is an import or an array type."""
        return self._things[-2 - code] if _TUPLE_OF < code < OPAQUE else None

    def code_of(self, thing: Thing) -> int:
        """A number for something of interest."""
        if len(self._things) >= _MAX_THINGS:
            raise Uncovered("a pickle that names more things than the scan follows")
        self._things.append(thing)
        return -1 - len(self._things)

    def _odd(self, oddity: Oddity, at: int) -> None:
        self.walk.oddities.setdefault(oddity, at)
