"""Text in blocks that end with a line, decoded as its first bytes say; the rest of the scan sees no bytes."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass

from model_approval.validators.security_scan.scan import Blob, Uncovered

BLOCK_CHARS = 1024 * 1024
_OVERLAP_CHARS = 4096
"""Of a line longer than a block: what it is cut at is seen twice."""
LONG_WORD = 20
_WORD_BYTES = bytes(120 if (chr(byte).isalnum() and byte < 128) or byte in b"+/_-=." else 32 for byte in range(256))
_LONG = b"x" * LONG_WORD
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class TextBlock:
    """A piece of a text."""

    text: str
    first_line: int
    """Of the text as a whole, from 1."""

    def line_of(self, at: int) -> int:
        """The line of a position in this block."""
        return self.first_line + self.text.count("\n", 0, at)


def has_long_word(text: str) -> bool:
    """Whether LONG_WORD letters, digits and marks of base64 stand in a row: words of a vocabulary are shorter.

    Three passes at the speed of memory, which save dozens where nothing random stands in a text.
    """
    return _LONG in text.encode("ascii", errors="replace").translate(_WORD_BYTES)


def encoding_of(head: bytes) -> str:
    """The encoding that a byte-order mark names; UTF-8 without one."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8")


def text_blocks(blob: Blob) -> Iterator[TextBlock]:
    """Decode a blob to its end.

    Raises:
        Uncovered: Bytes that are no text in its encoding.
    """
    decoder = codecs.getincrementaldecoder(encoding_of(blob.head()))()
    rest, line, data = "", 1, b"x"
    try:
        while data:
            data = blob.stream.read(BLOCK_CHARS)
            text = rest + decoder.decode(data, final=not data)
            if "\0" in text:
                raise Uncovered("begins as text, then holds zero bytes")
            cut = text.rfind("\n") + 1 if data else len(text)
            cut = len(text) if not cut and len(text) > BLOCK_CHARS else cut
            if cut:
                yield TextBlock(text[:cut], line)
            line += text.count("\n", 0, cut)
            is_cut_line = bool(data) and 0 < cut == len(text) and not text.endswith("\n")
            rest = text[-_OVERLAP_CHARS:] if is_cut_line else text[cut:]
    except UnicodeDecodeError as err:
        raise Uncovered(f"begins as text, then is not {err.encoding.upper()}: {err.reason}") from err


def read_text(blob: Blob, limit_bytes: int) -> str:
    """All of a text.

    Raises:
        Uncovered: It is longer than the limit, or no text.
    """
    if blob.size_bytes > limit_bytes:
        raise Uncovered(f"a text of more than {limit_bytes} bytes")
    encoding = encoding_of(blob.head())
    try:
        text = blob.stream.read().decode(encoding)
    except UnicodeDecodeError as err:
        raise Uncovered(f"begins as text, then is not {err.encoding.upper()}: {err.reason}") from err
    if "\0" in text:
        raise Uncovered("begins as text, then holds zero bytes")
    return text
