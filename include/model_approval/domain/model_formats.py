"""Formats of models and media that carry no fixed magic at byte 0, or one that only means something with what follows.

Each recogniser gets the head of a file and names its format, or says None. `domain.formats` asks them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

_HEAD_BYTES = 8192
_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\xba\x16\x4f\x2f", "fasttext"),
    (b"CBM1", "catboost"),
    (b"binf", "xgboost-binary"),
    (b"tree\nversion=v", "lightgbm"),
    (b"tree\r\nversion=v", "lightgbm"),
    (b"FEA1", "feather"),
    (b"\x12\x01\0\0\0\0\0\0", "mxnet"),
    (b"RDX2\n", "r-data"),
    (b"RDX3\n", "r-data"),
    (b"RDA2\n", "r-data"),
    (b"RDA3\n", "r-data"),
    (b"X\n\0\0\0\2", "r-data"),
    (b"X\n\0\0\0\3", "r-data"),
    (b"\x04\0\0\0\x01\0\0\0\x03\0\0\0V 1", "torch7"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"OggS", "ogg"),
    (b"fLaC", "flac"),
    (b"ftrt", "tensorrt"),
    (b"ptrt", "tensorrt"),
)
_FLATBUFFERS = {b"ET12": "executorch", b"ORTM": "ort"}
_RIFF = {b"WEBP": "webp", b"WAVE": "wav"}
_UBJSON = re.compile(rb"\{(?:[iU].|I..|l....|L.{8})(?:learner|version|Config|Model)", re.DOTALL)
_XGBOOST_JSON = re.compile(rb'\{\s*"(?:learner|version)"\s*:\s*[\[{]')
_WORD2VEC = re.compile(rb"[1-9][0-9]{0,8} ([1-9][0-9]{0,4})\n")
_PADDLE_PROGRAM = re.compile(rb"\n(?:[\x80-\xff]{0,9}[\x00-\x7f])\x08\x00\x10\xff{9}\x01")
_PADDLE_TENSOR = re.compile(rb"\0{4}(?:\0{8})\0{4}.\0{3}\x08[\x00-\x20]\x10")
_PIECE = re.compile(rb"\n[\x07-\x7f]\n[\x01-\x7a]")
_KEY = re.compile(rb"[A-Za-z0-9_.:/ -]+")


def _by_magic(head: bytes) -> str | None:
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    return _FLATBUFFERS.get(head[4:8])


def _boosted(head: bytes) -> str | None:
    if _UBJSON.match(head):
        return "ubjson"
    return "json" if _XGBOOST_JSON.match(head) else None


def _arrow_stream(head: bytes) -> str | None:
    length = int.from_bytes(head[4:8], "little")
    if not head.startswith(b"\xff\xff\xff\xff") or length % 8 or not 64 <= length <= 64 * 1024**2:
        return None
    return "arrow-stream" if int.from_bytes(head[8:12], "little") < length else None


def _paddle(head: bytes) -> str | None:
    if _PADDLE_PROGRAM.match(head):
        return "paddle-program"
    return "paddle-tensors" if _PADDLE_TENSOR.match(head) else None


def _word2vec(head: bytes) -> str | None:
    """How many words of how many numbers; then a word and its numbers, as text or binary."""
    first = _WORD2VEC.match(head)
    if first is None:
        return None
    rest = head[first.end() :]
    word, _, numbers = rest.partition(b" ")
    if not numbers or not 0 < len(word) <= 200:
        return None
    if len(rest.split(b"\n", 1)[0].split()) == int(first[1]) + 1:
        return "text"
    return "word2vec" if b"\0" in rest or any(byte < 9 for byte in rest[:400]) else None


def _sentencepiece(head: bytes) -> str | None:
    """Three pieces, each a text, a score and perhaps a type: field 1, inside of it fields 1, 2 and 3."""
    at = 0
    for _ in range(3):
        piece = head[at : at + 2 + head[at + 1]] if len(head) > at + 1 else b""
        match = _PIECE.match(piece)
        if match is None or piece[1] < piece[3] + 7 or piece[4 + piece[3]] != 0x15:
            return None
        at += len(piece)
    return "sentencepiece"


def _coreml(head: bytes) -> str | None:
    """A specification version, then the model's description, which begins with an input, an output or its metadata."""
    if len(head) < 8 or head[0] != 0x08 or not 1 <= head[1] <= 30 or head[2] != 0x12:
        return None
    at = _behind_length(head, 3)
    if head[at : at + 1] not in (b"\n", b"R"):
        return None
    at = _behind_length(head, at + 1)
    return "coreml" if head[at : at + 1] == b"\n" else None


def _behind_length(head: bytes, at: int) -> int:
    """Where the number at this place ends, which may take five bytes."""
    end = next((index for index in range(at, at + 5) if head[index : index + 1] < b"\x80"), at + 4)
    return end + 1


_FIXED = {0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8}
_FIXED |= {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_COUNTED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_COUNTED |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}


def _messagepack(head: bytes) -> str | None:
    """A map whose first key is a word, and which reads well as far as the head goes."""
    if not (0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)):
        return None
    at = {0xDE: 3, 0xDF: 5}.get(head[0], 1)
    for count in range(200):
        if at >= len(head):
            return "msgpack" if len(head) >= _HEAD_BYTES or at == len(head) else None
        begin, end = _messagepack_item(head, at)
        if end < 0 or (count == 0 and not (begin < end and _KEY.fullmatch(head[begin:end]))):
            return None
        at = end
    return "msgpack"


def _messagepack_item(head: bytes, at: int) -> tuple[int, int]:
    """Where the content of an item begins and ends; containers have none; -1 for a byte that stands for nothing."""
    kind, at = head[at], at + 1
    if 0xA0 <= kind <= 0xBF:
        return at, at + (kind & 31)
    if kind < 0xA0 or kind >= 0xE0:
        return at, at
    if kind in _FIXED:
        return at, at + _FIXED[kind]
    if kind in _COUNTED:
        width, extra = _COUNTED[kind]
        return at + width, at + width + extra + int.from_bytes(head[at : at + width], "big")
    if kind in (0xDC, 0xDE):
        return at, at + 2
    return (at, at + 4) if kind in (0xDD, 0xDF) else (0, -1)


RECOGNISERS: tuple[Callable[[bytes], str | None], ...] = (
    _by_magic,
    _boosted,
    _coreml,
    _sentencepiece,
    _paddle,
    _arrow_stream,
    _messagepack,
    _word2vec,
)
