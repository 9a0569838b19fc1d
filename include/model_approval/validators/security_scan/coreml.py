"""Core ML: a protocol buffer; layers of the sender's own need code that the app brings, weights lie in named files."""

from __future__ import annotations

import re

from model_approval.domain.evidence import Severity
from model_approval.domain.manifest import check_path
from model_approval.validators.security_scan.bounds import at_most
from model_approval.validators.security_scan.protobuf_wire import BYTES, Field, WireReader
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.windows import BLOCK_BYTES

_CUSTOM = Rule("coreml.custom", Severity.MEDIUM, "export the model with Core ML's own layers")
_OUTSIDE = Rule("coreml.external-data", Severity.CRITICAL, "keep the weights inside of the package")
_DESCRIPTIONS = 10
"""Fields up to this one describe a model, each later one is a type of model."""
_WEIGHTS = re.compile(rb"@model_path/([\x20-\x7e]{1,300}?)(?=[\x00-\x1f\x7f-\xff\"'*\xb2]|$)")
_NETWORKS, _PIPELINES, _CUSTOM_MODEL, _PROGRAM = {303, 403, 500}, {200, 201, 202}, 555, 502
_MODELS = {
    300, 301, 302, 400, 401, 402, 404, 501, 556, 560, 600, 601, 602, 603, 604, 606, 607, 609, 610, 900,
    2000, 2001, 2002, 2003, 2004, 2005, 2006, 3000,
}  # fmt: skip
_CUSTOM_LAYER = 500
_MAX_DEPTH = 8


class CoremlScanner:
    """Scans `coreml`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk the model. Raises Uncovered for fields that the format does not have."""
        reader = WireReader(blob.stream, blob.size_bytes)
        if _is_saved_model(reader, blob.size_bytes):
            from model_approval.validators.security_scan.tensorflow_graphs import TensorflowScanner

            TensorflowScanner().scan(blob, scan)
            return
        _scan_model(blob, scan, reader, Field(0, BYTES, 0, 0, blob.size_bytes), 0)
        _note_weights(blob, scan)


def _is_saved_model(reader: WireReader, size_bytes: int) -> bool:
    """Whether TensorFlow would find a graph: fields 2 to 9 of what stands second, none of which Core ML has there."""
    return any(
        2 <= part.number <= 9
        for field in at_most(reader.fields(0, size_bytes), "fields")
        if field.number == 2 and field.wire == BYTES
        for part in at_most(reader.fields(field.begin, field.end), "fields")
    )


def _scan_model(blob: Blob, scan: FileScan, reader: WireReader, model: Field, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise Uncovered(f"pipelines nested deeper than {_MAX_DEPTH} levels")
    kinds = 0
    for field in at_most(reader.fields(model.begin, model.end), "fields"):
        kinds += field.number > _DESCRIPTIONS
        if field.number in _NETWORKS:
            _scan_layers(blob, scan, reader, field)
        elif field.number in _PIPELINES:
            _scan_pipeline(blob, scan, reader, field, depth)
        elif field.number == _CUSTOM_MODEL:
            _report_custom(blob, scan, "a model", field.begin)
        elif field.number not in _MODELS | {1, 2, 10, _PROGRAM}:
            raise Uncovered(f"a model of type {field.number}, which is not known")
    if kinds != 1:  # what is read as something else may begin like one
        raise Uncovered(f"a Core ML model of {kinds} types, where it must be of one")


def _scan_pipeline(blob: Blob, scan: FileScan, reader: WireReader, pipeline: Field, depth: int) -> None:
    """Its models are field 1; a pipeline that classifies wraps another pipeline in field 1."""
    for field in at_most(reader.fields(pipeline.begin, pipeline.end), "models"):
        if field.number != 1 or field.wire != BYTES:
            continue
        if pipeline.number == 202:
            _scan_model(blob, scan, reader, field, depth + 1)
        else:
            _scan_pipeline(blob, scan, reader, field._replace(number=202), depth + 1)


def _scan_layers(blob: Blob, scan: FileScan, reader: WireReader, network: Field) -> None:
    for layer in at_most(reader.fields(network.begin, network.end), "layers", 200_000):
        if layer.number == 1 and layer.wire == BYTES:
            custom = next(
                (part for part in reader.fields(layer.begin, layer.end) if part.number == _CUSTOM_LAYER), None
            )
            if custom:
                _report_custom(blob, scan, "a layer", custom.begin)


def _report_custom(blob: Blob, scan: FileScan, what: str, offset: int) -> None:
    message = f"{what} of the sender's own: it runs code that the app must bring along"
    scan.add(blob, _CUSTOM, message, subject=what, offset=offset)
    scan.gap(f"what {what} of the sender's own does")


def _note_weights(blob: Blob, scan: FileScan) -> None:
    folder = blob.path.rsplit("/", 1)[0] + "/" if "/" in blob.path else ""
    found: set[str] = set()
    blob.stream.seek(0)
    rest = b""
    while block := blob.stream.read(BLOCK_BYTES):
        found |= {match[1].decode() for match in _WEIGHTS.finditer(rest + block)}
        rest = block[-400:]
    for path in sorted(found):
        try:
            check_path(path)
        except ValueError as err:
            scan.add(blob, _OUTSIDE, f"weights would be read from outside of the package: {err}", subject=path)
            continue
        if folder + path in scan.paths and not blob.inner:
            scan.references.add(folder + path)
