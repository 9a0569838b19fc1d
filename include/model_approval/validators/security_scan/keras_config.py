"""Keras configurations: what a layer, function or module named in them makes the loader import, run or read.

A Keras model is rebuilt from nested dictionaries `{"module", "class_name", "config", "registered_name"}`. Keras 3
imports the module that is named; Keras 2 looks the class up among its own and those the caller registered. So the
modules are matched against Keras's own, and classes against `names/keras_classes.txt`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.known_names import known_names
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule

_ADVICE = "save the model with Keras's own layers alone, and keep code of your own in the serving image"
_LAMBDA = Rule("keras.lambda", Severity.CRITICAL, _ADVICE)
_MODULE = Rule("keras.module", Severity.CRITICAL, _ADVICE)
_LOADER = Rule("keras.loading-layer", Severity.CRITICAL, _ADVICE)
_FILE = Rule("keras.file", Severity.HIGH, "keep the vocabulary in the model: pass a list, not a file's name")
_CUSTOM = Rule("keras.custom-object", Severity.MEDIUM, _ADVICE)
_BLOCK_BYTES = 1024**2
_MAX_CONFIG_BYTES = 32 * 1024**2
_MAX_PARTS = 2_000_000

_OWN_ROOTS = frozenset(
    {"keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "keras.src", "tf_keras.src"}
)
_OWN_PACKAGES = frozenset(
    {
        "activations", "applications", "constraints", "dtype_policies", "engine", "initializers", "layers", "losses",
        "metrics", "mixed_precision", "models", "ops", "optimizers", "quantizers", "random", "regularizers",
        "legacy_tf_layers",
    }
)  # fmt: skip
"""Parts of Keras that hold what models are made of. Others (`utils`, `saving`, `config`, `backend`) fetch and load."""
_EXTENSIONS = frozenset({"keras_hub", "keras_nlp", "keras_cv", "keras_tuner", "keras_rs", "keras_contrib"})
_FOREIGN = frozenset(
    {
        "numpy", "torch", "tensorflow", "pandas", "joblib", "dill", "cloudpickle", "scipy", "sklearn", "requests",
        "urllib3", "yaml", "fsspec", "pip", "setuptools", "IPython", "jax", "flax", "h5py", "tf", "tensorflow_hub",
        "nt", "google", "paramiko", "httpx", "aiohttp", "psutil", "pexpect", "sh", "plumbum", "invoke", "fabric",
    }
)  # fmt: skip
"""Libraries with functions that run, fetch or load; no configuration that Keras wrote names them."""
_LOADERS = {
    "TFSMLayer": "loads a SavedModel from a path when the model is read",
    "TorchModuleWrapper": "unpickles a torch module when the model is read",
    "JaxLayer": "holds a function of the sender",
    "FlaxLayer": "holds a function of the sender",
}
_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization", "IndexLookup"})
_FILE_KEYS = frozenset(
    {"vocabulary", "vocabulary_path", "vocab_file", "filepath", "file_path", "origin", "fname", "url"}
)
_OUTSIDE = re.compile(r"^([a-z][a-z0-9+.-]*://|/|~|\\\\|[a-z]:[\\/])|(^|[/\\])\.\.([/\\]|$)", re.IGNORECASE)
_MODULE_KEYS = frozenset({"module", "fn_module", "function_module"})
_REACHES_OUT = re.compile(
    r"(tensorflow\.|tf\.)?(tf_)?keras\.(src\.)?(utils(\.\w+)*\.get_file|config(\.\w+)*\.enable_unsafe_deserialization"
    r"|(saving|models)(\.\w+)*\.load_(model|weights))\b"
)
_FUNCTION_CLASSES = frozenset({"function", "builtin_function_or_method", "method"})
_SPECIALS = frozenset(
    {
        "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__", "__tuple__", "__keras_tensor__",
        "__typespec__", "slice", "tuple", "list", "dict", "set", "str", "int", "float",
    }
)  # fmt: skip
_OPERATION = re.compile(
    r"^(tf\.)?(io|raw_ops|saved_model|data|debugging|config|compat|autograph|distribute|train|test)\."
)
_OPERATION_NAMES = re.compile(
    r"(py_func|numpy_function|load_op_library|load_library|read_file|write_file|matching_files|PyFunc|ReadFile|WriteFile"
    r"|LoadLibrary|MatchingFiles)",
)


@dataclass(frozen=True)
class _Where:
    blob: Blob
    scan: FileScan
    revived: bool

    def add(self, rule: Rule, message: str, subject: str) -> None:
        self.scan.add(self.blob, rule, message, subject=subject)

    def custom(self, name: str) -> None:
        if self.revived:
            return
        self.add(_CUSTOM, f"{name!r} is none of Keras's own classes: its code comes from elsewhere", name)
        self.scan.gap(f"what the custom object {name[:100]!r} does is not known")


def looks_like_keras(document: JsonValue) -> bool:
    """Whether a JSON document describes a Keras model or layer."""
    return (
        isinstance(document, dict)
        and isinstance(document.get("class_name"), str)
        and isinstance(document.get("config"), (dict, list))
    )


def check_large_keras(blob: Blob, scan: FileScan) -> None:
    """Look into a document that is too long to be parsed in passing, when it may describe a Keras model."""
    blob.stream.seek(0)
    tail = b""
    while block := blob.stream.read(_BLOCK_BYTES):
        if b'"class_name"' in tail + block:
            break
        tail = block[-16:]
    else:
        return
    if blob.size_bytes > _MAX_CONFIG_BYTES:
        scan.gap(f"a Keras configuration of {blob.size_bytes} bytes")
        return
    blob.stream.seek(0)
    document = json.loads(blob.stream.read())
    if looks_like_keras(document):
        check_keras_config(blob, scan, document)


def check_keras_text(blob: Blob, scan: FileScan, text: str, *, revived: bool = False) -> None:
    """Parse a configuration and look into it. Raises ValueError when it is no JSON."""
    check_keras_config(blob, scan, json.loads(text), revived=revived)


def check_keras_config(blob: Blob, scan: FileScan, document: JsonValue, *, revived: bool = False) -> None:
    """Look at every object that a configuration describes.

    Args:
        blob: Where the configuration stands.
        scan: Takes findings and gaps.
        document: The parsed configuration.
        revived: It lies in a SavedModel, whose functions stand in for classes that Keras does not know.
    """
    where, seen = _Where(blob, scan, revived), set[tuple[str, str, str]]()
    for described in _objects(document, scan):
        _check_values(where, described)
        name = described.get("class_name")
        if not isinstance(name, str):
            continue
        key = (name, str(described.get("module")), str(described.get("registered_name")))
        if key not in seen or name in _LOOKUPS or name in _FUNCTION_CLASSES or name.endswith(("Lambda", "OpLayer")):
            seen.add(key)
            _check_object(where, name.strip(), described)


def _objects(document: JsonValue, scan: FileScan) -> Iterator[Mapping[str, JsonValue]]:
    pending, count = [document], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > _MAX_PARTS:
            scan.gap(f"a Keras configuration of more than {_MAX_PARTS} parts")
            return
        if isinstance(value, dict):
            yield value
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _check_object(where: _Where, name: str, described: Mapping[str, JsonValue]) -> None:
    module = described.get("module")
    package = module.strip() if isinstance(module, str) else ""
    config = described.get("config")
    plain = name.rsplit(".", 1)[-1].rsplit(">", 1)[-1]
    if plain in ("TFOpLambda", "TensorFlowOpLayer", "SlicingOpLambda", "ClassMethod", "InstanceMethod"):
        _check_operation(where, plain, config)
    elif name in _FUNCTION_CLASSES:
        if isinstance(config, str):
            _check_named(where, package, config.strip(), described)
        else:
            _check_module(where, package, package)
    elif package != "builtins" or name not in _SPECIALS:
        _check_named(where, package, name, described)


def _check_named(where: _Where, package: str, name: str, described: Mapping[str, JsonValue]) -> None:
    """Judge a class or function by where it is looked up."""
    if package and package != "builtins" and "." in name:  # Keras joins them before it looks
        package, _, name = f"{package}.{name}".rpartition(".")
    plain = name.rsplit(".", 1)[-1].rsplit(">", 1)[-1]
    if plain in ("Lambda", "__lambda__"):
        what = _lambda_kind(described.get("config"))
        where.add(_LAMBDA, f"a {what} is run when the model is read or called", plain)
    elif plain in _LOADERS:
        where.add(_LOADER, f"{plain} {_LOADERS[plain]}", plain)
    elif not package or _is_own(package) or package == "builtins":
        if package == "builtins":
            _check_module(where, package, f"{package}.{name}")
        _check_class(where, package, name, described)
    else:
        _check_module(where, package, f"{package}.{name}")


def _lambda_kind(config: JsonValue) -> str:
    function = config.get("function") if isinstance(config, dict) else None
    if isinstance(function, str) or (isinstance(function, dict) and function.get("class_name") == "function"):
        return f"Lambda layer with the named function {str(function)[:120]!r}"
    return "Lambda layer with compiled Python code"


def _check_module(where: _Where, package: str, subject: str) -> None:
    if not package or _is_own(package):
        return
    root = package.split(".", 1)[0]
    if package in ("builtins", "__main__") and subject.rsplit(".", 1)[-1] not in _DANGEROUS_BUILTINS:
        return  # `builtins` is what Keras writes for functions the caller registers; the class is judged by name
    if _is_dangerous(package) or root in ("keras", "tf_keras"):
        message = f"the configuration makes the loader import {subject!r}, which is nothing that models are made of"
        where.add(_MODULE, message, subject)
    elif root in _EXTENSIONS:
        where.scan.gap(f"what {subject[:100]!r} does is not known")
    else:
        where.custom(subject)


_DANGEROUS_BUILTINS = frozenset(
    {"eval", "exec", "compile", "open", "getattr", "setattr", "__import__", "input", "breakpoint", "globals", "vars"}
)


def _is_own(package: str) -> bool:
    """Whether a module is one of Keras's that hold parts of models: at the root itself, or in a listed package."""
    if package in _OWN_ROOTS:
        return True
    for root in sorted(_OWN_ROOTS, key=len, reverse=True):
        if package.startswith(root + "."):
            return package[len(root) + 1 :].split(".", 1)[0].removeprefix("src.") in _OWN_PACKAGES
    return False


def _check_class(where: _Where, package: str, name: str, described: Mapping[str, JsonValue]) -> None:
    if name in _SPECIALS or name in known_names("keras_classes"):
        return
    if name in _DANGEROUS_BUILTINS:
        where.add(_MODULE, f"the configuration makes the loader look up {name!r}", name)
        return
    registered = described.get("registered_name")
    label = registered if isinstance(registered, str) and registered and registered not in ("function", name) else name
    label = f"{package}.{name}" if label == name and _is_own(package) else label
    if label.rsplit(">", 1)[-1] in known_names("keras_classes") and ">" not in label:
        return
    where.custom(label)


def _check_operation(where: _Where, plain: str, config: JsonValue) -> None:
    """Layers that call any function of TensorFlow's interface, by its name."""
    inner = config if isinstance(config, dict) else {}
    named = inner.get("function") or inner.get("node_def") or inner.get("symbol") or ""
    text = named if isinstance(named, str) else json.dumps(named)
    if _OPERATION.match(text) or _OPERATION_NAMES.search(text):
        where.add(_LOADER, f"{plain} calls {text[:120]!r}, which reads, writes or runs", f"{plain} {text[:120]}")


def _check_values(where: _Where, described: Mapping[str, JsonValue]) -> None:
    """What any dictionary may say, whether or not it describes an object: modules, functions and files by name."""
    for key, value in described.items():
        if not isinstance(value, str):
            continue
        if _REACHES_OUT.match(value):
            where.add(_MODULE, f"{key!r} names {value[:120]!r}, which fetches, loads or lifts the guard", value[:120])
        elif key in _MODULE_KEYS and "class_name" not in described and _is_dangerous(value.strip()):
            where.add(_MODULE, f"{key!r} names the module {value[:120]!r}", value[:120])
    _check_files(where, described)


def _is_dangerous(package: str) -> bool:
    root = package.split(".", 1)[0]
    return root in sys.stdlib_module_names or root in _FOREIGN


def _check_files(where: _Where, described: Mapping[str, JsonValue]) -> None:
    for key in _FILE_KEYS & described.keys():
        value = described[key]
        if isinstance(value, str) and _OUTSIDE.search(value):
            message = f"{key!r} makes the loader read {value[:200]!r}, outside of the model"
            where.add(_FILE, message, f"{key} {value[:200]}")
        elif isinstance(value, str) and key == "vocabulary" and value:
            where.scan.gap(f"the vocabulary is in {value[:100]!r}, which is not looked up")
