"""MLflow's `MLmodel`: which code its flavours run when the model is loaded."""

from __future__ import annotations

from collections.abc import Iterable

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule
from model_approval.validators.security_scan.yaml_leaves import Leaf

_ADVICE = "log the model with one of MLflow's own flavours, in the library's own file format"
_LOADER = Rule("mlflow.loader-module", Severity.HIGH, _ADVICE)
_CODE_PATH = Rule("mlflow.code", Severity.HIGH, _ADVICE)
_FROM_CODE = Rule("mlflow.model-from-code", Severity.HIGH, _ADVICE)
_PATH = Rule("mlflow.path", Severity.HIGH, "name files inside of the model's folder")
_REMOTE = Rule("mlflow.remote", Severity.MEDIUM, "put what is needed into the artifact")
_FLAVOR = Rule("mlflow.flavor", Severity.MEDIUM, _ADVICE)
_PYTHON_MODEL = Rule("mlflow.python-model", Severity.MEDIUM, _ADVICE)

_FLAVORS = frozenset(
    {
        "python_function", "sklearn", "pytorch", "tensorflow", "keras", "xgboost", "lightgbm", "catboost", "onnx",
        "spacy", "statsmodels", "prophet", "pmdarima", "transformers", "sentence_transformers", "h2o", "spark",
        "paddle",
        "fastai", "mleap", "johnsnowlabs", "diviner", "promptflow", "langchain", "openai", "llama_index", "dspy",
        "pyfunc", "gluon",
    }
)  # fmt: skip
_LOADERS = frozenset(
    {
        *(f"mlflow.{flavor}" for flavor in _FLAVORS), "mlflow.pyfunc.model", "mlflow.dspy.load", "mlflow.keras.load",
        "mlflow.langchain.model", "mlflow.pyfunc.loaders.chat_model", "mlflow.pyfunc.loaders.chat_agent",
        "mlflow.pyfunc.loaders.responses_agent", "mlflow.pyfunc.loaders.code_model", "mlflow.openai.model",
    }
)  # fmt: skip
_PATHS = frozenset(
    {"data", "model_path", "pickled_model", "model_data", "env", "python_model", "code", "saved_model_dir", "xgb_model",
     "lgb_model", "cb_model", "keras_model", "model_code_path", "saved_input_example_info", "artifact_path", "config"}
)  # fmt: skip
"""Keys whose values are file names relative to the model's folder."""


def check_mlmodel(values: Iterable[Leaf], blob: Blob, scan: FileScan) -> None:
    """Judge an `MLmodel` by its values."""
    unknown: set[str] = set()
    for leaf in values:
        match leaf.path:
            case ("flavors", flavor, *rest):
                if flavor not in _FLAVORS and flavor not in unknown:
                    unknown.add(flavor)
                    _report(_FLAVOR, f"{flavor!r} is none of MLflow's own flavours", leaf, blob, scan, flavor)
                    scan.gap(f"what the flavour {plain_line(flavor, limit=60)!r} loads is not known")
                _judge(leaf, rest, blob, scan)
            case _:
                pass


def _judge(leaf: Leaf, rest: list[str], blob: Blob, scan: FileScan) -> None:
    key = next((part for part in reversed(rest) if not part.isdigit()), "")
    if leaf.is_alias:
        scan.gap(f"line {leaf.line}: an alias in an MLmodel, which is not followed")
    elif key == "loader_module" and leaf.value not in _LOADERS:
        message = f"loading imports {leaf.value!r} and calls it, which is none of MLflow's own loaders"
        _report(_LOADER, message, leaf, blob, scan)
    elif key == "code" and leaf.value not in ("", "null", "~"):
        message = f"loading puts the folder {leaf.value!r} of the artifact first on Python's path and runs code from it"
        _report(_CODE_PATH, message, leaf, blob, scan)
    elif key == "model_code_path" and leaf.value not in ("", "null", "~"):
        _report(_FROM_CODE, f"loading runs the program {leaf.value!r}", leaf, blob, scan)
    elif key == "python_model":
        message = f"loading unpickles {leaf.value!r}, a Python object that was pickled with its code"
        _report(_PYTHON_MODEL, message, leaf, blob, scan)
    is_own = "model_config" not in rest and "metadata" not in rest and key != "uri"
    if is_own and (key in _PATHS or "artifacts" in rest or "env" in rest):
        _judge_path(leaf, key, blob, scan)


def _judge_path(leaf: Leaf, key: str, blob: Blob, scan: FileScan) -> None:
    value = leaf.value.strip()
    if "://" in value:
        _report(_REMOTE, f"{key!r} is {value!r}: loading fetches from there", leaf, blob, scan)
    elif value.startswith(("/", "~", "\\")) or ".." in value.replace("\\", "/").split("/") or value[1:3] == ":\\":
        _report(_PATH, f"{key!r} is {value!r}, which lies outside of the model's folder", leaf, blob, scan)


def _report(rule: Rule, message: str, leaf: Leaf, blob: Blob, scan: FileScan, subject: str = "") -> None:
    scan.add(blob, rule, message, subject=subject or plain_line(leaf.value, limit=200), line=leaf.line)
