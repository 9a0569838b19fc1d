"""YAML text -> plain values that remember their lines.

Reads YAML 1.2 (so `on` and `012` are what they look like) and only what JSON could also say: no aliases (a few
lines of them can grow to gigabytes), no tags (they could name a Python object), no duplicate keys (the first would
vanish unseen), bounded in size and depth. Never constructs an object from a tag.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    NodeEvent,
    ScalarEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from model_approval.domain.errors import PolicyError

MAX_BYTES = 256 * 1024
"""Largest file read. Our own policies have 3 KiB; a megabyte is a mistake or an attack on the DAG processor."""
MAX_DEPTH = 24
"""Deepest nesting read; the policy schema needs 7 levels."""

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"
Location: TypeAlias = tuple[str | int, ...]

_LARGEST = 2**53 - 1
"""The largest whole number that every JSON reader keeps exact (RFC 8785 refuses more)."""
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Source:
    """A read file: its value, and the line of each key and item by its location."""

    file: str
    value: Plain
    lines: dict[Location, int] = field(default_factory=dict)
    errors: tuple[PolicyError, ...] = ()
    """What is wrong with the text itself (duplicate keys, tags); the value holds the rest."""

    def line_of(self, location: Location) -> int:
        """The line of a location, or of the nearest one around it that exists; counted from 1."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read_yaml(path: Path, *, file: str | None = None) -> Source:
    """Read one file.

    Args:
        path: The file.
        file: How messages name it; the path itself unless given.

    Raises:
        PolicyError: It cannot be read, is too large, not UTF-8, empty, or not YAML.
    """
    name = file or str(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as err:
        raise PolicyError(f"cannot be read: {err.strerror}", file=name) from err
    if len(data) > MAX_BYTES:
        hint = "split it, or remove what is not policy"
        raise PolicyError(f"is larger than {MAX_BYTES // 1024} KiB", file=name, hint=hint)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as err:
        line = data[: err.start].count(b"\n") + 1
        raise PolicyError("is not UTF-8 text", file=name, line=line, hint="save the file as UTF-8") from err
    return parse_yaml(text, file=name)


def parse_yaml(text: str, *, file: str) -> Source:
    """Read text that is already here. Raises PolicyError when it is empty or not YAML."""
    try:
        # Events first: composing an unbounded nest would recurse, and would follow aliases.
        for problem in _forbidden(YAML(typ="safe", pure=True).parse(text), file):
            raise problem
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as err:
        mark = err.problem_mark or err.context_mark
        words = " ".join(part for part in (err.context, err.problem) if part)
        raise PolicyError(f"is not valid YAML: {words}", file=file, line=mark.line + 1 if mark else 0) from err
    except ReaderError as err:
        line = text.count("\n", 0, err.position) + 1
        raise PolicyError("holds a control character", file=file, line=line, hint="remove it") from err
    if root is None:
        raise PolicyError("is empty", file=file)
    reader = _Reader(file)
    value = reader.read(root, ())
    return Source(file=file, value=value, lines=reader.lines, errors=tuple(reader.errors))


def _forbidden(events: object, file: str) -> list[PolicyError]:
    """The first thing that must not be composed, if any."""
    depth = documents = 0
    assert hasattr(events, "__iter__")
    for event in events:
        assert isinstance(event, Event)
        line = event.start_mark.line + 1
        if isinstance(event, DocumentStartEvent):
            documents += 1
            if event.version or event.tags:
                return [PolicyError("% directives are not read", file=file, line=line, hint="remove the line")]
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if documents > 1:
            return [PolicyError("a second document starts here", file=file, line=line, hint="one file, one document")]
        if depth > MAX_DEPTH:
            return [PolicyError(f"is nested deeper than {MAX_DEPTH} levels", file=file, line=line)]
        if isinstance(event, AliasEvent) or (isinstance(event, NodeEvent) and event.anchor):
            hint = "write the value out at each place"
            return [PolicyError("anchors and aliases (&, *) are not read", file=file, line=line, hint=hint)]
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag:
            hint = "put text in quotes instead"
            return [PolicyError(f"the tag {event.ctag} is not read", file=file, line=line, hint=hint)]
    return []


class _Reader:
    """Turns composed nodes into plain values and notes where each stood."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.lines: dict[Location, int] = {}
        self.errors: list[PolicyError] = []

    def read(self, node: Node, location: Location) -> Plain:
        self.lines.setdefault(location, node.start_mark.line + 1)
        if isinstance(node, MappingNode):
            return self._mapping(node, location)
        if isinstance(node, SequenceNode):
            return [self.read(item, (*location, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, location)

    def _mapping(self, node: MappingNode, location: Location) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode):
                self._complain("a key must be plain text", location, line)
                continue
            key = str(key_node.value)
            if key in found:
                first = self.lines[(*location, key)]
                self._complain(f"is given twice, first on line {first}", (*location, key), line, "keep one of the two")
                continue
            self.lines[(*location, key)] = line
            found[key] = self.read(value_node, (*location, key))
        return found

    def _scalar(self, node: ScalarNode, location: Location) -> Plain:
        kind, text = (node.tag or "").removeprefix(_TAG), str(node.value)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind in ("int", "float"):
            return self._number(text, location, node.start_mark.line + 1)
        # Dates stay text, as JSON has them; what else there may be is checked by the schema.
        return text

    def _number(self, text: str, location: Location, line: int) -> Plain:
        for read in (int, lambda digits: int(digits, 0), float):
            try:
                number = read(text)
            except ValueError:
                continue
            if math.isfinite(number) and abs(number) <= _LARGEST:
                return number
            break
        self._complain(f"{text[:40]} is not a number that JSON can carry", location, line)
        return text

    def _complain(self, message: str, location: Location, line: int, hint: str = "") -> None:
        self.errors.append(PolicyError(message, file=self.file, line=line, field=dotted(location), hint=hint))


def dotted(location: Location) -> str:
    """A location as people write it: `checks[0].rules[1].limit.maximum`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")
