"""The names that a pickle may import: data containers and tensor rebuilders that run no code of the sender's choice.

Default-deny: a deny-list is bypassed by the next forgotten module (picklescan's own issue 66, and 45 advisories), an
allow-list only by a flaw in one of these few. Change it by raising `VERSION`, which is part of the evidence.
"""

from __future__ import annotations

VERSION = "2026-11"

_BUILTINS = frozenset(
    [
        "bool",
        "bytearray",
        "bytes",
        "complex",
        "dict",
        "float",
        "frozenset",
        "int",
        "list",
        "object",
        "range",
        "set",
        "slice",
        "str",
        "tuple",
    ]
)
_TORCH_STORAGES = frozenset(
    f"{kind}Storage"
    for kind in (
        "BFloat16", "Bool", "Byte", "Char", "ComplexDouble", "ComplexFloat", "Double", "Float", "Half", "Int", "Long",
        "QInt32", "QInt8", "QUInt2x4", "QUInt4x2", "QUInt8", "Short", "Untyped",
    )
)  # fmt: skip
_TORCH_DTYPES = frozenset(
    [
        "bfloat16",
        "bool",
        "complex128",
        "complex64",
        "float16",
        "float32",
        "float64",
        "float8_e4m3fn",
        "float8_e5m2",
        "int16",
        "int32",
        "int64",
        "int8",
        "qint32",
        "qint8",
        "quint8",
        "uint8",
    ]
)
_TORCH_REBUILDERS = frozenset(
    [
        "_rebuild_parameter",
        "_rebuild_parameter_with_state",
        "_rebuild_qtensor",
        "_rebuild_sparse_tensor",
        "_rebuild_tensor",
        "_rebuild_tensor_v2",
        "_rebuild_tensor_v3",
    ]
)
_NUMPY_MULTIARRAY = frozenset({"_reconstruct", "scalar"})

ALLOWED: dict[str, frozenset[str]] = {
    "builtins": _BUILTINS,
    "__builtin__": _BUILTINS | {"long", "unicode"},
    "_codecs": frozenset({"encode"}),  # how protocol 2 writes bytes
    "collections": frozenset({"OrderedDict", "defaultdict", "deque", "Counter"}),
    "copyreg": frozenset({"_reconstructor"}),
    "copy_reg": frozenset({"_reconstructor"}),
    "datetime": frozenset({"date", "datetime", "time", "timedelta", "timezone"}),
    "decimal": frozenset({"Decimal"}),
    "fractions": frozenset({"Fraction"}),
    "numpy": frozenset({"dtype", "ndarray"}),
    "numpy.core.multiarray": _NUMPY_MULTIARRAY,
    "numpy._core.multiarray": _NUMPY_MULTIARRAY,
    "numpy.core.numeric": frozenset({"_frombuffer"}),
    "numpy._core.numeric": frozenset({"_frombuffer"}),
    "torch": _TORCH_STORAGES | _TORCH_DTYPES | {"Size", "device"},
    "torch._utils": _TORCH_REBUILDERS,
    "torch.nn.parameter": frozenset({"Parameter"}),
    "torch.storage": frozenset({"UntypedStorage", "TypedStorage"}),
    "torch.serialization": frozenset({"_get_layout"}),
}


def is_allowed(module: str, name: str) -> bool:
    """Whether a pickle may import exactly this. Dotted names (attributes of attributes) never match."""
    return name in ALLOWED.get(module, frozenset())
