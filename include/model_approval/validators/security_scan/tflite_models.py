"""TensorFlow Lite: operators that need foreign code, indices that lead out of the model, bytes that nothing owns.

Table and field numbers are those of `schema.fbs` of TensorFlow 2.21.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import IO, cast

from model_approval.domain.evidence import Severity
from model_approval.domain.manifest import check_path
from model_approval.validators.security_scan import tensorflow_operators
from model_approval.validators.security_scan.flatbuffer import FlatReader, Table
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.windows import window
from model_approval.validators.security_scan.zip_directory import Entry, has_directory, read_directory
from model_approval.validators.security_scan.zip_members import MemberReader, Method

_ADVICE = "convert the model with TensorFlow Lite's own operators"
_CUSTOM = Rule("tflite.custom-operator", Severity.HIGH, _ADVICE)
_ADDED = Rule("tflite.added-operator", Severity.MEDIUM, _ADVICE)
_FLEX = Rule("tflite.flex-operator", Severity.MEDIUM, _ADVICE)
_BOUNDS = Rule("tflite.bounds", Severity.HIGH, "convert the model anew")
_OUTSIDE = Rule("tflite.external-data", Severity.CRITICAL, "keep tensor data beside the model")
_CUSTOM_CODE = 32
_MAX_BUILTIN = 400
_MAX_PADDING = 64
_DISTRIBUTED = frozenset(
    {
        "TFLite_Detection_PostProcess", "Mfcc", "AudioSpectrogram", "Convolution2DTransposeBias", "MaxPoolWithArgmax2D",
        "MaxPoolingWithArgmax2D", "MaxUnpooling2D", "NumericVerify", "RandomUniform", "RandomStandardNormal",
        "Multinomial", "Irfft2d", "Rfft2d", "Roll", "Dilate", "AvgPool3D", "MaxPool3D", "HashtableV2", "Atan2", "Sign",
        "Resampler", "Decode", "UnsortedSegmentProd", "SignalRfft", "SignalWindow", "SignalFilterBank", "SignalEnergy",
        "SignalPCAN", "SignalFFTAutoScale", "SignalFilterBankLog", "SignalFilterBankSpectralSubtraction",
        "SignalFilterBankSquareRoot", "SignalFramer", "SignalOverlapAdd", "SignalStacker", "SignalDelay", "SignalIrfft",
        "DecodeJpeg", "TFSentencepieceTokenizeOp", "ResourceEmbeddingLookup",
    }
)  # fmt: skip
"""Custom operators that TensorFlow Lite and its Micro and support libraries bring themselves."""
_FILE_OPERATORS = frozenset(
    {
        "Save", "SaveV2", "SaveSlices", "Restore", "RestoreV2", "RestoreSlice", "MergeV2Checkpoints",
        "InitializeTableFromTextFile", "InitializeTableFromTextFileV2",
    }
)  # fmt: skip
"""A SavedModel needs them to load itself; in a TensorFlow Lite model they reach files while it serves."""
_ADDED_PREFIXES = (
    "TFText>",
    "tftext:",
    "TFSentencepiece",
    "Mediapipe",
    "edgetpu-custom-op",
    "ethos-u",
    "vx-delegate",
    "stablehlo.",
)
_ADDED_NAMES = frozenset(
    {
        "TransformTensorBilinear", "TransformLandmarks", "Landmarks2TransformMatrix", "NgramHash", "NGramHash",
        "AlignmentPointsToTransformMatrix", "KmeansEmbeddingLookup", "LayerNormLstm", "CaseFoldUTF8WithOffsets",
        "WhitespaceTokenizeWithOffsetsV2", "WordpieceTokenizeWithOffsets", "RaggedTensorToTensor", "Normalize",
        "ExtractFeatures", "Predict", "SubwordTokenizer", "SentencepieceTokenizeOp", "SentencepieceOp",
        "odml.detokenize", "SplitToSequence",
    }
)  # fmt: skip
"""Published ones of other libraries, which the serving program must bring."""


@dataclass
class _Model:
    blob: Blob
    scan: FileScan
    reader: FlatReader
    codes: int = 0
    buffers: int = 0
    custom: set[str] = field(default_factory=set)

    def bounds(self, message: str, subject: str) -> None:
        self.scan.add(self.blob, _BOUNDS, f"{message}: a reader that trusts this is overrun", subject=subject)


class TfliteScanner:
    """Scans `tflite`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Read all tables, and what is appended. Raises Uncovered for damage and for bytes that nothing owns."""
        reader = FlatReader(blob.stream, blob.size_bytes)
        model = _Model(blob, scan, reader)
        try:
            _read(model, reader.root())
        except ValueError as err:
            raise Uncovered(f"damaged: {err}") from err
        finally:
            _judge_operators(model)
        _check_rest(model)


def _read(model: _Model, root: Table) -> None:
    for code in root.tables(1):
        _read_code(model, code)
    for buffer in root.tables(4):
        model.buffers += 1
        _read_buffer(model, buffer)
    for graph in root.tables(2):
        _read_graph(model, graph)
    root.text(3)
    root.vector(5, 4)
    for entry in root.tables(6):
        entry.text(0)
        _require_index(model, entry.number(1, 4), model.buffers, "metadata buffer")
    for signature in root.tables(7):
        _read_signature(signature)
    for group in root.tables(8):  # external_buffer_groups: files beside the model
        _check_group(model, group.text(0))


def _read_code(model: _Model, code: Table) -> None:
    model.codes += 1
    builtin = max(code.number(0, 1, signed=True), code.number(3, 4, signed=True))
    name = code.text(1)
    if builtin == _CUSTOM_CODE or (name and builtin == 0):
        model.custom.add(name)
    elif not 0 <= builtin <= _MAX_BUILTIN:
        model.bounds(f"there is no built-in operator {builtin}", f"builtin {builtin}")


def _read_signature(signature: Table) -> None:
    signature.text(2)
    for place in (0, 1):
        for named in signature.tables(place):
            named.text(0)


def _read_buffer(model: _Model, buffer: Table) -> None:
    buffer.vector(0, 1)
    offset, size = buffer.number(1, 8), buffer.number(2, 8)
    if offset <= 1:  # 0 and 1 mean that there is none
        return
    if offset + size > model.blob.size_bytes:
        model.bounds(f"a buffer of {size} bytes begins at byte {offset}", "buffer")
    else:
        model.reader.account(offset, size)


def _read_graph(model: _Model, graph: Table) -> None:
    tensors = 0
    for tensor in graph.tables(0):
        tensors += 1
        _read_tensor(model, tensor)
    for place in (1, 2):
        for index in graph.numbers(place, 4):
            _require_index(model, index, tensors, "tensor")
    for operator in graph.tables(3):
        _read_operator(model, operator, tensors)
    graph.text(4)


def _read_tensor(model: _Model, tensor: Table) -> None:
    shape = tensor.numbers(0, 4)
    if any(size < -1 for size in shape):
        model.bounds(f"a tensor has the shape {shape[:8]}", "shape")
    _require_index(model, tensor.number(2, 4), model.buffers, "buffer")
    tensor.text(3)
    tensor.vector(7, 4)
    for quantised in tensor.table(4):
        for place, width in ((0, 4), (1, 4), (2, 4), (3, 8)):
            quantised.vector(place, width)


def _read_operator(model: _Model, operator: Table, tensors: int) -> None:
    _require_index(model, operator.number(0, 4), model.codes, "operator code")
    operator.vector(5, 1)
    for place in (1, 2, 8):
        for index in operator.numbers(place, 4):
            if index != -1:  # an input that is left out
                _require_index(model, index, tensors, "tensor")


def _require_index(model: _Model, index: int, count: int, what: str) -> None:
    if not 0 <= index < count:
        model.bounds(f"{what} {index} is used, there are {count}", f"{what} {index}")


def _check_group(model: _Model, name: str) -> None:
    try:
        check_path(name)
    except ValueError as err:
        message = f"tensor data would be read from outside of the model's folder: {err}"
        model.scan.add(model.blob, _OUTSIDE, message, subject=name)
        return
    model.scan.gap(f"tensor data in {name[:100]!r}, which is not compared with the model")


def _judge_operators(model: _Model) -> None:
    for name in sorted(model.custom):
        message = f"the custom operator {name!r} runs only with native code that the serving program brings"
        if name.startswith("Flex"):
            plain = name.removeprefix("Flex")
            before = len(model.scan.findings)
            tensorflow_operators.judge_operator(model.blob, model.scan, plain, offset=None, functions=frozenset())
            if len(model.scan.findings) == before:
                model.scan.add(model.blob, _FLEX, f"the operator {name} runs in TensorFlow itself", subject=name)
            if plain in _FILE_OPERATORS:
                model.scan.gap(f"which files the operator {name} reaches")
        elif name in _ADDED_NAMES or name.startswith(_ADDED_PREFIXES):
            model.scan.add(model.blob, _ADDED, message, subject=name)
            model.scan.gap(f"what the operator {name[:100]} does is not known")
        elif name not in _DISTRIBUTED:
            model.scan.add(model.blob, _CUSTOM, message, subject=name)


def _check_rest(model: _Model) -> None:
    """What follows: padding, or the archive in which TensorFlow Lite keeps labels and vocabularies."""
    blob, end = model.blob, model.reader.end
    if has_directory(blob.stream, blob.size_bytes):
        _scan_associated(model, end)
        return
    blob.stream.seek(end)
    if blob.size_bytes - end >= _MAX_PADDING or blob.stream.read().strip(b"\0"):
        raise Uncovered(f"{blob.size_bytes - end} bytes follow that belong to nothing in the model")


def _scan_associated(model: _Model, end: int) -> None:
    blob, scan = model.blob, model.scan
    directory = read_directory(blob.stream, blob.size_bytes)
    start = min((entry.at for entry in directory.entries), default=directory.start)
    if not end <= start < end + _MAX_PADDING:
        scan.gap(f"the archive behind the model begins at byte {start}, the model ends at {end}")
    for clash in directory.clashes:
        scan.gap(f"the archive behind the model: {clash.what}")
    for begin, stop in directory.strays:
        scan.gap(f"bytes {begin} to {stop} belong to no member of the archive behind the model")
    for entry in directory.entries:
        _scan_member(model, entry)


def _scan_member(model: _Model, entry: Entry) -> None:
    try:
        check_path(entry.name)
    except ValueError as err:
        message = f"an associated file would be unpacked outside of its folder: {err}"
        model.scan.add(model.blob, _OUTSIDE, message, subject=entry.name)
    if entry.is_encrypted or not entry.data_at:
        model.scan.gap(f"{entry.name[:100]!r} in the archive behind the model cannot be read")
    elif entry.method == Method.STORED:
        stream = window(model.blob.stream, entry.data_at, entry.compressed_bytes)
        model.scan.unpack(model.blob, entry.name, stream)
    else:
        source = cast("IO[bytes]", MemberReader(model.blob.stream, entry))
        model.scan.unpack(model.blob, entry.name, source)
