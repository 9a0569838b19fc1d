"""YAML as a flat list of its values, each with the path of keys that leads to it.

Only the grammar is parsed (events): no tag is resolved, no alias is followed, no object is made, so that neither a
bomb of aliases nor a tag costs anything. Every value is text, as it was written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml
from yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, Event, MappingStartEvent, ScalarEvent

MAX_YAML_CHARS = 4 * 1024**2
"""Of a document whose structure matters: an `MLmodel`, a list of dependencies."""
_MAX_EVENTS = 300_000
_MAX_DEPTH = 100


class YamlError(ValueError):
    """No YAML, or too much of it; the message says what and where."""


@dataclass(frozen=True)
class Leaf:
    """One value of a YAML document."""

    path: tuple[str, ...]
    """Keys from the top; positions in lists as decimal digits."""
    value: str
    """As written; empty where a tagged list or mapping begins."""
    line: int
    """From 1."""
    tag: str = ""
    """An explicit tag, in full."""
    is_alias: bool = False
    """Whether it stands for something that was written elsewhere; `value` is then the anchor's name."""


@dataclass
class _Level:
    is_mapping: bool
    key: str | None = None
    """Of the value that comes next; None: the key itself comes next."""
    count: int = 0


def leaves(text: str) -> Iterator[Leaf]:
    """List the values of all documents in a text.

    Raises:
        YamlError: The text is no YAML, longer than MAX_YAML_CHARS, or nested too deep.
    """
    if len(text) > MAX_YAML_CHARS:
        raise YamlError(f"YAML of more than {MAX_YAML_CHARS} characters")
    levels: list[_Level] = []
    try:
        for number, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
            if number > _MAX_EVENTS or len(levels) > _MAX_DEPTH:
                raise YamlError(f"line {_line(event)}: too many or too deeply nested parts of YAML")
            if leaf := _leaf(event, levels):
                yield leaf
    except yaml.YAMLError as err:
        raise YamlError(f"no YAML: {err}") from err


def _leaf(event: Event, levels: list[_Level]) -> Leaf | None:
    line = _line(event)
    if isinstance(event, CollectionEndEvent):
        levels.pop()
        _arrive(levels, "?")
    elif isinstance(event, CollectionStartEvent):
        path = tuple(_step(level) for level in levels)
        levels.append(_Level(isinstance(event, MappingStartEvent)))
        return Leaf(path, "", line, event.tag) if event.tag else None
    elif isinstance(event, (ScalarEvent, AliasEvent)):
        value = str(event.anchor if isinstance(event, AliasEvent) else event.value)
        path = tuple(_step(level) for level in levels)
        if _arrive(levels, value):
            return Leaf(path, value, line, str(getattr(event, "tag", None) or ""), isinstance(event, AliasEvent))
    return None


def _line(event: Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _step(level: _Level) -> str:
    if not level.is_mapping:
        return str(level.count)
    return "?" if level.key is None else level.key


def _arrive(levels: list[_Level], value: str) -> bool:
    """Note that a node is complete in its parent; False when it was a key. A key that is no plain text is `?`."""
    if not levels:
        return True
    level = levels[-1]
    if not level.is_mapping:
        level.count += 1
    elif level.key is None:
        level.key = value
        return False
    else:
        level.key = None
    return True
