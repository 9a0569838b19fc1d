r"""What a file is, told by its first bytes; the name decides only among kinds of plain text.

The rule against disguise: magic bytes always win over the suffix, so a pickle called `config.json` is a pickle. What
cannot be told is `unknown`, and nobody downstream treats unknown as harmless.

    >>> detect_format("weights.json", b"\x80\x04K\x01.")
    'pickle'
"""

from __future__ import annotations

import codecs
import io
import json
import pickletools
import re
from collections.abc import Callable
from pathlib import PurePosixPath

from model_approval.domain.model_formats import RECOGNISERS as _MODEL_RECOGNISERS
from model_approval.domain.protobuf_formats import RECOGNISERS as _PROTOBUF_RECOGNISERS

HEAD_BYTES = 8192
"""How much of a file's beginning the detection wants; more is ignored. A shorter head is taken for the whole file."""

UNKNOWN = "unknown"
EMPTY = "empty"

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\x93NUMPY", "npy"),
    (b"\x89HDF\r\n\x1a\n", "hdf5"),
    (b"GGUF", "gguf"),
    (b"GGML", "ggml"),
    (b"lmgg", "ggml"),
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"\x7fELF", "elf"),
    (b"\xfe\xed\xfa\xce", "macho"),
    (b"\xfe\xed\xfa\xcf", "macho"),
    (b"\xce\xfa\xed\xfe", "macho"),
    (b"\xcf\xfa\xed\xfe", "macho"),
    (b"\xca\xfe\xba\xbe", "macho"),  # also a Java class: code either way
    (b"\x00asm", "wasm"),
    (b"%PDF-", "pdf"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"GIF8", "gif"),
    (b"PAR1", "parquet"),
    (b"ARROW1", "arrow"),
    (b"SQLite format 3\x00", "sqlite"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),  # old office documents, with or without macros, and installers
    (b"!<arch>\n", "installer"),
    (b"\xed\xab\xee\xdb", "installer"),
    (b"MSCF", "installer"),
    (b"xar!", "installer"),
    (b"L\0\0\0\x01\x14\x02\0", "shortcut"),
    (b"dex\n", "bytecode"),
    (b"\x1bLua", "bytecode"),
)
_CODE_SUFFIXES = (
    ".applescript", ".awk", ".c", ".cc", ".cjs", ".cmd", ".cpp", ".cu", ".desktop", ".fish", ".go", ".groovy", ".h",
    ".hta", ".ipy", ".java", ".jl", ".jsx", ".lua", ".m", ".mjs", ".php", ".pl", ".psd1", ".psm1", ".pyw", ".pyx", ".r",
    ".rb", ".reg", ".rs", ".scala", ".scpt", ".service", ".swift", ".tcl", ".ts", ".vbe", ".vbs", ".wsf", ".zsh",
)  # fmt: skip
_TEXT_SUFFIXES = (
    ".bib", ".bpe", ".codes", ".conf", ".css", ".dict", ".env", ".in", ".labels", ".list", ".lock", ".log", ".lst",
    ".merges", ".names", ".pbtxt", ".properties", ".proto", ".prototxt", ".pth", ".sql", ".tex", ".tok", ".toml",
)  # fmt: skip
_SUFFIXES = {
    ".json": "json",
    ".sig": "json",
    ".jsonl": "jsonl",
    ".ipynb": "notebook",
    ".yaml": "yaml",
    ".yml": "yaml",
    ".md": "markdown",
    ".csv": "csv",
    ".tsv": "csv",
    ".py": "python",
    ".pyi": "python",
    ".sh": "script",
    ".bash": "script",
    ".js": "script",
    ".ps1": "script",
    ".bat": "script",
    ".jinja": "template",
    ".jinja2": "template",
    ".j2": "template",
    ".txt": "text",
    ".pbtxt": "pbtxt",
    ".rst": "text",
    ".toml": "text",
    ".ini": "text",
    ".cfg": "text",
    ".vocab": "text",
    ".xml": "xml",
    ".html": "html",
    ".htm": "html",
    ".svg": "html",
    ".cff": "yaml",
    **dict.fromkeys(_CODE_SUFFIXES, "script"),
    **dict.fromkeys(_TEXT_SUFFIXES, "text"),
}
_NAMES = {  # files that carry no suffix by convention
    "mlmodel": "yaml",
    "mlproject": "yaml",
    "registered_model_meta": "yaml",
    "readme": "text",
    "license": "text",
    "licence": "text",
    "notice": "text",
    "changelog": "text",
    "checkpoint": "pbtxt",  # names the latest of TensorFlow's
    ".gitattributes": "text",
    **dict.fromkeys(
        (
            ".condarc", ".dockerignore", ".editorconfig", ".env", ".gitignore", ".gitkeep", ".gitmodules", ".netrc",
            ".npmrc", ".pypirc", "_netrc", "_success", "authors", "citation", "codeowners", "copying", "labels",
            "merges", "modelfile", "version", "vocab",
        ),
        "text",
    ),
    **dict.fromkeys(
        ("dockerfile", "gnumakefile", "jenkinsfile", "justfile", "makefile", "procfile", "rakefile", "vagrantfile"),
        "script",
    ),
}  # fmt: skip
_HDF5 = b"\x89HDF\r\n\x1a\n"
_GRAPH_TEXT = re.compile(
    rb"(\s|#[^\n]*\n)*(saved_model_schema_version\s*:|(meta_graphs|meta_info_def|graph_def|node|library)\s*:?\s*[{<])"
)
_WITHOUT_MAGIC = frozenset(
    {UNKNOWN, "coreml", "onnx", "sentencepiece", "paddle-program", "paddle-tensors", "tf_graph", "tf_metagraph"}
)
"""What is told by the shape of its first bytes only, which another format can imitate."""
_JSON_START = frozenset('{["-0123456789tfn')
_IMPORTS_BY_STACK = frozenset({"STACK_GLOBAL", "EXT1", "EXT2", "EXT4"})
_CALLS = frozenset({"REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX"})


def detect_format(path: str, head: bytes) -> str:
    """Name the format of a file.

    Args:
        path: Relative path; only its last part and suffix are looked at, for plain text and `saved_model.pb` alone.
        head: The file's first `HEAD_BYTES` bytes, or all of it when it is shorter.

    Returns:
        A short lower-case name such as `onnx`, `safetensors`, `pickle`, `torch`, `json`; `empty`; or `unknown`.
    """
    head = head[:HEAD_BYTES]
    if not head:
        return EMPTY
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    found = next(filter(None, (recognise(head) for recognise in _RECOGNISERS)), None) or _text_format(path, head)
    # TensorFlow goes by this name alone, whatever else a protocol buffer could be taken for.
    is_loaded_by_name = PurePosixPath(path).name == "saved_model.pb" and found in _WITHOUT_MAGIC
    return "saved_model" if is_loaded_by_name else found


def _zip(head: bytes) -> str | None:
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")):
        return None
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return (
        "torch" if name.endswith((b"/data.pkl", b"/.format_version", b"/byteorder")) or name == b"data.pkl" else "zip"
    )


def _tar(head: bytes) -> str | None:
    return "tar" if head[257:262] == b"ustar" else None


def _portable_executable(head: bytes) -> str | None:
    if not head.startswith(b"MZ") or len(head) < 64:
        return None
    at = int.from_bytes(head[60:64], "little")
    # DOS programs carry no PE header; they are programs all the same, so `MZ` with binary content is enough.
    return "pe" if head[at : at + 4] == b"PE\0\0" or b"\0" in head[:64] else None


def _bytecode(head: bytes) -> str | None:
    """Python's, with the header of a `.pyc` file or bare as `marshal` writes a code object."""
    magic = int.from_bytes(head[:2], "little")
    if head[2:4] == b"\r\n" and (2900 <= magic < 4200 or 50_000 <= magic < 62_300):
        return "bytecode"
    # Five or six small counts, then the instructions: a byte string.
    small = all(head[at] <= 64 and not any(head[at + 1 : at + 4]) for at in (1, 5, 9)) if len(head) > 40 else False
    is_code = head[:1] in (b"\xe3", b"c") and small and (head[21] in (0x73, 0xF3) or head[25] in (0x73, 0xF3))
    return "bytecode" if is_code else None


def _hdf5(head: bytes) -> str | None:
    """HDF5 behind a user block; at the beginning it is told by its magic bytes already."""
    return "hdf5" if any(head[at : at + 8] == _HDF5 for at in (512, 1024, 2048, 4096)) else None


def _graph_text(head: bytes) -> str | None:
    return "pbtxt" if _GRAPH_TEXT.match(head) else None


def _flatbuffer(head: bytes) -> str | None:
    return "tflite" if head[4:8] == b"TFL3" else None


def _safetensors(head: bytes) -> str | None:
    length = int.from_bytes(head[:8], "little")
    return "safetensors" if len(head) > 9 and 2 <= length <= 100_000_000 and head[8:9] == b"{" else None


def _zlib(head: bytes) -> str | None:
    # RFC 1950: method 8, window <= 32 KiB, both bytes a multiple of 31. Text can begin so too.
    if len(head) < 6 or head[0] not in (0x58, 0x68, 0x78) or int.from_bytes(head[:2], "big") % 31:
        return None
    return None if _decoded(head) is not None else "zlib"


def _script(head: bytes) -> str | None:
    return "script" if head.startswith((b"#!", b"\xef\xbb\xbf#!")) else None


def _markup(head: bytes) -> str | None:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:32].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<script", b"<svg")):
        return "html"
    if b"<net " in head[:1024] and start.startswith((b"<?xml", b"<net ")):
        return "openvino"
    return "xml" if start.startswith(b"<?xml") else None


def _pickle(head: bytes) -> str | None:
    if head[0] == 0x80 and len(head) > 1 and head[1] <= 5:
        return "pickle"
    return "pickle" if _looks_like_old_pickle(head) else None


def _looks_like_old_pickle(head: bytes) -> bool:
    """Protocols 0 and 1 have no magic: it is one if it would import something and call it, or end well.

    Or if it reads well up to where the head is cut: a long string at the beginning must not hide what follows.
    """
    stream, depth, imported, marked, operations = io.BytesIO(head), 0, False, False, 0
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name in ("GLOBAL", "INST"):
                if not _names_an_import(str(argument)) or (opcode.name == "INST" and not marked):
                    return False  # a line `import os` of Python reads as INST too
                imported = True
            marked = marked or opcode.name == "MARK"
            imported = imported or opcode.name in _IMPORTS_BY_STACK
            if imported and opcode.name in _CALLS:
                return True
            if opcode.name == "STOP":
                return depth > 0
            if pickletools.markobject not in opcode.stack_before:
                if len(opcode.stack_before) > depth:
                    return False
                depth -= len(opcode.stack_before)
            depth += len(opcode.stack_after)
            operations += 1
    except (ValueError, IndexError, KeyError, OverflowError):
        return operations >= 2 and len(head) >= HEAD_BYTES and stream.tell() == len(head)
    return False


def _names_an_import(argument: str) -> bool:
    module, _, name = argument.partition(" ")
    return all(part.isidentifier() for part in f"{module}.{name}".split("."))


# Text-like recognisers come after the binary ones; pickles of protocol 0 are text, hence before the suffix is believed.
_RECOGNISERS: tuple[Callable[[bytes], str | None], ...] = (
    _zip,
    _tar,
    _portable_executable,
    _bytecode,
    _flatbuffer,
    _hdf5,
    _graph_text,
    _safetensors,
    _script,
    _markup,
    _pickle,
    *_MODEL_RECOGNISERS,
    *_PROTOBUF_RECOGNISERS,
    _zlib,
)


def _text_format(path: str, head: bytes) -> str:
    text = _decoded(head)
    if text is None:
        return UNKNOWN
    name = PurePosixPath(path).name.lower()
    named = _SUFFIXES.get(PurePosixPath(name).suffix) or _NAMES.get(name)
    if named in ("json", "jsonl", "notebook"):
        return named if _starts_as_json(text, whole=named == "json" and len(head) < HEAD_BYTES) else "text"
    return named or UNKNOWN


def _starts_as_json(text: str, *, whole: bool) -> bool:
    if text.lstrip("\ufeff \t\r\n")[:1] not in _JSON_START:
        return False
    if whole:
        try:
            json.loads(text)
        except (ValueError, RecursionError):
            return False
    return True


def _decoded(head: bytes) -> str | None:
    """The head as text: UTF-8 (or what a mark says) without control characters, its end possibly cut; else None."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = head[: len(head) // 2 * 2].decode("utf-16", errors="replace")
        return None if any(ord(char) < 32 and char not in "\t\n\r\f" for char in text) else text.rstrip("\ufffd")
    cut = 0 if len(head) < HEAD_BYTES else 3
    for length in range(len(head), len(head) - cut - 1, -1):
        try:
            text = head[:length].decode("utf-8")
        except UnicodeDecodeError:
            continue
        return None if any(ord(char) < 32 and char not in "\t\n\r\f" for char in text) else text
    return None
