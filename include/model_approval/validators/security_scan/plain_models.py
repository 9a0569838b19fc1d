"""Model formats that hold numbers and names alone: boosted trees, word vectors, tokenizers. Nothing in them can run.

Each is recognised by its structure and held to its bounds, so that a file that merely begins like one is not covered.
"""

from __future__ import annotations

import re
import struct

from model_approval.validators.security_scan.bounds import at_most
from model_approval.validators.security_scan.protobuf_wire import BYTES, WireReader
from model_approval.validators.security_scan.scan import Blob, FileScan, Uncovered
from model_approval.validators.security_scan.text_blocks import text_blocks
from model_approval.validators.security_scan.windows import first_nonzero

_LIGHTGBM_MAX_BYTES = 4 * 1024**3
_FASTTEXT_VERSIONS = (11, 12)
_SENTENCEPIECE_FIELDS = {1, 2, 3, 4, 5}
_OBJECTIVE = re.compile(rb"[a-z]{2,10}:[a-z_0-9]{2,30}|custom|rank:[a-z]+")


class LightGbmScanner:
    """Scans `lightgbm`: a text of `key=value` lines."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Decode it to its end. Raises Uncovered when it is not text all the way."""
        if blob.size_bytes > _LIGHTGBM_MAX_BYTES:
            raise Uncovered("a LightGBM model of more than 4 GiB")
        _require_text(blob)
        blob.stream.seek(max(0, blob.size_bytes - 65_536))
        if b"end of trees" not in blob.stream.read() and b"end of parameters" not in _tail(blob):
            raise Uncovered("the LightGBM model breaks off")


def _require_text(blob: Blob) -> None:
    blob.stream.seek(0)
    for _ in text_blocks(blob):
        pass


def _tail(blob: Blob) -> bytes:
    blob.stream.seek(max(0, blob.size_bytes - 1024**2))
    return blob.stream.read()


class CatBoostScanner:
    """Scans `catboost`: a magic word, a length, a flatbuffer; then tables of categories."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Check that the parts fit the file. Raises Uncovered when they do not."""
        blob.stream.seek(0)
        head = blob.stream.read(16)
        length = int.from_bytes(head[4:8], "little")
        root = int.from_bytes(head[8:12], "little")
        if len(head) < 16 or 8 + length > blob.size_bytes or not 4 <= root < length:
            raise Uncovered("the CatBoost model is cut or damaged")


class XgboostBinaryScanner:
    """Scans `xgboost-binary`, the format of XGBoost before 3.1: parameters, names of objective and booster, trees."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Check its names. Raises Uncovered when they are not where they belong."""
        blob.stream.seek(4)
        head = blob.stream.read(136 + 8 + 64)
        length = int.from_bytes(head[136:144], "little")
        if not 0 < length <= 64 or not _OBJECTIVE.fullmatch(head[144 : 144 + length]):
            raise Uncovered("no XGBoost model: its objective has no readable name")


class FastTextScanner:
    """Scans `fasttext`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Check the header. Raises Uncovered when it is damaged."""
        blob.stream.seek(4)
        head = blob.stream.read(60)
        if len(head) < 60:
            raise Uncovered("the fastText model breaks off")
        version, dimension, *_ = struct.unpack("<2i", head[:8])
        if version not in _FASTTEXT_VERSIONS or not 0 < dimension <= 100_000:
            raise Uncovered("a version of fastText that is not known")


class Word2VecScanner:
    """Scans `word2vec`: how many words of how many numbers, then each word with its numbers."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Check that so many fit. Raises Uncovered when they do not."""
        blob.stream.seek(0)
        first = blob.stream.readline(64)
        words, numbers = (int(part) for part in first.split())
        rest = blob.size_bytes - len(first)
        if not words * (4 * numbers + 2) <= rest <= words * (4 * numbers + 1100):
            raise Uncovered(f"{rest} bytes are too few or too many for {words} words of {numbers} numbers")


class SentencePieceScanner:
    """Scans `sentencepiece`: a protocol buffer of pieces and of how text is normalised."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk its outermost fields to the end. Raises Uncovered for fields that the format does not have."""
        reader = WireReader(blob.stream, blob.size_bytes)
        for field in at_most(reader.fields(0, blob.size_bytes), "pieces", 1_000_000):
            if field.number not in _SENTENCEPIECE_FIELDS or field.wire != BYTES:
                raise Uncovered(f"no tokenizer: it has a field {field.number} that the format does not know")


class MxnetScanner:
    """Scans `mxnet`: a list of arrays and their names."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Check the counts. Raises Uncovered when they do not fit the file."""
        blob.stream.seek(0)
        head = blob.stream.read(24)
        count = int.from_bytes(head[16:24], "little")
        if len(head) < 24 or first_nonzero(blob.stream, 8, 16) is not None or count * 16 > blob.size_bytes:
            raise Uncovered("the MXNet parameters are cut or damaged")


class PaddleTensorsScanner:
    """Scans `paddle-tensors`: one tensor after the other, each with a short description of type and shape."""

    _BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16}

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Step from tensor to tensor to the file's end. Raises Uncovered when a step does not fit."""
        at, reader = 0, WireReader(blob.stream, blob.size_bytes)
        while at < blob.size_bytes:
            blob.stream.seek(at)
            head = blob.stream.read(20)
            length = int.from_bytes(head[16:20], "little")
            begin = at + 20
            if len(head) < 20 or head[:16].strip(b"\0") or not 0 < length <= 4096 or begin + length > blob.size_bytes:
                raise Uncovered(f"no tensor begins at byte {at}")
            at = begin + length + self._tensor_bytes(reader, begin, begin + length)
        if at != blob.size_bytes:
            raise Uncovered("the last tensor is longer than the file")

    def _tensor_bytes(self, reader: WireReader, begin: int, end: int) -> int:
        kind, count = -1, 1
        for field in reader.fields(begin, end):
            if field.number == 1 and field.wire == 0:
                kind = field.value
            elif field.number == 2:
                for side in reader.numbers(field.begin, field.end) if field.wire == BYTES else [field.value]:
                    count *= side
        if kind not in self._BYTES:
            raise Uncovered(f"tensors of type {kind} are not known")
        return count * self._BYTES[kind]
