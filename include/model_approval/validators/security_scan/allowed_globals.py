"""The names that a pickle may import: data containers, tensor rebuilders, and the estimators of well-known libraries.

Default-deny: a deny-list is bypassed by the next forgotten module (picklescan's own issue 66, and 45 advisories), an
allow-list only by a flaw in one of these few. Four kinds of entries, from the narrowest:

- `ALLOWED`: exact names, which may also be called. Each was read: it builds data out of its arguments, no more.
- `NAMED`: exact names that may stand in a pickle but be neither called nor made: their constructors open files.
- `CLASSES`: folders of a library whose *classes* may be instantiated the way `object.__reduce_ex__` does, which sets
  attributes but runs no constructor. Functions of theirs are not allowed by it.
- `CONSTRUCTORS`: folders of a library whose classes may also be called, since their constructors only keep arguments.

Change any of it by raising `VERSION`, which is part of the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

VERSION = "2026-11.5"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BUILTINS = _names("bool bytearray bytes complex dict float frozenset int list object range set slice str tuple")
_TORCH_KINDS = (
    "BFloat16 Bool Byte Char ComplexDouble ComplexFloat Double Float Half Int Long QInt32 QInt8 QUInt2x4 QUInt4x2 "
    "QUInt8 Short Untyped"
)
_TORCH_STORAGES = frozenset(f"{kind}Storage" for kind in _TORCH_KINDS.split())
_TORCH_TENSORS = frozenset(f"{kind}Tensor" for kind in _TORCH_KINDS.split())
_TORCH_DTYPES = _names(
    "bfloat16 bool complex128 complex64 complex32 float16 float32 float64 float8_e4m3fn float8_e4m3fnuz float8_e5m2 "
    "float8_e5m2fnuz float8_e8m0fnu int16 int32 int64 int8 qint32 qint8 quint8 uint8 uint16 uint32 uint64 "
    "per_tensor_affine per_channel_affine per_channel_affine_float_qparams preserve_format contiguous_format "
    "channels_last strided sparse_coo sparse_csr"
)
_TORCH_REBUILDERS = _names(
    "_rebuild_parameter _rebuild_parameter_with_state _rebuild_qtensor _rebuild_sparse_tensor "
    "_rebuild_sparse_csr_tensor _rebuild_tensor _rebuild_tensor_v2 _rebuild_tensor_v3 _rebuild_nested_tensor "
    "_rebuild_meta_tensor_no_storage _rebuild_device_tensor_from_numpy"
)
_NUMPY_MULTIARRAY = _names("_reconstruct scalar")
_NUMPY_RANDOM = _names("__randomstate_ctor __generator_ctor __bit_generator_ctor")
_BIT_GENERATORS = _names("MT19937 PCG64 PCG64DXSM Philox SFC64")
_SPARSE = _names("csr_matrix csc_matrix coo_matrix bsr_matrix dia_matrix dok_matrix lil_matrix")
_SPARSE_MODULES = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil", "compressed", "data", "base")
_PANDAS_INDEX = _names("_new_Index Index RangeIndex Int64Index Float64Index UInt64Index MultiIndex CategoricalIndex")

ALLOWED: dict[str, frozenset[str]] = {
    "builtins": _BUILTINS | {"NotImplemented", "Ellipsis", "NoneType"},
    "__builtin__": _BUILTINS | {"basestring", "long", "unicode", "xrange"},
    "_codecs": _names("encode"),  # how protocol 2 writes bytes
    "collections": _names("OrderedDict defaultdict deque Counter ChainMap UserDict"),
    "copyreg": _names("_reconstructor __newobj__ __newobj_ex__"),
    "copy_reg": _names("_reconstructor __newobj__ __newobj_ex__"),
    "datetime": _names("date datetime time timedelta timezone"),
    "decimal": _names("Decimal Context"),
    "fractions": _names("Fraction"),
    "array": _names("_array_reconstructor array"),
    "argparse": _names("Namespace"),
    "types": _names("SimpleNamespace"),
    "pathlib": _names("PosixPath WindowsPath PurePosixPath PureWindowsPath Path PurePath"),
    "pathlib._local": _names("PosixPath WindowsPath PurePosixPath PureWindowsPath Path PurePath"),
    "re": _names("_compile"),
    "_sre": frozenset(),
    "uuid": _names("UUID SafeUUID"),
    "random": _names("Random"),
    "zoneinfo": _names("ZoneInfo._unpickle"),
    "pytz": _names("_UTC _p"),
    "numpy": _names(
        "dtype ndarray matrix bool_ int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
        "complex64 complex128 str_ bytes_ object_ void longlong ulonglong intc uintc intp uintp datetime64 timedelta64 "
        "record recarray bool int_ uint float_ double single half longdouble clongdouble generic integer floating "
        "number"
    ),
    "numpy.dtypes": frozenset(
        f"{kind}DType"
        for kind in _names(
            "Bool Int8 Int16 Int32 Int64 UInt8 UInt16 UInt32 UInt64 Float16 Float32 Float64 Complex64 Complex128 Str "
            "Bytes Object Void DateTime64 TimeDelta64 Long ULong LongLong ULongLong Int UInt LongDouble "
            "CLongDouble String"
        )
    ),
    "numpy.core.multiarray": _NUMPY_MULTIARRAY,
    "numpy._core.multiarray": _NUMPY_MULTIARRAY,
    "numpy.core.numeric": _names("_frombuffer"),
    "numpy._core.numeric": _names("_frombuffer"),
    "numpy.core.defchararray": _names("chararray"),
    "numpy.core.records": _names("recarray record"),
    "numpy.rec": _names("recarray record"),
    "numpy.ma": _names("MaskedArray _mareconstruct"),
    "numpy.ma.core": _names("_mareconstruct MaskedArray"),
    "numpy.matrixlib.defmatrix": _names("matrix"),
    "numpy.random._pickle": _NUMPY_RANDOM,
    "numpy.random": _NUMPY_RANDOM,
    **{f"numpy.random._{kind.lower()}": frozenset({kind}) for kind in _BIT_GENERATORS},
    "numpy.random.mtrand": _names("RandomState"),
    "numpy.random.bit_generator": _names("SeedSequence __pyx_unpickle_SeedSequence"),
    "ml_dtypes": _names(
        "bfloat16 float8_e4m3fn float8_e5m2 float8_e4m3b11fnuz float8_e4m3fnuz float8_e5m2fnuz int4 uint4"
    ),
    "torch": _TORCH_STORAGES | _TORCH_TENSORS | _TORCH_DTYPES | _names("Size device Tensor Generator"),
    "torch.cuda": _TORCH_STORAGES | _TORCH_TENSORS,
    "torch._utils": _TORCH_REBUILDERS,
    "torch.nn.parameter": _names("Parameter Buffer UninitializedParameter"),
    "torch.storage": _names("UntypedStorage TypedStorage _load_from_bytes"),
    "torch.serialization": _names("_get_layout"),
    "torch.jit._pickle": _names(
        "build_intlist build_tensorlist build_doublelist build_boollist build_tensor_from_id restore_type_tag"
    ),
    "joblib.numpy_pickle": _names("NumpyArrayWrapper"),
    "sklearn.externals.joblib.numpy_pickle": _names("NumpyArrayWrapper"),
    **{f"scipy.sparse.{name}": _SPARSE for name in _SPARSE_MODULES},
    **{f"scipy.sparse._{name}": _SPARSE | {f"{name}_array"} for name in _SPARSE_MODULES},
    "scipy.sparse": _SPARSE,
    "scipy.interpolate": _names("interp1d PPoly BPoly BSpline"),
    "scipy.interpolate.interpolate": _names("interp1d PPoly BPoly"),
    "scipy.interpolate._interpolate": _names("interp1d PPoly BPoly"),
    "scipy.interpolate._bsplines": _names("BSpline"),
    "pandas": _names(
        "Categorical CategoricalDtype CategoricalIndex DataFrame DatetimeIndex DatetimeTZDtype Index Interval "
        "IntervalDtype IntervalIndex MultiIndex NaT Period PeriodDtype PeriodIndex RangeIndex Series StringDtype "
        "Timedelta TimedeltaIndex Timestamp BooleanDtype Int64Dtype Float64Dtype"
    ),
    "pandas.arrays": _names(
        "ArrowStringArray BooleanArray DatetimeArray FloatingArray IntegerArray IntervalArray NumpyExtensionArray "
        "PeriodArray SparseArray StringArray TimedeltaArray ArrowExtensionArray"
    ),
    "pyarrow.lib": _names(
        "_restore_array py_buffer type_for_alias ChunkedArray chunked_array field schema list_ large_list struct "
        "dictionary timestamp decimal128 string large_string"
    ),
    "pandas._libs.internals": _names("_unpickle_block BlockManager"),
    "pandas._libs.arrays": _names("__pyx_unpickle_NDArrayBacked"),
    "pandas._libs.tslibs.timestamps": _names("_unpickle_timestamp Timestamp"),
    "pandas._libs.tslibs.timedeltas": _names("_timedelta_unpickle Timedelta"),
    "pandas._libs.tslibs.offsets": frozenset(),
    "pandas._libs.missing": _names("NAType"),
    "pandas.core.indexes.base": _PANDAS_INDEX,
    "pandas.core.indexes.numeric": _PANDAS_INDEX,
    "pandas.core.indexes.range": _PANDAS_INDEX,
    "pandas.core.indexes.datetimes": _names("_new_DatetimeIndex DatetimeIndex"),
    "pandas.core.indexes.period": _names("_new_PeriodIndex PeriodIndex"),
    "pandas.core.internals.managers": _names("BlockManager SingleBlockManager"),
    "pandas.core.internals.blocks": _names("new_block _unpickle_block"),
    "sklearn.utils": _names("Bunch"),
    "sklearn.metrics._dist_metrics": _names("newObj"),
    "sklearn.neighbors._dist_metrics": _names("newObj"),
    "sklearn.neighbors._ball_tree": _names("newObj"),
    "sklearn.neighbors._kd_tree": _names("newObj"),
    "sklearn.neighbors.dist_metrics": _names("newObj"),
    "sklearn.neighbors.kd_tree": _names("newObj"),
    "sklearn.neighbors.ball_tree": _names("newObj"),
    "nltk.probability": _names("FreqDist"),
    "torch._tensor": _names("Tensor _rebuild_from_type _rebuild_from_type_v2"),
    "dill._dill": _names("_create_array"),  # it calls its first argument, which the walk follows
}

NAMED: dict[str, frozenset[str]] = {"numpy": _names("memmap"), "numpy.core.memmap": _names("memmap")}
"""No functions among them: what is named can be called by an attribute that a state sets, such as `append`."""

_SKLEARN = _names(
    "_loss calibration cluster compose covariance cross_decomposition decomposition discriminant_analysis dummy "
    "ensemble feature_extraction feature_selection frozen gaussian_process impute isotonic kernel_approximation "
    "kernel_ridge linear_model manifold metrics mixture model_selection multiclass multioutput naive_bayes neighbors "
    "neural_network pipeline preprocessing random_projection semi_supervised svm tree utils._bunch utils._random "
    "utils.validation"
)
_OTHERS = _names(
    "torch.nn.modules torch.nn.parallel torch.nn.utils.parametrizations torch.optim torch.distributions "
    "torchvision.models torchvision.ops torchvision.transforms scipy.interpolate scipy.spatial gensim nltk.probability "
    "nltk.tokenize nltk.tag nltk.classify nltk.stem xgboost catboost lightgbm imblearn category_encoders hmmlearn "
    "sklearn_crfsuite keras_preprocessing keras.src.legacy.preprocessing mlxtend hdbscan "
    "pandas.core.arrays pandas.core.dtypes pandas.core.frame pandas.core.indexes pandas.core.internals "
    "pandas.core.series pandas.core.categorical pandas.core.index"
)
CLASSES: tuple[str, ...] = tuple(
    sorted(f"{folder}." for folder in (*(f"sklearn.{part}" for part in _SKLEARN), *_OTHERS))
)
"""Left out for what their `__setstate__` does: scipy.stats (runs a text), statsmodels (evaluates a formula), pmdarima
(reads a file), transformers' tokenizers (read a file), sklearn.callback (opens a connection)."""
CONSTRUCTORS: tuple[str, ...] = tuple(
    sorted(
        f"{folder}."
        for folder in _names(
            "pandas._libs.tslibs sklearn._loss sklearn.tree._tree sklearn.tree._criterion "
            "sklearn.tree._splitter sklearn.ensemble._gb_losses sklearn.ensemble._hist_gradient_boosting "
            "sklearn.gaussian_process.kernels sklearn.linear_model._sgd_fast sklearn.linear_model.sgd_fast "
            "sklearn.metrics._dist_metrics sklearn.metrics._pairwise_distances_reduction sklearn.neighbors._ball_tree "
            "sklearn.neighbors._kd_tree sklearn.neighbors._dist_metrics sklearn.neighbors._quad_tree "
            "sklearn.neighbors.dist_metrics sklearn.neighbors.kd_tree sklearn.neighbors.ball_tree "
            "sklearn.cluster._hdbscan sklearn.svm._liblinear sklearn.svm._libsvm sklearn.utils._bunch "
            "sklearn.utils._random sklearn.utils.murmurhash sklearn.manifold._barnes_hut_tsne sklearn.tree.tree"
        )
    )
)
_EXCLUDED = re.compile(
    r"(^|\.)(hunpos|senna|stanford\w*|tests?|_?testing|conftest|externals|datasets|_build_utils|__main__)(\.|$)"
)
_CLASS_NAME = re.compile(r"_?[A-Z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
_CYTHON_REBUILDER = re.compile(r"__pyx_unpickle_[A-Za-z0-9_]+")
CLASS_LISTED = frozenset(prefix.split(".", 1)[0] for prefix in (*CLASSES, *CONSTRUCTORS, *ALLOWED))
"""Libraries that we keep lists of."""


def is_allowed(module: str, name: str, *, called: bool, made: bool = False) -> bool:
    """Whether a pickle may import exactly this and do so with it.

    Args:
        module: As the pickle names it.
        name: In that module. Dotted names (attributes of attributes) match only where they are listed whole.
        called: Whether it is called with arguments, other than the ordinary way to make an instance.
        made: Whether an instance is made in the ordinary way.
    """
    if name in ALLOWED.get(module, ()) or (name in NAMED.get(module, ()) and not called and not made):
        return True
    if _EXCLUDED.search(module) or "." in name:
        return False
    if _lies_in(module, CONSTRUCTORS):
        return bool(_CLASS_NAME.fullmatch(name) or _CYTHON_REBUILDER.fullmatch(name))
    return not called and _lies_in(module, CLASSES) and bool(_CLASS_NAME.fullmatch(name))


def is_listed_class(module: str, name: str) -> bool:
    """Whether it is a class of a library that we know, of which not even a call runs what the pickle chooses."""
    return _lies_in(module, CLASSES) and bool(_CLASS_NAME.fullmatch(name)) and not _EXCLUDED.search(module)


def looks_like_class(name: str) -> bool:
    """Whether a name follows the convention for classes."""
    return bool(_CLASS_NAME.fullmatch(name))


def _lies_in(module: str, folders: Iterable[str]) -> bool:
    return any(f"{module}.".startswith(folder) for folder in folders)
