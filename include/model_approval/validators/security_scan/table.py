"""Which scanner reads which format. Each is imported when the first file of its format comes along.

A format that is not here has no scanner, so its files are not covered. Formats are named by `domain.formats`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from model_approval.validators.security_scan.scan import Scanner
from model_approval.validators.security_scan.tails import OWN_TAIL, TailAware

_PACKAGE = "model_approval.validators.security_scan"
_TABLE: dict[str, tuple[str, ...]] = {
    "pickles:PickleScanner": ("pickle",),
    "zips:ZipScanner": ("zip", "torch"),
    "tars:TarScanner": ("tar",),
    "compressed:CompressedScanner": ("gzip", "bzip2", "xz", "lzma", "zlib", "zstd", "lz4"),
    "seven_zip:SevenZipScanner": ("7z",),
    "plain_models:LightGbmScanner": ("lightgbm",),
    "plain_models:CatBoostScanner": ("catboost",),
    "plain_models:XgboostBinaryScanner": ("xgboost-binary",),
    "plain_models:FastTextScanner": ("fasttext",),
    "plain_models:Word2VecScanner": ("word2vec",),
    "plain_models:SentencePieceScanner": ("sentencepiece",),
    "plain_models:MxnetScanner": ("mxnet",),
    "plain_models:PaddleTensorsScanner": ("paddle-tensors",),
    "ubjson:UbjsonScanner": ("ubjson",),
    "messagepack:MessagePackScanner": ("msgpack",),
    "openvino:OpenvinoScanner": ("openvino",),
    "coreml:CoremlScanner": ("coreml",),
    "columnar:ParquetScanner": ("parquet", "feather"),
    "columnar:ArrowScanner": ("arrow", "arrow-stream"),
    "r_data:RDataScanner": ("r-data",),
    "paddle:PaddleScanner": ("paddle-program",),
    "arrays:NumpyScanner": ("npy",),
    "tensors:SafetensorsScanner": ("safetensors",),
    "onnx_models:OnnxScanner": ("onnx",),
    "gguf_models:GgufScanner": ("gguf",),
    "tflite_models:TfliteScanner": ("tflite",),
    "hdf5_files:Hdf5Scanner": ("hdf5",),
    "tensorflow_graphs:TensorflowScanner": ("saved_model", "tf_graph", "tf_metagraph", "keras_metadata"),
    "tensorflow_graphs:TensorflowTextScanner": ("pbtxt",),
    "tensorflow_graphs:FingerprintScanner": ("tf_fingerprint",),
    "tensorflow_checkpoints:CheckpointScanner": ("tf_checkpoint",),
    "json_texts:JsonScanner": ("json",),
    "json_texts:JsonLinesScanner": ("jsonl",),
    "yaml_texts:YamlScanner": ("yaml",),
    "texts:TextScanner": ("text", "markdown", "csv", "empty"),
    "programs:ProgramScanner": (
        "elf", "pe", "macho", "wasm", "bytecode", "installer", "shortcut", "ole", "script", "python", "notebook",
        "html",
    ),
    "templates:TemplateScanner": ("template",),
    "markup:XmlScanner": ("xml",),
    "images:PngScanner": ("png",),
    "images:JpegScanner": ("jpeg",),
    "images:GifScanner": ("gif",),
    "images:RiffScanner": ("webp", "wav"),
    "documents:PdfScanner": ("pdf",),
    "opaque:OpaqueScanner": (
        "rar", "sqlite", "executorch", "ort", "tiff", "ogg", "flac", "tensorrt", "torch7",
    ),
    "tails:UnknownScanner": ("unknown",),
}  # fmt: skip
_BY_FORMAT = {kind: where for where, kinds in _TABLE.items() for kind in kinds}


@cache
def _scanner(where: str) -> Scanner:
    module, name = where.split(":")
    made: Scanner = getattr(import_module(f"{_PACKAGE}.{module}"), name)()
    return made


class ScannerTable(Mapping[str, Scanner]):
    """The scanner of each format, made when it is asked for."""

    def __getitem__(self, kind: str) -> Scanner:
        """The scanner of a format. Raises KeyError when there is none."""
        scanner = _scanner(_BY_FORMAT[kind])
        return scanner if kind in OWN_TAIL else TailAware(scanner)

    def __iter__(self) -> Iterator[str]:
        """The formats that have a scanner."""
        return iter(_BY_FORMAT)

    def __len__(self) -> int:
        """How many formats have a scanner."""
        return len(_BY_FORMAT)
