"""Classes whose `__setstate__` runs a text out of their own state: what honest texts look like, and all others.

Such a class is never allowed, so a pickle with one is at best not covered. When the text stands in the file and is not
what the library writes, it is a program, and said so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from model_approval.validators.security_scan import pickle_opcodes as op
from model_approval.validators.security_scan.pickle_values import Import

_MAX_SEARCHED_BYTES: Final = 64 * 1024**2
_MAX_TEXT_BYTES: Final = 64 * 1024
_PUTS: Final = {op.MEMOIZE: 1, op.BINPUT: 2, op.LONG_BINPUT: 5}


@dataclass(frozen=True)
class Gadget:
    """One kind of such a class."""

    modules: str
    """Prefix of its modules."""
    key: bytes
    """Key of its state under which the text stands."""
    honest: re.Pattern[str]
    runs: str
    """What becomes of the text, in words."""


_NAMES = r"[\w, =]*"
GADGETS: Final = (
    # Source: scipy 1.16, `parse_arg_template` of stats/_distn_infrastructure.py, with names of parameters put in.
    # Names, numbers and `self._argcheck_rvs(...)` alone: nothing else can be called by it.
    Gadget(
        "scipy.stats.",
        b"_parse_arg_template",
        re.compile(
            rf"\s*def _parse_args\(self, {_NAMES}\):\s+return \({_NAMES}\), {_NAMES}\s+"
            rf"def _parse_args_rvs\(self, {_NAMES}\):\s+return self\._argcheck_rvs\({_NAMES}\)\s+"
            rf"def _parse_args_stats\(self, {_NAMES}moments='mv'\):\s+return \({_NAMES}\), {_NAMES}\s*"
        ),
        "scipy executes it",
    ),
    # Source: statsmodels 0.14, `ModelData.__setstate__`: patsy evaluates the parts of a formula as Python.
    Gadget("statsmodels.", b"formula", re.compile(r"[\w\s~+\-*:|^]*"), "statsmodels evaluates it"),
)


class Source(Protocol):
    """Random access to the bytes."""

    size_bytes: int

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from there."""
        ...


@dataclass(frozen=True)
class Program:
    """A text that a class would run."""

    gadget: Gadget
    offset: int
    text: str


def find_programs(source: Source, imports: Iterable[Import]) -> list[Program]:
    """The texts in a pickle that one of its classes runs and that its library would not have written."""
    modules = [f"{one.module}." for one in imports]
    asked = [gadget for gadget in GADGETS if any(module.startswith(gadget.modules) for module in modules)]
    if not asked:
        return []
    data = source.read_at(0, min(source.size_bytes, _MAX_SEARCHED_BYTES))
    return [
        program for gadget in asked for program in _texts(data, gadget) if not gadget.honest.fullmatch(program.text)
    ]


def _texts(data: bytes, gadget: Gadget) -> list[Program]:
    found = []
    for match in re.finditer(re.escape(gadget.key), data):
        at = match.end()
        while at < len(data) and data[at] in _PUTS:
            at += _PUTS[data[at]]
        text = _text_at(data, at)
        if text is not None:
            found.append(Program(gadget, at, text))
    return found


def _text_at(data: bytes, at: int) -> str | None:
    width = op.TEXTS.get(data[at]) if at < len(data) else None
    if not width:
        return None
    length = int.from_bytes(data[at + 1 : at + 1 + width], "little")
    return data[at + 1 + width : at + 1 + width + min(length, _MAX_TEXT_BYTES)].decode("utf-8", "backslashreplace")
