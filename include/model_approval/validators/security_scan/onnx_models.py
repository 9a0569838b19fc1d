"""ONNX: external tensor files that reach out of the folder, and operators that need foreign native code."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from model_approval.domain.evidence import Severity
from model_approval.domain.manifest import check_path
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

if TYPE_CHECKING:
    import onnx

_CUSTOM_OPERATOR = Rule("onnx.custom-operator", Severity.HIGH, "export the model with standard operators")
_OUTSIDE_DATA = Rule("onnx.external-data", Severity.CRITICAL, "keep tensor data beside the model")
_MISSING_DATA = Rule("onnx.missing-data", Severity.HIGH, "register all files of the model")
_MAX_BYTES = 2 * 1024**3 - 1
"""Protobuf's own limit for one message."""
_STANDARD_DOMAINS = frozenset(
    {
        "",
        "ai.onnx",
        "ai.onnx.ml",
        "ai.onnx.training",
        "ai.onnx.preview.training",
        "com.microsoft",
        "com.microsoft.nchwc",
    }
)
_FOREIGN_CODE = frozenset(
    {"PyOp", "PythonOp", "PythonOpGrad", "ATen", "ATenGrad", "TorchEmbedding", "ExternalCustomOp"}
)
"""Operators of the runtime's own domain that call into Python or another library."""


class OnnxScanner:
    """Scans `onnx`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read the whole model. Raises Uncovered when it is damaged or larger than protobuf can hold."""
        import onnx
        from google.protobuf.message import DecodeError

        if blob.size_bytes > _MAX_BYTES:
            raise Uncovered("larger than 2 GiB, which one ONNX file cannot be")
        blob.stream.seek(0)
        model = onnx.ModelProto()
        try:
            model.ParseFromString(blob.stream.read())
        except DecodeError as err:
            raise Uncovered(f"damaged: {err}") from err
        if not model.HasField("graph"):
            raise Uncovered("no graph in it")
        functions = {(function.domain, function.name) for function in model.functions}
        graphs = list(_graphs(model.graph))
        nodes = [node for graph in graphs for node in graph.node]
        nodes += [node for function in model.functions for node in _nested_nodes(function.node)]
        _check_operators(blob, scan, nodes, functions)
        tensors = [tensor for graph in graphs for tensor in _tensors(graph)]
        tensors += [attribute.t for node in nodes for attribute in node.attribute]
        tensors += [tensor for node in nodes for attribute in node.attribute for tensor in attribute.tensors]
        _check_external_data(blob, scan, tensors)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all graphs inside its nodes (loops, branches)."""
    pending = [graph]
    while pending:
        current = pending.pop()
        yield current
        pending += _subgraphs(current.node)


def _subgraphs(nodes: Iterable[onnx.NodeProto]) -> list[onnx.GraphProto]:
    attributes = [attribute for node in nodes for attribute in node.attribute]
    return [
        *(attribute.g for attribute in attributes if attribute.HasField("g")),
        *(graph for attribute in attributes for graph in attribute.graphs),
    ]


def _nested_nodes(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    result = list(nodes)
    for graph in _subgraphs(result):
        result += [node for inner in _graphs(graph) for node in inner.node]
    return result


def _tensors(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
    sparse = [part for tensor in graph.sparse_initializer for part in (tensor.values, tensor.indices)]
    return [*graph.initializer, *sparse]


def _check_operators(
    blob: Blob, scan: FileScan, nodes: Iterable[onnx.NodeProto], functions: set[tuple[str, str]]
) -> None:
    foreign = {
        (node.domain, node.op_type)
        for node in nodes
        if (node.domain not in _STANDARD_DOMAINS or node.op_type in _FOREIGN_CODE)
        and (node.domain, node.op_type) not in functions
    }
    for domain, operator in sorted(foreign):
        message = f"operator {domain or 'ai.onnx'}:{operator} runs only with foreign native code in the serving process"
        scan.add(blob, _CUSTOM_OPERATOR, message)


def _check_external_data(blob: Blob, scan: FileScan, tensors: Iterable[onnx.TensorProto]) -> None:
    locations = {
        entry.value
        for tensor in tensors
        if tensor.data_location == 1  # TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }
    folder = blob.path.rsplit("/", 1)[0] + "/" if "/" in blob.path else ""
    for location in sorted(locations):
        try:
            check_path(location)
        except ValueError as err:
            scan.add(blob, _OUTSIDE_DATA, f"tensor data would be read from outside of the model's folder: {err}")
            continue
        if folder + location in scan.paths:
            scan.references.add(folder + location)
        else:
            scan.add(blob, _MISSING_DATA, f"tensor data is in {location!r}, which is not part of the artifact")
