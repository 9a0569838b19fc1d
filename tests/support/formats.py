"""Small files of many formats, written by hand: the libraries that write them are not installed where tests run."""

from __future__ import annotations

import json
import struct
import zlib

from tests.support.models import a_zip


def message(*fields: tuple[int, int | bytes]) -> bytes:
    """A protocol buffer message: whole numbers and bytes by field number."""
    result = b""
    for number, value in fields:
        if isinstance(value, int):
            result += varint(number << 3) + varint(value)
        else:
            result += varint(number << 3 | 2) + varint(len(value)) + value
    return result


def varint(value: int) -> bytes:
    """A number in base 128, least significant group first."""
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes([*result, value])


def a_core_ml_model(*fields: tuple[int, int | bytes]) -> bytes:
    """A Core ML model with one input, and whatever fields describe its kind."""
    feature = message((1, b"input"), (3, message((5, b""))))
    return message((1, 6), (2, message((1, feature))), *fields)


def a_paddle_program(*operators: bytes) -> bytes:
    """A program of one block."""
    minus_one = (1 << 64) - 1
    block = message((1, 0), (2, minus_one), *((4, message((3, operator))) for operator in operators))
    return message((1, block))


def a_paddle_tensor(count: int) -> bytes:
    """A tensor of float32 as `.pdiparams` has it."""
    described = message((1, 5), (2, count))
    return bytes(16) + struct.pack("<i", len(described)) + described + bytes(4 * count)


def a_tokenizer() -> bytes:
    """A sentencepiece model of five pieces."""
    pieces = (b"<unk>", b"<s>", b"</s>", b"\xe2\x96\x81a", b"b")
    return b"".join(
        message((1, message((1, piece)) + b"\x15" + struct.pack("<f", -1.0) + b"\x18\x01")) for piece in pieces
    )


def an_xgboost_model() -> bytes:
    """UBJSON, as XGBoost writes it, with a typed array."""
    key = b"L" + struct.pack(">q", 7) + b"learner"
    array = b"L" + struct.pack(">q", 4) + b"base" + b"[$d#L" + struct.pack(">q", 2) + struct.pack(">2f", 1.0, 2.0)
    return b"{" + key + b"{" + array + b"U\x04name" + b"SU\x03abc" + b"}" + b"}"


def an_old_xgboost_model() -> bytes:
    """The binary format of XGBoost before 3.1."""
    return (
        b"binf" + bytes(136) + struct.pack("<Q", 15) + b"binary:logistic" + struct.pack("<Q", 6) + b"gbtree" + bytes(90)
    )


def a_catboost_model() -> bytes:
    """A `.cbm` whose parts fit."""
    return b"CBM1" + struct.pack("<2I", 64, 16) + bytes(60)


def a_fasttext_model() -> bytes:
    """The header of fastText, and some numbers."""
    return struct.pack("<14i", 793712314, 12, 100, 5, 5, 5, 1, 5, 1, 1, 2_000_000, 3, 6, 0) + bytes(400)


def word_vectors(words: int = 3, numbers: int = 4) -> bytes:
    """word2vec's binary format."""
    return f"{words} {numbers}\n".encode() + b"".join(
        b"word%d " % at + bytes(4 * numbers) + b"\n" for at in range(words)
    )


def a_jpeg(after: bytes = b"") -> bytes:
    """A picture that no viewer would like, but whose markers are in order."""
    segment = b"\xff\xe0" + struct.pack(">H", 16) + b"JFIF\0" + bytes(9)
    scan = b"\xff\xda" + struct.pack(">H", 8) + bytes(6) + b"\x12\xff\0\x34\xff\xd0\x56"
    return b"\xff\xd8" + segment + scan + b"\xff\xd9" + after


def a_gif(after: bytes = b"") -> bytes:
    """One black dot."""
    head = b"GIF89a" + struct.pack("<2H", 1, 1) + b"\x80\0\0" + bytes(6)
    return (
        head
        + b"!\xf9\x04\0\0\0\0\0"
        + b","
        + bytes(4)
        + struct.pack("<2HB", 1, 1, 0)
        + b"\x02\x02\x44\x01\0"
        + b";"
        + after
    )


def a_sound(after: bytes = b"") -> bytes:
    """A `.wav` of silence."""
    parts = b"WAVE" + b"fmt " + struct.pack("<I", 16) + bytes(16) + b"data" + struct.pack("<I", 4) + bytes(4)
    return b"RIFF" + struct.pack("<I", len(parts)) + parts + after


def a_pdf(body: bytes = b"", *, packed: bytes | None = None) -> bytes:
    """A document with any objects; `packed` ones in an object stream."""
    if packed is not None:
        body += (
            b"5 0 obj <</Type /ObjStm /Filter /FlateDecode>> stream\n" + zlib.compress(packed) + b"\nendstream endobj\n"
        )
    return b"%PDF-1.7\n" + body + b"trailer <</Root 1 0 R>>\nstartxref\n9\n%%EOF\n"


def r_data(*objects: bytes) -> bytes:
    """An `.rds` of a list of objects, each as `r_numbers` or four bytes of a type code."""
    return b"X\n" + struct.pack(">5i", 2, 0x40002, 0x20300, 19, len(objects)) + b"".join(objects)


def r_object(kind: int, *parts: bytes) -> bytes:
    """An R object by its type code."""
    return struct.pack(">I", kind) + b"".join(parts)


R_NULL = r_object(254)
R_NUMBERS = r_object(14, struct.pack(">i2d", 2, 1.0, 2.0))


def a_skops_file(node: dict[str, object]) -> bytes:
    """A skops archive around one node."""
    shown: dict[str, object] = {"__class__": "dict", "__module__": "builtins", "__loader__": "DictNode", "protocol": 2}
    return a_zip({"schema.json": json.dumps({**shown, "content": {"a": node}}).encode()})


def a_7z(name: str, data: bytes) -> bytes:
    """A 7z archive with one stored member: signature header, data, and a header that is not packed."""
    names = name.encode("utf-16-le") + b"\0\0"
    header = b"\x01\x04"
    header += b"\x06\x00\x01\x09" + _number(len(data)) + b"\x00"  # where the packed stream is
    header += b"\x07\x0b\x01\x00\x01\x01\x00\x0c" + _number(len(data)) + b"\x00"  # one folder with the coder "copy"
    header += b"\x08\x0a\x01" + struct.pack("<I", zlib.crc32(data)) + b"\x00\x00"
    header += b"\x05\x01\x11" + _number(len(names) + 1) + b"\x00" + names + b"\x00\x00"
    start = struct.pack("<QQI", len(data), len(header), zlib.crc32(header))
    return b"7z\xbc\xaf\x27\x1c\x00\x04" + struct.pack("<I", zlib.crc32(start)) + start + data + header


def _number(value: int) -> bytes:
    assert value < 0x4000
    return bytes([value]) if value < 0x80 else bytes([0x80 | value >> 8, value & 0xFF])
