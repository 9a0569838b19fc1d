"""TensorFlow graphs: SavedModel, frozen graphs and MetaGraphs, binary and as text, and the Keras metadata beside them.

A graph is a program: the operators of the graph and of all functions in it are listed and judged by
`tensorflow_operators`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import detect_format
from model_approval.domain.manifest import check_path
from model_approval.validators.security_scan import tensorflow_operators
from model_approval.validators.security_scan.keras_config import check_keras_text
from model_approval.validators.security_scan.protobuf_wire import Field, Values, Walker, WireReader, last_text
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.tensorflow_schema import SCHEMA

_ASSET = Rule("tensorflow.asset-path", Severity.CRITICAL, "export the model anew, with its assets beside it")
_MAX_OPERATORS = 20_000
_MAX_TEXT_BYTES = 64 * 1024**2
_ROOTS = {
    "saved_model": "SavedModel",
    "tf_graph": "Graph",
    "tf_metagraph": "MetaGraph",
    "keras_metadata": "KerasMetadata",
}
_WATCHED = frozenset(
    {"PrintV2", "DebugIdentity", "DebugNanCount", "DebugNumericSummary", "DecodeProtoV2", "EncodeProto"}
)
"""Operators that write, send or read where a text setting says."""


@dataclass
class _Graph:
    blob: Blob
    scan: FileScan
    operators: dict[str, int] = field(default_factory=dict)
    functions: set[str] = field(default_factory=set)
    settings: list[tuple[int, str]] = field(default_factory=list)

    def on_node(self, values: Values, at: Field) -> None:
        """Note the operator, and the settings that matter for it."""
        name = last_text(values, 2)
        self.operators.setdefault(name, at.begin)
        if len(self.operators) > _MAX_OPERATORS:
            raise Uncovered(f"more than {_MAX_OPERATORS} different operators")
        if self.settings and name in _WATCHED:
            for begin, value in self.settings:
                if begin >= at.begin:
                    tensorflow_operators.judge_setting(self.blob, self.scan, name, value, offset=at.begin)
        self.settings.clear()

    def on_value(self, values: Values, at: Field) -> None:
        """Keep texts that look like an address."""
        for texts in values.values():
            self.settings += [
                (at.begin, text) for text in texts if isinstance(text, str) and re.match(r"[a-z]{3,8}:|/|\.\./", text)
            ]

    def on_signature(self, values: Values, at: Field) -> None:
        """Note a function of the graph's own library."""
        self.functions.add(last_text(values, 1))

    def on_asset(self, values: Values, at: Field) -> None:
        """An asset's name is joined to the folder of the model."""
        name = last_text(values, 2)
        try:
            check_path(name)
        except ValueError as err:
            message = f"an asset would be read from outside of the model's folder: {err}"
            self.scan.add(self.blob, _ASSET, message, subject=name, offset=at.begin)

    def on_metadata(self, values: Values, at: Field) -> None:
        """Keras's description of a layer, as JSON."""
        for number in (3, 5):
            text = last_text(values, number)
            if not text.startswith("{"):
                continue
            try:
                check_keras_text(self.blob, self.scan, text, revived=True)
            except (ValueError, RecursionError) as err:  # the graph is walked on all the same
                self.scan.gap(f"Keras metadata that is no JSON: {err}")


class TensorflowScanner:
    """Scans `saved_model`, `tf_graph`, `tf_metagraph`, `keras_metadata`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk all graphs and functions. Raises Uncovered when the file is damaged or too much to walk."""
        graph = _Graph(blob, scan)
        handlers = {
            "Node": graph.on_node,
            "Value": graph.on_value,
            "List": graph.on_value,
            "Signature": graph.on_signature,
            "Asset": graph.on_asset,
            "UserObject": graph.on_metadata,
            "KerasObject": graph.on_metadata,
        }
        root = _ROOTS.get(detect_format(blob.name, blob.head()), "SavedModel")
        walker = Walker(WireReader(blob.stream, blob.size_bytes), SCHEMA, handlers)
        try:
            walker.walk(root, 0, blob.size_bytes)
        except ValueError as err:
            raise Uncovered(f"damaged: {err}") from err
        finally:
            _judge(graph)
        for oddity in sorted(walker.oddities):
            scan.gap(oddity)


def _judge(graph: _Graph) -> None:
    functions = frozenset(graph.functions)
    for name, at in sorted(graph.operators.items()):
        tensorflow_operators.judge_operator(graph.blob, graph.scan, name, offset=at, functions=functions)


class FingerprintScanner:
    """Scans `tf_fingerprint`: the hashes that TensorFlow writes beside a SavedModel."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """The detection has read all of it: some dozens of bytes."""


# A literal that nobody closes ends with its line: a search that gave up there would begin anew at each quote in it.
_LITERAL = r"""(?:"(?:[^"\\\n]|\\.)*+"?|'(?:[^'\\\n]|\\.)*+'?)"""
_TOKEN = re.compile(
    rf"""(?P<comment>\#[^\n]*)|\b(?P<field>op|name|filename|metadata|s|output_stream)\b\s*:?\s*"""
    rf"""(?P<text>{_LITERAL}(?:\s*{_LITERAL})*)|(?P<other>{_LITERAL})|(?P<signature>\bsignature\s*:?\s*[{{<])"""
)
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|(.))", re.DOTALL)


class TensorflowTextScanner:
    """Scans `pbtxt`: the same in the text form of protocol buffers."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Search for operators. Raises Uncovered for a text that is too long."""
        if blob.size_bytes > _MAX_TEXT_BYTES:
            raise Uncovered(f"a graph of more than {_MAX_TEXT_BYTES} bytes of text")
        blob.stream.seek(0)
        text = blob.stream.read().decode("utf-8")
        graph, in_signature = _Graph(blob, scan), False
        for match in _TOKEN.finditer(text):
            if match["signature"]:
                in_signature = True
            elif match["text"]:
                value = _unescaped(match["text"])
                if match["field"] == "op":
                    graph.operators.setdefault(value, match.start())
                elif match["field"] == "name" and in_signature:
                    graph.functions.add(value)
                    in_signature = False
                elif match["field"] == "filename":
                    graph.on_asset({2: [value]}, Field(0, 0, 0, match.start(), match.end()))
                elif match["field"] == "metadata":
                    graph.on_metadata({3: [value]}, Field(0, 0, 0, match.start(), match.end()))
        _judge(graph)


def _unescaped(literals: str) -> str:
    """The text of adjacent literals with C escapes, which spell one value."""
    parts = re.findall(_LITERAL, literals)
    raw = "".join(part[1:].removesuffix(part[0]) for part in parts).encode()
    return _ESCAPE.sub(_character, raw).decode("utf-8", "replace")


def _character(match: re.Match[bytes]) -> bytes:
    if match[1]:
        return bytes([int(match[1], 16)])
    if match[2]:
        return bytes([int(match[2], 8) & 0xFF])
    return {b"n": b"\n", b"t": b"\t", b"r": b"\r"}.get(match[3], match[3])
