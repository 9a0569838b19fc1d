"""ONNX: tensor files that reach out of the folder, operators that need foreign code, and bytes that fit nothing.

The model is walked as wire format (`protobuf_wire`): raw tensors are stepped over, so that a model of any size is
scanned in the same memory. What protobuf parsers merge or ignore is a gap, since two readers may see two models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from model_approval.domain.evidence import Severity
from model_approval.domain.manifest import check_path
from model_approval.validators.security_scan import onnx_schema as schema
from model_approval.validators.security_scan.known_names import known_names
from model_approval.validators.security_scan.protobuf_wire import (
    Field,
    Values,
    Walker,
    WireReader,
    last_number,
    last_text,
)
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_STANDARD_ADVICE = "export the model with standard operators"
_CUSTOM_OPERATOR = Rule("onnx.custom-operator", Severity.HIGH, _STANDARD_ADVICE)
_FOREIGN_CODE = Rule("onnx.foreign-code", Severity.CRITICAL, _STANDARD_ADVICE)
_ADDED_OPERATOR = Rule("onnx.added-operator", Severity.MEDIUM, _STANDARD_ADVICE)
_SHADOWED = Rule("onnx.shadowed-operator", Severity.MEDIUM, "name the function otherwise, in a domain of its own")
_OUTSIDE_DATA = Rule("onnx.external-data", Severity.CRITICAL, "keep tensor data beside the model")
_MISSING_DATA = Rule("onnx.missing-data", Severity.HIGH, "register all files of the model")
_DATA_BOUNDS = Rule("onnx.data-bounds", Severity.HIGH, "save the model and its tensor data anew")
_CONTEXT_KEYS = frozenset({"ep_cache_context", "embed_mode"})
_KNOWN_ENTRIES = frozenset({"location", "offset", "length", "checksum", "basepath"})
_EXTERNAL = 1
_MAX_KINDS = 10_000
"""Different operators, or external files, that one model may name."""


@dataclass
class _Model:
    """What the walk gathered."""

    blob: Blob
    scan: FileScan
    has_graph: bool = False
    operators: dict[tuple[str, str], int] = field(default_factory=dict)
    """Domain and name, with the byte where it first stands."""
    functions: dict[tuple[str, str], int] = field(default_factory=dict)
    entries: list[tuple[str, str]] = field(default_factory=list)
    """External data of the tensor that is being read."""
    locations: set[str] = field(default_factory=set)
    contexts: list[tuple[int, str, str, int]] = field(default_factory=list)
    """Compiled models of a processor's own format: byte, key, beginning of the text, number."""

    def on_graph(self, values: Values, at: Field) -> None:
        """Note that there is one."""
        self.has_graph = True

    def on_node(self, values: Values, at: Field) -> None:
        """Note the operator."""
        domain, name = last_text(values, 7), last_text(values, 4)
        self._note(self.operators, "" if domain == "ai.onnx" else domain, name, at.begin)
        if name == "EPContext":
            self._check_context(at.begin)

    def on_function(self, values: Values, at: Field) -> None:
        """Note an operator that the model defines itself."""
        self._note(self.functions, last_text(values, 10), last_text(values, 1), at.begin)

    def _note(self, kinds: dict[tuple[str, str], int], domain: str, name: str, at: int) -> None:
        kinds.setdefault((domain, name), at)
        if len(kinds) > _MAX_KINDS:
            raise Uncovered(f"more than {_MAX_KINDS} different operators")

    def on_attribute(self, values: Values, at: Field) -> None:
        """Note attributes that name files."""
        if (name := last_text(values, 1)) in _CONTEXT_KEYS and len(self.contexts) < _MAX_KINDS:
            self.contexts.append((at.begin, name, last_text(values, 4), last_number(values, 3)))

    def _check_context(self, node_at: int) -> None:
        """A compiled model is loaded by a driver; outside of the file, from a path that the model names."""
        own = [entry for entry in self.contexts if entry[0] >= node_at]
        if any(key == "embed_mode" and number == 0 for _, key, _, number in own):
            for _, key, text, _ in own:
                if key == "ep_cache_context":
                    self.check_location(text, node_at)

    def on_external(self, values: Values, at: Field) -> None:
        """Note one key of external data."""
        self.entries.append((last_text(values, 1), last_text(values, 2)))

    def on_tensor(self, values: Values, at: Field) -> None:
        """Check where a tensor's bytes are, and that they fit its shape."""
        entries, self.entries = self.entries, []
        shape = [number for number in values.get(1, []) if isinstance(number, int)]
        bits = schema.BITS.get(last_number(values, 2))
        if any(number >= 1 << 40 for number in shape):
            self.scan.gap(f"the tensor {last_text(values, 8)[:80]!r} has an impossible shape")
            return
        expected = -(-math.prod(shape) * bits // 8) if bits else None
        if last_number(values, 14) == _EXTERNAL:
            self._check_external(dict(entries), len(entries), at.begin)
        elif 9 in values and last_number(values, 9) != expected:
            name = last_text(values, 8)[:80]
            self.scan.gap(f"the tensor {name!r} does not fit its bytes: {last_number(values, 9)}, not {expected}")

    def _check_external(self, entries: dict[str, str], count: int, at: int) -> None:
        if count != len(entries) or not entries.keys() <= _KNOWN_ENTRIES:
            self.scan.gap("external data is described twice, or by unknown words")
        location = entries.get("location", "")
        path = self.check_location(location, at)
        if path is None:
            return
        offset, length = (int(entries.get(key) or 0) for key in ("offset", "length"))
        if offset < 0 or length < 0 or offset + length > self.scan.paths[path]:
            message = f"{offset} + {length} bytes of tensor data lie beyond the end of {location!r}"
            self.scan.add(self.blob, _DATA_BOUNDS, message, subject=location, offset=at)

    def check_location(self, location: str, at: int) -> str | None:
        """The artifact's file that a location means; None when it was reported, or lies in an archive."""
        known = location in self.locations
        self.locations.add(location)
        if len(self.locations) > _MAX_KINDS:
            raise Uncovered(f"more than {_MAX_KINDS} external files")
        try:
            check_path(location)
        except ValueError as err:
            if not known:
                message = f"data would be read from outside of the model's folder: {err}"
                self.scan.add(self.blob, _OUTSIDE_DATA, message, subject=location, offset=at)
            return None
        if self.blob.inner:
            self.scan.gap(f"{self.blob.inner}: its tensor data is beside it in the archive, and not compared with it")
            return None
        folder = self.blob.path.rsplit("/", 1)[0] + "/" if "/" in self.blob.path else ""
        if folder + location in self.scan.paths:
            self.scan.references.add(folder + location)
            return folder + location
        if not known:
            message = f"data is in {location!r}, which is not part of the artifact"
            self.scan.add(self.blob, _MISSING_DATA, message, subject=location, offset=at)
        return None


class OnnxScanner:
    """Scans `onnx`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk the whole model. Raises ValueError when it is damaged, Uncovered when it is too much to walk."""
        model = _Model(blob, scan)
        handlers = {
            "Graph": model.on_graph,
            "Node": model.on_node,
            "Function": model.on_function,
            "Attribute": model.on_attribute,
            "External": model.on_external,
            "Tensor": model.on_tensor,
        }
        walker = Walker(WireReader(blob.stream, blob.size_bytes), schema.SCHEMA, handlers)
        try:
            walker.walk("Model", 0, blob.size_bytes)
        except ValueError as err:
            raise Uncovered(f"damaged: {err}") from err
        finally:
            _judge_operators(model)
        if not model.has_graph:
            raise Uncovered("no graph in it")
        for oddity in sorted(walker.oddities):
            scan.gap(oddity)


def _judge_operators(model: _Model) -> None:
    for (domain, name), at in sorted(model.functions.items()):
        if domain in ("", "ai.onnx") and name in known_names("onnx_operators"):
            message = f"the model brings its own {name!r}, in place of the standard's operator of that name"
            model.scan.add(model.blob, _SHADOWED, message, subject=name, offset=at)
    own = {("" if domain == "ai.onnx" else domain, name) for domain, name in model.functions}
    for (domain, name), at in sorted(model.operators.items()):
        subject = f"{domain or 'ai.onnx'}:{name}"
        if name in schema.FOREIGN_CODE or (name in schema.ATEN and domain in ("", "com.microsoft")):
            message = f"operator {subject} calls code outside of the runtime, in the serving process"
            model.scan.add(model.blob, _FOREIGN_CODE, message, subject=subject, offset=at)
        elif (domain, name) not in own:
            _judge_operator(model, domain, name, at)


def _judge_operator(model: _Model, domain: str, name: str, at: int) -> None:
    is_standard = domain in schema.STANDARD_DOMAINS
    if name in known_names("onnx_operators") and (is_standard or not domain):
        return
    if name in known_names("onnx_runtime_operators") and is_standard:
        return
    subject = f"{domain or 'ai.onnx'}:{name}"
    message = f"operator {subject} runs only with foreign native code in the serving process"
    if is_standard or domain in schema.ADDED_DOMAINS or not domain:
        model.scan.add(model.blob, _ADDED_OPERATOR, message, subject=subject, offset=at)
        model.scan.gap(f"what the operator {subject} does is not known")
    else:
        model.scan.add(model.blob, _CUSTOM_OPERATOR, message, subject=subject, offset=at)
