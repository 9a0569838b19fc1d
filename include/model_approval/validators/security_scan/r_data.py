"""R's serialized objects (`.rds`, `.RData`), in its binary form: walked, and searched for code.

R keeps functions, calls and promises in the same stream as numbers. A promise is evaluated when somebody looks at the
object that holds it (CVE-2024-27322), so a file with one runs what its sender wrote. Format: "R Internals", 1.8.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import IO

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.bounds import MAX_ITEMS
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_ADVICE = "save the numbers in a format without code, for example as CSV, Parquet or the booster's own format"
_PROMISE = Rule("r.promise", Severity.CRITICAL, _ADVICE)
_CODE = Rule("r.code", Severity.HIGH, _ADVICE)
_CALLS = Rule("r.formula", Severity.MEDIUM, _ADVICE)
_WINDOW_BYTES = 256 * 1024
# Type codes of objects, and of what stands for one (R's own serialize.c names them so).
_WITHOUT_CONTENT = frozenset({0, 241, 242, 250, 251, 252, 253, 254})
"""NULL, the empty and base environments, the base namespace, missing and unbound values, the global environment."""
_NAMED_ENVIRONMENTS = frozenset({247, 248, 249})
_REFERENCE, _DOTS = 255, 17
_SYMBOL, _PAIRS, _CLOSURE, _ENVIRONMENT, _PROMISE_TYPE, _CALL, _SPECIAL, _BUILTIN, _CHARS = 1, 2, 3, 4, 5, 6, 7, 8, 9
_WIDTHS = {10: 4, 13: 4, 14: 8, 15: 16, 24: 1}
"""Logical, integer, real, complex, raw."""
_LISTS = frozenset({16, 19, 20})
_BYTECODE = 21
_PARTS = {22: 2, 23: 0, 25: 0, 238: 3}
"""An outside pointer, a weak reference, an S4 object, a compact form of something else: of how many objects each is."""
_INERT = frozenset({"call", "built-in function"})
"""R evaluates them only when the model's own code asks for it."""
_NATIVE_FUNCTIONS = frozenset({_SPECIAL, _BUILTIN})


class RDataScanner:
    """Scans `r-data` in R's binary form (XDR)."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk every object. Raises Uncovered for damage, bytecode and forms that are not read."""
        walk = _Walk(blob.stream, blob.size_bytes)
        try:
            walk.run()
        finally:
            for subject, at in walk.found.items():
                scan.add(blob, *_meaning(subject), subject=subject, offset=at)
            if _INERT & walk.found.keys():
                scan.gap("what the calls in the R data do when they are evaluated")


def _meaning(subject: str) -> tuple[Rule, str]:
    if subject == "promise":
        return _PROMISE, "the file holds a promise, which R evaluates as soon as somebody looks at the object"
    if subject in _INERT:
        return _CALLS, f"the file holds a {subject} that is not evaluated yet, as formulas do"
    return _CODE, f"the file holds a {subject}, code that runs when the model is used"


@dataclass
class _Walk:
    stream: IO[bytes]
    size: int
    found: dict[str, int] = field(default_factory=dict)
    at: int = 0
    window: bytes = b""
    start: int = 0
    pending: list[str] = field(default_factory=list)

    def run(self) -> None:
        head = self._take(5)
        if head not in (b"RDX2\n", b"RDX3\n"):
            self.at = 0
        if self._take(2) != b"X\n":
            raise Uncovered("R data in a form that is not read")
        version = self._number()
        self._skip(8)
        if version == 3:
            self._skip(self._number())
        elif version != 2:
            raise Uncovered(f"version {version} of R's data is not known")
        self.pending = ["item"]
        for _ in range(MAX_ITEMS):
            if not self.pending:
                break
            step = self.pending.pop()
            if step == "item":
                self._item()
            else:  # the elements of a list, which may be many, are put down one at a time
                left = int(step)
                if left > 1:
                    self.pending.append(str(left - 1))
                self.pending.append("item")
        else:
            raise Uncovered(f"more than {MAX_ITEMS} objects")
        if self.at != self.size:
            raise Uncovered("bytes follow after the R data")

    def _note(self, what: str) -> None:
        self.found.setdefault(what, self.at - 4)

    def _push(self, count: int) -> None:
        if count:
            self.pending.append(str(count))

    def _item(self) -> None:
        flags = self._number() & 0xFFFFFFFF
        kind, has_attributes, has_tag = flags & 0xFF, bool(flags & 0x200), bool(flags & 0x400)
        if kind in _WITHOUT_CONTENT:
            return
        if kind == _REFERENCE:
            if not flags >> 8:
                self._skip(4)
        elif kind in (_PAIRS, _CLOSURE, _PROMISE_TYPE, _CALL, _DOTS):
            for known, name in ((_CLOSURE, "function"), (_PROMISE_TYPE, "promise"), (_CALL, "call")):
                if kind == known:
                    self._note(name)
            self._push(2 + has_attributes + has_tag)
        elif kind == _SYMBOL:
            self._push(1)
        elif kind == _ENVIRONMENT:
            self._skip(4)
            self._push(4)
        elif kind in _NAMED_ENVIRONMENTS:
            self._skip(4)
            self._push(self._count())
        else:
            self._vector(kind, has_attributes=has_attributes)

    def _vector(self, kind: int, *, has_attributes: bool) -> None:
        """What is not made of a fixed number of objects; attributes follow in either case."""
        self._push(int(has_attributes))
        if kind in _WIDTHS:
            self._skip(self._count() * _WIDTHS[kind])
        elif kind in _LISTS:
            self._push(self._count())
        elif kind in _PARTS:
            self._push(_PARTS[kind])
        elif kind == _CHARS:
            self._skip(max(0, self._number()))
        elif kind in _NATIVE_FUNCTIONS:
            self._note("built-in function")
            self._skip(self._count())
        else:
            if kind == _BYTECODE:
                self._note("compiled function")
            raise Uncovered(f"byte {self.at - 4}: an R object of type {kind}, which is not read")

    def _count(self) -> int:
        count = self._number()
        if count == -1:  # a long vector: two words
            count = self._number() << 32 | self._number() & 0xFFFFFFFF
        if not 0 <= count <= self.size:
            raise Uncovered("an R vector that is longer than the file")
        return count

    def _number(self) -> int:
        return int(struct.unpack(">i", self._take(4))[0])

    def _take(self, count: int) -> bytes:
        offset = self.at - self.start
        if not 0 <= offset <= len(self.window) - count:
            self.stream.seek(self.at)
            self.window, self.start, offset = self.stream.read(_WINDOW_BYTES), self.at, 0
        data = self.window[offset : offset + count]
        if len(data) < count:
            raise Uncovered("the R data breaks off")
        self.at += count
        return data

    def _skip(self, count: int) -> None:
        self.at += count
        if count < 0 or self.at > self.size:
            raise Uncovered("the R data breaks off")
