"""The folder as a whole: what names promise against what the bytes are, and names that tools act upon.

Every file has a name of a known kind, or it is reported. What is in a file is the scanners' business.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from model_approval.domain.evidence import Finding, Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.scan import FileScan, Rule

_ADVICE = "remove it from the artifact"
_RENAME = "give the file the name of its format, or save it in the format of its name"
_DISGUISED_CODE = Rule("folder.disguised", Severity.HIGH, _RENAME)
_DISGUISED = Rule("folder.disguised", Severity.MEDIUM, _RENAME)
_INVISIBLE = Rule("folder.invisible-name", Severity.HIGH, "name the file with letters that show")
_DOUBLE = Rule("folder.double-suffix", Severity.HIGH, _RENAME)
_DOUBLE_DATA = Rule("folder.double-suffix", Severity.MEDIUM, _RENAME)
_RUN = Rule("folder.run-by-tools", Severity.HIGH, _ADVICE)
_READ = Rule("folder.read-by-tools", Severity.MEDIUM, _ADVICE)
_SHADOW = Rule("folder.shadow", Severity.CRITICAL, "remove it; Python would import it instead of the library")
_HIDDEN = Rule("folder.hidden", Severity.LOW, _ADVICE)

_PACKED = frozenset({"gzip", "zlib", "bzip2", "xz", "lzma", "lz4", "zstd", "zip"})
_PROMISES: dict[str, frozenset[str]] = {
    ".json": frozenset({"json"}),
    ".jsonl": frozenset({"jsonl"}),
    ".yaml": frozenset({"yaml"}),
    ".yml": frozenset({"yaml"}),
    ".md": frozenset({"markdown"}),
    ".csv": frozenset({"csv"}),
    ".tsv": frozenset({"csv"}),
    ".txt": frozenset({"text", "lightgbm"}),
    ".xml": frozenset({"xml", "openvino"}),
    ".ipynb": frozenset({"notebook"}),
    ".safetensors": frozenset({"safetensors"}),
    ".onnx": frozenset({"onnx"}),
    ".npy": frozenset({"npy"}),
    ".npz": frozenset({"zip"}),
    ".gguf": frozenset({"gguf"}),
    ".tflite": frozenset({"tflite"}),
    ".h5": frozenset({"hdf5"}),
    ".hdf5": frozenset({"hdf5"}),
    ".keras": frozenset({"zip", "hdf5"}),
    ".parquet": frozenset({"parquet"}),
    ".pt": _PACKED | {"torch", "pickle", "tar", "safetensors"},
    ".pth": _PACKED | {"torch", "pickle", "tar", "safetensors"},
    ".ckpt": _PACKED | {"torch", "pickle", "tar", "safetensors", "hdf5", "unknown"},
    ".pkl": _PACKED | {"pickle", "torch"},
    ".pickle": _PACKED | {"pickle", "torch"},
    ".joblib": _PACKED | {"pickle"},
    ".zip": frozenset({"zip", "torch"}),
    ".tar": frozenset({"tar"}),
    ".gz": frozenset({"gzip"}),
    ".7z": frozenset({"7z"}),
    ".png": frozenset({"png"}),
    ".jpg": frozenset({"jpeg"}),
    ".jpeg": frozenset({"jpeg"}),
    ".gif": frozenset({"gif"}),
    ".pdf": frozenset({"pdf"}),
}
_CAN_RUN = frozenset(
    {
        "pickle", "torch", "elf", "pe", "macho", "wasm", "bytecode", "installer", "shortcut", "ole", "script", "python",
        "template", "html", "notebook",
    }
)  # fmt: skip
_TOLD_APART = _CAN_RUN.union({"text", "unknown"}, *_PROMISES.values())
"""Kinds that a wrong name can hide; a more special kind of text under a general name is no disguise."""

_RUN_NAMES = frozenset(
    {
        "sitecustomize.py", "usercustomize.py", "conftest.py", "setup.py", "noxfile.py", "fabfile.py", "tasks.py",
        "dockerfile", "makefile", "gnumakefile", "jenkinsfile", "vagrantfile", "procfile", "justfile", "rakefile",
        ".bashrc", ".bash_profile", ".profile", ".zshrc", ".zprofile", ".envrc", ".pythonrc", ".pythonrc.py",
        ".gdbinit",
        "crontab", "authorized_keys", "autorun.inf", ".pre-commit-config.yaml", "binding.gyp",
    }
)  # fmt: skip
_READ_NAMES = frozenset(
    {
        ".env", ".netrc", "_netrc", ".npmrc", ".pypirc", ".condarc", "pip.conf", "pip.ini", ".gitconfig", ".gitmodules",
        ".dockercfg", "credentials", "id_rsa", "id_ed25519", "kaggle.json", "pyproject.toml", "setup.cfg", "tox.ini",
        "pytest.ini", "package.json", "docker-compose.yml", "docker-compose.yaml", "kubeconfig",
        ".htaccess", "entry_points.txt",
        ".htpasswd",
    }
)  # fmt: skip
_RUN_FOLDERS = frozenset(
    {
        ".git",
        ".github",
        ".gitlab",
        ".vscode",
        ".idea",
        ".devcontainer",
        ".claude",
        ".cursor",
        ".husky",
        ".circleci",
        ".direnv",
    }
)
_READ_FOLDERS = frozenset({".ssh", ".aws", ".azure", ".docker", ".kube", ".gnupg", ".config"})
_FINE_HIDDEN = frozenset(
    {".gitattributes", ".gitignore", ".gitkeep", ".keep", ".cache", ".huggingface", ".hfignore", ".dockerignore",
     ".editorconfig", ".ds_store", ".msc", ".mdl", ".mv", ".locks", ".no_exist"}
)  # fmt: skip
_LIBRARIES = frozenset(
    {"torch", "numpy", "scipy", "sklearn", "pandas", "transformers", "tensorflow", "keras", "onnx", "onnxruntime",
     "mlflow", "cloudpickle", "joblib", "dill", "safetensors", "xgboost", "lightgbm", "yaml", "requests", "pydantic"}
)  # fmt: skip
_DATA_SUFFIXES = frozenset({".csv", ".txt", ".json", ".md", ".yaml", ".yml", ".log", ".tsv"})
_MODEL_SUFFIXES = frozenset(
    {".safetensors", ".onnx", ".gguf", ".h5", ".npy", ".png", ".jpg", ".jpeg", ".pdf", ".tflite"}
)
_UNPICKLED_SUFFIXES = frozenset({".pkl", ".pickle", ".joblib", ".dill", ".p"})
_PROGRAM_SUFFIXES = frozenset(
    {".exe", ".dll", ".so", ".sh", ".bat", ".cmd", ".js", ".vbs", ".ps1", ".scr", ".com", ".lnk", ".hta", ".py", ".pyc",
     ".jar", ".msi", ".app", ".pif", ".wsf"}
)  # fmt: skip


def check_folder(scans: Iterable[FileScan]) -> list[Finding]:
    """Judge the names of all files; names that differ in case alone are refused with the manifest already."""
    return [finding for scan in scans for finding in _check_file(scan.path, scan.format)]


def _check_file(path: str, kind: str) -> Iterator[Finding]:
    checks = (_disguise(path, kind), _invisible(path), _double_suffix(path), _by_tools(path), _shadow(path))
    yield from (finding for finding in checks if finding)


def _finding(rule: Rule, path: str, message: str, subject: str) -> Finding:
    return Finding(
        rule=rule.id,
        severity=rule.severity,
        file=path,
        subject=plain_line(subject, limit=300),
        message=plain_line(message),
        advice=rule.advice,
    )


def _disguise(path: str, kind: str) -> Finding | None:
    """When a file is not what its suffix says; grave when what it is can run code."""
    suffix = PurePosixPath(path).suffix.lower()
    promised = _PROMISES.get(suffix)
    if promised is None or kind in promised or kind == "empty" or kind not in _TOLD_APART:
        return None
    rule = _DISGUISED_CODE if kind in _CAN_RUN else _DISGUISED
    return _finding(rule, path, f"the name ends in {suffix}, the content is {kind}", kind)


def _invisible(path: str) -> Finding | None:
    """Letters that do not show, or that turn the direction of reading around: `gpj.exe` shown as `exe.jpg`."""
    odd = [f"U+{ord(char):04X}" for char in path if unicodedata.category(char) in ("Cf", "Cc", "Co", "Zl", "Zp")]
    odd += ["a blank at an end"] if any(part != part.strip() for part in path.split("/")) else []
    if not odd:
        return None
    return _finding(_INVISIBLE, path, f"the name holds what does not show: {', '.join(odd[:5])}", odd[0])


def _double_suffix(path: str) -> Finding | None:
    suffixes = [suffix.lower() for suffix in PurePosixPath(path).suffixes[-2:]]
    if len(suffixes) < 2:
        return None
    first, last = suffixes
    is_model, is_data = first in _MODEL_SUFFIXES, first in _DATA_SUFFIXES
    if (is_model and last in _UNPICKLED_SUFFIXES) or ((is_model or is_data) and last in _PROGRAM_SUFFIXES):
        return _finding(
            _DOUBLE, path, f"the name ends in {first}{last}: it looks like {first} and is loaded as {last}", last
        )
    if is_data and last in _UNPICKLED_SUFFIXES:
        return _finding(_DOUBLE_DATA, path, f"the name ends in {first}{last}", last)
    return None


def _by_tools(path: str) -> Finding | None:
    *folders, name = path.lower().split("/")
    if name in _RUN_NAMES or not _RUN_FOLDERS.isdisjoint(folders):
        return _finding(_RUN, path, "tools run what is in a file of this name without being asked", name)
    if name in _READ_NAMES or not _READ_FOLDERS.isdisjoint(folders):
        return _finding(_READ, path, "tools take credentials or settings from a file of this name", name)
    hidden = next((part for part in (*folders, name) if part.startswith(".") and part not in _FINE_HIDDEN), None)
    return _finding(_HIDDEN, path, f"{hidden!r} is hidden from listings", hidden) if hidden else None


def _shadow(path: str) -> Finding | None:
    parts = PurePosixPath(path).parts
    is_module = parts[-1].endswith((".py", ".so", ".pyd", ".pyc"))
    name = parts[-1].split(".")[0] if parts[-1].split(".")[0] != "__init__" else "".join(parts[-2:-1])
    if not is_module or (name not in _LIBRARIES and name not in sys.stdlib_module_names):
        return None
    return _finding(_SHADOW, path, f"a module called {name!r} takes the place of the one that other code imports", name)
