"""skops: a zip with `schema.json`, a tree of nodes of which each names a class, and a loader that makes it.

skops itself asks its user which types to trust; what it does with a node is decided by `__loader__`, not by the class
that is shown, and that gap is what its advisories are about. So each node is judged by what its loader does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pydantic import JsonValue

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import UNKNOWN, detect_format
from model_approval.validators.security_scan.pickle_rules import Standing, standing_of
from model_approval.validators.security_scan.pickle_values import Import
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.state_gadgets import GADGETS

SCHEMA = "schema.json"
_MAX_SCHEMA_BYTES = 64 * 1024**2
_ADVICE = "save the model with an up-to-date skops, and without functions of your own"
_DANGEROUS = Rule("skops.dangerous-type", Severity.CRITICAL, _ADVICE)
_OPERATOR = Rule("skops.operator", Severity.CRITICAL, _ADVICE)
_METHOD = Rule("skops.method", Severity.CRITICAL, _ADVICE)
_CLASH = Rule("skops.clash", Severity.HIGH, _ADVICE)
_UNLISTED = Rule("skops.unlisted-call", Severity.HIGH, _ADVICE)
_STATE = Rule("skops.program-in-state", Severity.CRITICAL, _ADVICE)
_UNKNOWN = Rule("skops.unknown-type", Severity.MEDIUM, f"{_ADVICE}; or have a reviewer accept this name")

_BYTES_FILE = re.compile(r"[\w-]+\.bin")
_PLAIN = {
    "DictNode": {"dict", "OrderedDict", "Bunch"},
    "ListNode": {"list"},
    "SetNode": {"set"},
    "TupleNode": None,  # also named tuples
    "BytesNode": {"bytes"},
    "BytearrayNode": {"bytearray"},
    "SliceNode": {"slice"},
    "DefaultDictNode": {"defaultdict"},
    "PartialNode": {"partial"},
}
"""Loaders that make one built-in type, and what that is called; None where the class may be any."""
_MADE = frozenset(
    {
        "ObjectNode", "TypeNode", "TupleNode", "NdArrayNode", "MaskedArrayNode", "DTypeNode", "RandomStateNode",
        "RandomGeneratorNode", "SparseMatrixNode", "LossNode", "TreeNode", "SGDNode", "JsonNode", "QuantileForestNode",
        "ReduceNode", "_DictWithDeprecatedKeysNode", "CachedNode", "ZoneInfoNode", "DefaultDictNode", "PartialNode",
    }
)  # fmt: skip
"""Loaders that make an object of the named class without calling it with arguments of the file's choice."""
_REACHING = re.compile(r"(sklearn\.callback|pandas\.core\.computation)\.")
"""Folders whose types open connections or evaluate a text as soon as they are made or called."""
_RUNS = re.compile("eval|exec|call|import|script|pickle|joblib|system|command", re.IGNORECASE)
"""What a loader that we do not know would do, if it does what it is called."""
_CALLED = frozenset({"ConstructorFromReduceNode", "FunctionNode"})
_HARMLESS = re.compile(
    r"builtins\.(?:int|float|str|bool|complex|list|dict|set|tuple|slice|bytes|bytearray|map|type|NoneType)"
    r"|numpy\.(?:ma\.)?[A-Za-z]*(?:int|float|bool|complex|str|array|ufunc)[A-Za-z0-9_]*|numpy\.dtypes\.\w+"
    r"|numpy\.(?:abs|absolute|log|log1p|log2|log10|exp|expm1|sqrt|square|cbrt|sign|sin|cos|tan|tanh|arctan|reciprocal)"
    r"|numpy\.random\.(?:mtrand\.RandomState|_generator\.Generator|_(?:pcg64|mt19937|philox|sfc64)\.\w+)"
    r"|scipy\.special\.(?:_ufuncs\.)?(?:expit|logit|inv_boxcox|boxcox|xlogy)"
    r"|scipy\.sparse(?:\._?\w+)?\.\w+_(?:matrix|array)|zoneinfo\.ZoneInfo"
    r"|numpy\.ma\.(?:core\.)?MaskedArray|sklearn\.utils\._bunch\.Bunch|collections\.(?:OrderedDict|defaultdict)"
)


@dataclass
class SkopsLayout:
    """How the members of a skops archive are looked into."""

    @classmethod
    def of(cls, names: Iterable[str]) -> SkopsLayout | None:
        """The layout, when the archive may be one of skops."""
        return cls() if SCHEMA in names else None

    def comes_first(self, name: str) -> bool:
        """The schema says what the rest is."""
        return name == SCHEMA

    def is_raw(self, name: str, head: bytes) -> bool:
        """Bytes objects are stored as they are; skops reads them back as nothing but bytes."""
        return bool(_BYTES_FILE.fullmatch(name)) and detect_format("", head) == UNKNOWN

    def scan_content(self, blob: Blob, scan: FileScan, name: str) -> None:
        """Walk the schema; the rest goes by its own format."""
        if name != SCHEMA or not _scan_schema(blob, scan):
            scan.scan(blob)


def _scan_schema(blob: Blob, scan: FileScan) -> bool:
    """Judge every node; false when it is no schema of skops."""
    if blob.size_bytes > _MAX_SCHEMA_BYTES:
        raise Uncovered(f"a schema of more than {_MAX_SCHEMA_BYTES} bytes")
    blob.stream.seek(0)
    document = json.loads(blob.stream.read(), object_pairs_hook=_no_duplicates)
    if not isinstance(document, dict) or "__loader__" not in document:
        return False
    seen: set[tuple[str, str]] = set()
    for node in _nodes(document):
        for rule, subject, message in _judge(node):
            if (rule.id, subject) not in seen:
                seen.add((rule.id, subject))
                scan.add(blob, rule, message, subject=subject)
                if rule is _UNKNOWN:
                    scan.gap(f"what {subject} does when skops makes it")
    return True


def _no_duplicates(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise Uncovered("a name stands twice in a node of the schema, and readers take either")
    return fields


def _nodes(document: JsonValue) -> Iterator[dict[str, JsonValue]]:
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "__loader__" in value or "__class__" in value:
                yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _judge(node: dict[str, JsonValue]) -> Iterator[tuple[Rule, str, str]]:
    module, name, loader = (str(node.get(key, "")) for key in ("__module__", "__class__", "__loader__"))
    full = f"{module}.{name}"
    if loader == "OperatorFuncNode" or module in ("operator", "_operator"):
        yield _OPERATOR, f"operator.{name}", f"{loader} calls {full} with arguments of the file's choice"
    elif loader == "MethodNode":
        method = str(_content(node).get("func", ""))
        yield _METHOD, f"{full}.{method}", f"it takes the attribute {method!r} of a {full}, whatever that is"
    elif loader not in _PLAIN and loader not in _MADE and loader not in _CALLED:
        rule = _UNLISTED if _RUNS.search(loader) else _UNKNOWN
        yield rule, loader or "no loader", f"no loader called {loader!r} is known, so nothing is about what it makes"
    else:
        allowed = _PLAIN.get(loader)
        if allowed and name not in allowed:
            yield _CLASH, full, f"a {loader} shows the class {full}, which it does not make"
        if loader == "PartialNode":
            yield _UNKNOWN, full, "it calls a function with arguments of the file's choice when the model is used"
        else:
            yield from _judge_type(module, name, called=loader in _CALLED)
        yield from _judge_state(node, full)
    if loader == "FunctionNode":
        content = _content(node)
        yield from _judge_type(str(content.get("module_path", module)), str(content.get("function", name)), called=True)
    elif loader == "TypeNode":
        content = _content(node)
        yield from _judge_type(
            str(content.get("__module__", module)), str(content.get("__class__", name)), called=False
        )


def _content(node: dict[str, JsonValue]) -> dict[str, JsonValue]:
    content = node.get("content")
    return content if isinstance(content, dict) else {}


def _judge_state(node: dict[str, JsonValue], full: str) -> Iterator[tuple[Rule, str, str]]:
    """Classes that run a text out of their state: never passed, and failed when it is not what the library writes."""
    for gadget in GADGETS:
        if full.startswith(gadget.modules) and node.get("__loader__") not in ("FunctionNode", "JsonNode"):
            yield _UNKNOWN, full, f"loading it makes a {full}, whose state is run as a program"
            text = _text_of(_content(_content(node)).get(gadget.key.decode()))
            if text is not None and not gadget.honest.fullmatch(text):
                yield _STATE, text[:200], f"{text[:200]!r} is not what the library writes there, and {gadget.runs}"


def _text_of(node: JsonValue) -> str | None:
    """The text that a node holds as JSON."""
    content = node.get("content") if isinstance(node, dict) else None
    try:
        value = json.loads(content) if isinstance(content, str) else None
    except ValueError:
        return str(content)
    return value if isinstance(value, str) else None


def _judge_type(module: str, name: str, *, called: bool) -> Iterator[tuple[Rule, str, str]]:
    full = f"{module}.{name}"
    if _HARMLESS.fullmatch(full):
        return
    standing = standing_of(Import(module, name, 0, called=called, made=not called))
    if standing is Standing.DANGEROUS or _REACHING.match(full):
        yield _DANGEROUS, full, f"loading it makes or imports {full}, which runs commands, files or code"
    elif standing is Standing.UNLISTED:
        yield _UNLISTED, full, f"loading it calls {full}, which is not on the list of names known to be harmless"
    elif standing is Standing.UNKNOWN:
        yield _UNKNOWN, full, f"loading it makes a {full}, for which only its authors can vouch"
