"""Files that list a model's parts by class or by file: diffusers, Sentence Transformers, sharded weights, TF.js."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from pydantic import JsonValue

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.config_values import Trouble
from model_approval.validators.security_scan.scan import FileScan, Rule

_CLASS = Rule("config.class", Severity.HIGH, "use the classes of the library itself")
_PICKLED = Rule("config.pickled-shard", Severity.MEDIUM, "save the weights as safetensors")
_MISSING = Rule("config.missing-shard", Severity.MEDIUM, "put all shards into the artifact")
_PIPELINE_LIBRARIES = frozenset(
    {"diffusers", "transformers", "onnxruntime", "optimum", "k_diffusion", "controlnet_aux", "peft", "tokenizers"}
)
_PIPELINES = ("stable_diffusion", "deepfloyd", "kandinsky", "latent_", "semantic_", "wuerstchen", "flux", "sana")
"""Folders of the library with classes of their own."""
_SENTENCE_PACKAGES = ("sentence_transformers.", "pylate.models.")


def judge_index(path: str, document: JsonValue, scan: FileScan) -> Iterator[Trouble]:
    """Judge a document that by its name is an index of parts."""
    name = PurePosixPath(path).name.lower()
    if name == "model_index.json" and isinstance(document, dict):
        yield from _pipeline(document, scan)
    elif name == "modules.json" and isinstance(document, list):
        yield from _modules(document)
    elif name.endswith(".index.json") and isinstance(document, dict):
        yield from _shards(document.get("weight_map"), path, scan)


def _pipeline(document: dict[str, JsonValue], scan: FileScan) -> Iterator[Trouble]:
    """A diffusers pipeline, `part: [library, class]`: another library is a module or folder of the artifact."""
    for part, value in document.items():
        if not isinstance(value, list) or len(value) != 2 or not isinstance(value[0], str):
            continue
        library = value[0].split(".")[0]
        has_code = any(path == f"{library}.py" or path.endswith(f"/{library}.py") for path in scan.paths)
        if part == "_class_name" or has_code:
            yield Trouble(
                _CLASS, f"{part!r} is loaded from the module {value[0]!r} of the artifact", f"{part} {value[0]}"
            )
        elif library not in _PIPELINE_LIBRARIES and not library.startswith(
            ("stable_diffusion", "deepfloyd", "kandinsky")
        ):
            message = (
                f"{part!r} is loaded by {plain_line('.'.join(map(str, value)), limit=200)!r}, which we do not know"
            )
            rule = Rule(_CLASS.id, Severity.MEDIUM, _CLASS.advice)
            yield Trouble(rule, message, f"{part} {library}", unknown=f"what {library!r} does is not known")


def _modules(document: list[JsonValue]) -> Iterator[Trouble]:
    for item in document:
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and not kind.startswith(_SENTENCE_PACKAGES):
            yield Trouble(_CLASS, f"loading imports {kind!r}, which is none of the library's own modules", kind)


def _shards(shards: JsonValue, path: str, scan: FileScan) -> Iterator[Trouble]:
    if not isinstance(shards, dict):
        return
    names = sorted({value for value in shards.values() if isinstance(value, str)})
    folder = PurePosixPath(path).parent
    for name in names[:2000]:
        if name.endswith((".pkl", ".pickle")):
            yield Trouble(_PICKLED, f"a shard is pickled: {name!r}", name)
        if scan.paths and len(scan.paths) > 1 and str(folder / name) not in scan.paths and ".." not in name:
            yield Trouble(_MISSING, f"the shard {name!r} is not part of the artifact: a loader may fetch it", name)
