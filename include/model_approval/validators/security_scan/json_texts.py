"""JSON: parsed and walked up to a size; beyond it, searched as text for the same keys in one pass."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import partial

from pydantic import JsonValue

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.config_values import (
    KEYS,
    WORTH,
    Trouble,
    judge,
    record,
)
from model_approval.validators.security_scan.embedded_payloads import find_payloads
from model_approval.validators.security_scan.embedded_secrets import find_secrets
from model_approval.validators.security_scan.keras_config import (
    check_keras_config,
    check_large_keras,
    looks_like_keras,
)
from model_approval.validators.security_scan.model_indexes import judge_index
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule
from model_approval.validators.security_scan.text_blocks import TextBlock, read_text, text_blocks

MAX_PARSED_BYTES = 4 * 1024**2
"""A parsed document takes about ten times its size; vocabularies are longer and all of the same kind."""
_MAX_TWICE = 10
_DUPLICATE = Rule("config.duplicate-key", Severity.MEDIUM, "write each key once: readers disagree which one counts")
_PAIR = re.compile(
    rf'"({"|".join(map(re.escape, sorted(KEYS)))}|chat_template'
    r'|[^"\\]{0,60}(?:weight|checkpoint|download|repo)[^"\\]{0,40})"'
    r'\s*:\s*("(?:[^"\\]|\\.){0,200000}"|true|false|null|[^\s"])'
)
_NEEDLES = (
    "_map", "custom_p", "py/", "__re", "remote_code", "allow_", "repo", "_target", "_path", "install", "_script",
    "command", "chat_template", "weight", "checkpoint", "download",
)  # fmt: skip
"""One of them stands in each key that the pattern takes; few, since each costs a pass over the text."""
_HIDDEN = re.compile(r'"([^"\\]{0,200}(?:\\.[^"\\]{0,200}){0,100})"\s*:')
_ESCAPED_LETTER = re.compile(r"\\u00(?:4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aA])")


class JsonScanner:
    """Scans `json`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Look at every key and value. Raises ValueError when it is no JSON."""
        if blob.size_bytes > MAX_PARSED_BYTES:
            search_large(blob, scan)
            check_large_keras(blob, scan)
            return
        text = read_text(blob, MAX_PARSED_BYTES)
        twice: list[str] = []
        document = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=partial(_object, twice))
        _report_duplicates(blob, scan, twice)
        search_document(blob, scan, document)
        record(judge_index(blob.name, document, scan), blob, scan)
        if looks_like_keras(document):
            check_keras_config(blob, scan, document)
        whole = TextBlock(text, 1)
        find_secrets(whole, blob, scan)
        find_payloads(whole, blob, scan)


class JsonLinesScanner:
    """Scans `jsonl`: data, so it is searched like a large document."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read it to its end."""
        search_large(blob, scan)


def search_document(blob: Blob, scan: FileScan, document: JsonValue) -> None:
    """Judge all values of a parsed document, and its chat templates."""
    pending: list[tuple[tuple[str, ...], JsonValue]] = [((), document)]
    while pending:
        path, value = pending.pop()
        if _is_worth_judging(path, value):
            record(judge(path, value), blob, scan)
        if path and path[-1] == "chat_template":
            _check_templates(blob, scan, value)
        pending += _parts(path, value)


def _parts(path: tuple[str, ...], value: JsonValue) -> Iterator[tuple[tuple[str, ...], JsonValue]]:
    """What is in a list or an object, without what nobody judges: numbers, short words, empty lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key in KEYS or (item and isinstance(item, (dict, list))) or (isinstance(item, str) and len(item) > 3):
                yield (*path, key), item
    elif isinstance(value, list):
        place = (*path, "0")
        for item in value:
            if (item and isinstance(item, (dict, list))) or (isinstance(item, str) and len(item) > 3):
                yield place, item


def _is_worth_judging(path: tuple[str, ...], value: JsonValue) -> bool:
    """A quick look, so that a vocabulary of a hundred thousand words costs nothing."""
    if path and path[-1] in KEYS:
        return True
    return (
        isinstance(value, str)
        and len(value) > 3
        and (not KEYS.isdisjoint(path[-2:]) or WORTH.search(value) is not None)
    )


def _object(twice: list[str], pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """An object, with the keys that it was given twice added to a list."""
    made = dict(pairs)
    if len(made) < len(pairs) and len(twice) < _MAX_TWICE:
        counts = Counter(key for key, _ in pairs)
        twice += [key for key, count in counts.items() if count > 1][:_MAX_TWICE]
    return made


def _report_duplicates(blob: Blob, scan: FileScan, twice: list[str]) -> None:
    for key in dict.fromkeys(twice[:_MAX_TWICE]):
        shown = plain_line(key, limit=100)
        scan.add(blob, _DUPLICATE, f"the key {shown!r} stands twice in one object", subject=shown)
        scan.gap("a key stands twice in one JSON object; only its last value was judged")


def _check_templates(blob: Blob, scan: FileScan, value: JsonValue) -> None:
    from model_approval.validators.security_scan.jinja_templates import check_template

    if isinstance(value, str):
        check_template(blob, scan, value, where="chat_template")
    elif isinstance(value, dict):
        for name, item in value.items():
            if isinstance(item, str):
                check_template(blob, scan, item, where=f"chat_template {plain_line(name, limit=50)}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            if isinstance(item, dict) and isinstance(item.get("template"), str):
                name = plain_line(str(item.get("name", number)), limit=50)
                check_template(blob, scan, str(item["template"]), where=f"chat_template {name}")


def search_large(blob: Blob, scan: FileScan) -> None:
    """Search a text of any length, in blocks. Raises Uncovered when it is no text all the way."""
    for block in text_blocks(blob):
        record(_pairs(block, blob, scan), blob, scan)
        find_secrets(block, blob, scan)
        find_payloads(block, blob, scan)


def _pairs(block: TextBlock, blob: Blob, scan: FileScan) -> Iterator[Trouble]:
    text = block.text
    for at in _places(text):
        match = _PAIR.match(text, max(0, text.rfind('"', max(0, at - 62), at + 1)))
        if match is None:
            continue
        value = _value(match[2])
        if match[1] == "chat_template":
            _check_templates(blob, scan, value)
        yield from judge((match[1],), value)
    for escaped in _ESCAPED_LETTER.finditer(text):
        hidden = _HIDDEN.match(text, max(0, text.rfind('"', max(0, escaped.start() - 200), escaped.start())))
        if hidden and isinstance(key := _value(f'"{hidden[1]}"'), str):
            yield from judge((key,), True)


def _places(text: str) -> Iterator[int]:
    for needle in _NEEDLES:
        at = text.find(needle)
        while at >= 0:
            yield at
            at = text.find(needle, at + len(needle))


def _value(text: str) -> JsonValue:
    """A scalar; the first character of anything else."""
    try:
        value: JsonValue = json.loads(text)
    except ValueError:
        return text
    return value
