"""Programs and pickles that are written into a text as base64 or hexadecimal digits.

A loader that decodes such a text and runs it needs one line of code, and no scanner of files sees it. What the first
bytes of pickles, programs and archives become in base64 is looked for as plain text; what follows is decoded, and when
it is what it seems it is reported and scanned like a file of its own.
"""

from __future__ import annotations

import base64
import binascii
import io
import pickletools
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress

from model_approval.domain.evidence import Severity
from model_approval.domain.formats import HEAD_BYTES, detect_format
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule
from model_approval.validators.security_scan.text_blocks import LONG_WORD, TextBlock, has_long_word

_PAYLOAD = Rule(
    "text.payload", Severity.HIGH, "remove it; what a model needs beside its texts belongs into a file of its own"
)
_MIN_CHARS = 36
"""The shortest pickle that calls something has about 27 bytes."""
_MAX_FOUND = 20
_CAN_RUN = frozenset({"pickle", "elf", "pe", "macho", "wasm", "script"})
_PACKED = frozenset({"zip", "torch", "gzip", "bzip2", "xz", "7z", "tar", "zstd"})
_BASE64 = (
    "gA",  # pickle protocols 2 to 5, told by the third digit
    "Y3Bvc2l4", "Y29zC", "Y2J1aWx0aW5z", "Y19fYnVpbHRpbl9f", "Y3N1YnByb2Nlc3",  # protocol 0: cposix, cos, cbuiltins ...
    "f0VMRg", "TVqQ", "TVpQ", "TVpB", "UEsDB", "H4sI", "QlpoO", "/Td6WFo", "N3q8rye", "AGFzbQ", "IyEv",
    *(f"{mark}w{arguments}AAAAA" for mark in "4Y" for arguments in "AEIMQUYc"),  # marshalled code of few arguments
)  # fmt: skip
_HEX = (
    "8002", "8003", "8004", "8005", "63706f736978", "636f730a", "635f5f6275", "636275696c74",
    "7f454c46", "7F454C46", "4d5a9000", "504b0304", "1f8b0800",
)  # fmt: skip
_BASE64_RUN = re.compile(
    rf"(?!gA[^I-X])[A-Za-z0-9+/]{{{LONG_WORD},}}(?:(?:\\r|\\n|\r|\n)+[ \t]*[A-Za-z0-9+/]{{16,}})*[A-Za-z0-9+/]*"
)
_HEX_RUN = re.compile(r"(?:[0-9a-fA-F]{2}){18,}")
_BREAKS = re.compile(r"\\[rn]|\s")
_MARSHAL = re.compile(rb"[\xe3\x63][\0-\x10]\0\0\0[\0-\x10]\0\0\0")
_PROBE_OPERATIONS = 6
_PROBE_BYTES = 4096


def find_payloads(block: TextBlock, blob: Blob, scan: FileScan) -> None:
    """Record what is written into a block of text, and look into it."""
    if not has_long_word(block.text):
        return
    for at, data in _decoded_runs(block.text):
        kind = _kind(data)
        if kind is None:
            continue
        number = sum(finding.rule == _PAYLOAD.id for finding in scan.findings)
        if number >= _MAX_FOUND:
            scan.gap(f"more than {_MAX_FOUND} programs or archives are written into the text")
            return
        name = f"text-{number + 1}.{'dat' if kind == 'code object' else kind}"
        message = f"{len(data)} bytes of {kind} are written into the text, where no list of files shows them"
        scan.add(blob, _PAYLOAD, message, subject=f"{kind} {binascii.crc32(data):08x}", line=block.line_of(at))
        if kind != "code object":
            scan.unpack(blob, name, io.BytesIO(data))


def _decoded_runs(text: str) -> Iterator[tuple[int, bytes]]:
    for needles, run, decode in ((_BASE64, _BASE64_RUN, _from_base64), (_HEX, _HEX_RUN, bytes.fromhex)):
        for needle in needles:
            at = text.find(needle)
            while at >= 0:
                end = at + len(needle)
                match = None if _continues(text, at) else run.match(text, at)
                if match and match.end() - at >= _MIN_CHARS:
                    yield at, decode(match[0])
                    end = match.end()
                at = text.find(needle, end)


def _continues(text: str, at: int) -> bool:
    """Whether the place lies inside of a longer run of digits: only its beginning is the beginning of a payload."""
    return at > 0 and (text[at - 1].isalnum() or text[at - 1] in "+/") and not text.startswith(("\\n", "\\r"), at - 2)


def _from_base64(run: str) -> bytes:
    digits = _BREAKS.sub("", run).rstrip("=")
    return base64.b64decode(digits[: len(digits) - (len(digits) % 4 == 1)] + "===", validate=False)


def _kind(data: bytes) -> str | None:
    """What the bytes are, with more proof than for a file: random digits look like something too often."""
    if _MARSHAL.match(data):
        return "code object"
    found = detect_format("", data[:HEAD_BYTES])
    if found not in _CAN_RUN and found not in _PACKED:
        return None
    proof = _PROOFS.get(found)
    return found if proof is None or proof(data[:_PROBE_BYTES]) else None


def _is_pickle(data: bytes) -> bool:
    done = 0
    with suppress(ValueError, IndexError, KeyError, OverflowError):
        for opcode, _, _ in pickletools.genops(data):
            done += 1
            if done >= _PROBE_OPERATIONS or opcode.name == "STOP":
                return True
    return False


def _is_gzip(data: bytes) -> bool:
    with suppress(zlib.error):
        return bool(zlib.decompressobj(31).decompress(data, 64))
    return False


def _is_script(data: bytes) -> bool:
    return data.partition(b"\n")[0].isascii() and b"\0" not in data


_PROOFS: dict[str, Callable[[bytes], bool]] = {
    "pickle": _is_pickle,
    "gzip": _is_gzip,
    "script": _is_script,
    "pe": lambda data: data[:64].count(0) >= 16,
}
