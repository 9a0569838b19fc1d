"""The messages of an ONNX file, field by field, as in `onnx.proto` of ONNX 1.23, and its domains of operators."""

from __future__ import annotations

from model_approval.validators.security_scan.protobuf_wire import Schema, Spec

_NUMBER, _BYTES, _TEXT, _LENGTH = Spec("number"), Spec("bytes"), Spec("text"), Spec("length")
_MANY_BYTES, _SCALARS = Spec("bytes", repeated=True), Spec("scalars", repeated=True)


def _many(message: str) -> Spec:
    return Spec(message, repeated=True)


SCHEMA: Schema = {
    "Model": {
        1: _NUMBER, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _NUMBER, 6: _BYTES, 7: Spec("Graph"), 8: _MANY_BYTES,
        14: _MANY_BYTES, 20: _many("Training"), 25: _many("Function"), 26: _MANY_BYTES,
    },
    "Graph": {
        1: _many("Node"), 2: _BYTES, 5: _many("Tensor"), 10: _BYTES, 11: _MANY_BYTES, 12: _MANY_BYTES, 13: _MANY_BYTES,
        14: _MANY_BYTES, 15: _many("Sparse"), 16: _MANY_BYTES,
    },
    "Node": {
        1: _MANY_BYTES, 2: _MANY_BYTES, 3: _BYTES, 4: _TEXT, 5: _many("Attribute"), 6: _BYTES, 7: _TEXT, 8: _BYTES,
        9: _MANY_BYTES, 10: _MANY_BYTES,
    },
    "Attribute": {
        1: _TEXT, 2: _NUMBER, 3: _NUMBER, 4: Spec("head"), 5: Spec("Tensor"), 6: Spec("Graph"), 7: _SCALARS,
        8: _SCALARS, 9: _MANY_BYTES, 10: _many("Tensor"), 11: _many("Graph"), 13: _BYTES, 14: _BYTES, 15: _MANY_BYTES,
        20: _NUMBER, 21: _BYTES, 22: Spec("Sparse"), 23: _many("Sparse"),
    },
    "Tensor": {
        1: Spec("numbers", repeated=True), 2: _NUMBER, 3: _BYTES, 4: _SCALARS, 5: _SCALARS, 6: _MANY_BYTES, 7: _SCALARS,
        8: _TEXT, 9: _LENGTH, 10: _SCALARS, 11: _SCALARS, 12: _BYTES, 13: _many("External"), 14: _NUMBER,
        16: _MANY_BYTES,
    },
    "External": {1: _TEXT, 2: _TEXT},
    "Sparse": {1: Spec("Tensor"), 2: Spec("Tensor"), 3: _SCALARS},
    "Function": {
        1: _TEXT, 4: _MANY_BYTES, 5: _MANY_BYTES, 6: _MANY_BYTES, 7: _many("Node"), 8: _BYTES, 9: _MANY_BYTES,
        10: _TEXT, 11: _many("Attribute"), 12: _MANY_BYTES, 13: _BYTES, 14: _MANY_BYTES,
    },
    "Training": {1: Spec("Graph"), 2: Spec("Graph"), 3: _MANY_BYTES, 4: _MANY_BYTES},
}  # fmt: skip
"""`bytes` are names, types, shapes and documentation, in which nothing runs."""

BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64, 15: 128, 16: 16,
    17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
"""Bits of one value of each `TensorProto.DataType`; 8 (strings) has no raw form."""

STANDARD_DOMAINS = frozenset(
    {
        "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft",
        "com.microsoft.nchwc", "com.microsoft.experimental", "com.ms.internal.nhwc",
    }
)  # fmt: skip
"""What ONNX Runtime serves without further libraries, besides the default domain."""
ADDED_DOMAINS = frozenset(
    {
        "ai.onnx.contrib", "org.pytorch.aten", "org.pytorch._caffe2", "trt.plugins", "com.nvidia",
        "com.microsoft.mlfeaturizers", "com.microsoft.dml", "com.microsoft.extensions", "mmdeploy", "mmcv", "com.amd",
        "com.xilinx", "vitis.customop", "com.qualcomm", "com.qti.aisw",
    }
)  # fmt: skip
"""Operators of published runtime extensions: they need a library that somebody installed beside the runtime."""
FOREIGN_CODE = frozenset(
    {"PyOp", "PyCustomOp", "PythonOp", "PythonOpGrad", "TritonOp", "ExternalFunction", "ExternalCustomOp"}
)
"""Operators that call into Python or another library, in whichever domain they are registered."""
ATEN = frozenset({"ATen", "ATenGrad", "TorchEmbedding"})
"""Operators of the runtime's own domain that call any of torch's by name."""
