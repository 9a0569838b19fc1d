"""What a walk over a pickle knows: the imports, types and tuples among its values, and what it finds.

Also which functions need to be followed when a pickle calls them, since they call, make or look up something else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Protocol

ARRAY_WRAPPERS: Final = frozenset(
    (module, "NumpyArrayWrapper") for module in ("joblib.numpy_pickle", "sklearn.externals.joblib.numpy_pickle")
)
NAMED_CALLS: Final = frozenset({("dill._dill", "_load_type")})
"""Functions that look one of Python's types up, and are harmless or not by the name that they are called with."""
CALLS_ITS_FIRST: Final = frozenset(
    {
        ("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"), ("copyreg", "__newobj__"),
        ("copy_reg", "__newobj__"), ("copyreg", "__newobj_ex__"), ("copy_reg", "__newobj_ex__"),
        ("torch._tensor", "_rebuild_from_type_v2"), ("torch._tensor", "_rebuild_from_type"),
        ("dill._dill", "_create_array"), ("pandas.core.indexes.base", "_new_Index"),
        ("pandas.core.indexes.datetimes", "_new_DatetimeIndex"), ("pandas.core.indexes.period", "_new_PeriodIndex"),
    }
)  # fmt: skip
"""Functions that call, or make an instance of, what they are given first."""
LOADS_BYTES: Final = ("torch.storage", "_load_from_bytes")
"""Loads its argument as a torch file, with everything that one may do."""
PLAIN_BASES: Final = frozenset(
    (module, name)
    for module in ("builtins", "__builtin__")
    for name in ("object", "dict", "list", "tuple", "set", "frozenset", "int", "float", "str", "bytes")
)


class BadPickle(Exception):
    """No unpickler could read on: truncated, an unknown operation, an empty stack; the message says where."""


class Oddity(StrEnum):
    """What no honest pickler writes."""

    UNTOLD_IMPORT = "untold_import"
    """An import whose name is put together at load time."""
    EXTENSION = "extension"
    """An import by number, out of a registry of the loading process."""
    FRAME = "frame"
    """Frames that overlap, or an operation across the end of one: readers disagree what it means."""
    COMPUTED_CALL = "computed_call"
    """A call of something that is itself the result of a call."""
    CHANGED_IMPORT = "changed_import"
    """Attributes or items that are set on something imported: a module, a class or a function."""
    CALL_BY_STATE = "call_by_state"
    """The name `__setstate__` among the values: set on an object, it is called with the next state."""


@dataclass(slots=True, order=True)
class Import:
    """A name that the pickle imports, where first, and what it does with it."""

    module: str
    name: str
    offset: int
    called: bool = False
    """Called with arguments of the pickle's choice."""
    named: set[str] = field(default_factory=set)
    """The first argument of each call, where it is a text and one of `NAMED_CALLS`; anything else counts as empty."""
    made: bool = False
    """Instantiated the way that `object.__reduce_ex__` writes: `__new__`, then `__setstate__` or attributes."""


@dataclass(frozen=True, slots=True)
class ArrayType:
    """A `numpy.dtype` that the pickle builds."""

    item_bytes: int
    holds_objects: bool


@dataclass(slots=True)
class Walk:
    """What one pickle (from its first operation to STOP) does; filled as far as the walk gets."""

    imports: dict[tuple[str, str], Import] = field(default_factory=dict)
    oddities: dict[Oddity, int] = field(default_factory=dict)
    nested: list[tuple[int, int]] = field(default_factory=list)
    """Offset and length of bytes that the pickle has torch load as another file."""
    byte_strings: int = 0
    """How many there are. When all of them are `nested`, none can be loaded in another way without being seen."""
    gaps: list[str] = field(default_factory=list)
    """What could not be followed."""


class Source(Protocol):
    """Random access to the bytes."""

    size_bytes: int

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from there."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """A tuple that begins with an import, as arguments for functions that call it."""

    first: int
    second: int


Thing = Import | ArrayType | Pair


def simple_array_type(described: str | None) -> ArrayType:
    """An array type by NumPy's short name, such as `f8`, `<i4`, `U10`; unknown ones hold objects as far as we know."""
    text = (described or "").lstrip("<>=|")
    kind, digits = text[:1], text[1:]
    if kind in "biufcmMSaV?" and digits.isdecimal() and kind:
        return ArrayType(int(digits), kind == "V")
    if kind == "U" and digits.isdecimal():
        return ArrayType(4 * int(digits), False)
    return ArrayType(0, True)


def decoded(data: bytes) -> str:
    """A text, with what is not UTF-8 shown as escapes: such a name matches nothing."""
    return data.decode("utf-8", "backslashreplace")


def unescaped(line: bytes, *, quoted: bool) -> str:
    """A text of protocol 0: `UNICODE` escapes what is not Latin-1, `STRING` is a Python literal of bytes."""
    body = line.strip()[1:-1] if quoted else line
    return body.decode("unicode_escape" if quoted else "raw_unicode_escape", "backslashreplace")


def decimal(line: bytes, at: int) -> int:
    """A number that is written in digits. Raises BadPickle."""
    if not line.strip().isdigit():
        raise BadPickle(f"the number at byte {at} is none")
    return int(line)
