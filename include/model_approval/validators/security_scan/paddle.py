"""PaddlePaddle programs (`.pdmodel`): blocks of operators in a protocol buffer."""

from __future__ import annotations

from collections.abc import Iterator

from model_approval.domain.evidence import Severity
from model_approval.validators.security_scan.bounds import at_most
from model_approval.validators.security_scan.protobuf_wire import BYTES, VARINT, Field, WireReader
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_OUTSIDE = Rule("paddle.outside-operator", Severity.HIGH, "export the model for inference, without such operators")
_CALLS = frozenset({"py_func", "py_layer", "run_program", "pylayer"})
_FILES = frozenset({"save", "save_combine", "load", "load_combine", "read_file", "send", "recv", "listen_and_serv"})


class PaddleScanner:
    """Scans `paddle-program`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk every operator. Raises Uncovered for fields that the format does not have."""
        reader = WireReader(blob.stream, blob.size_bytes)
        seen: set[str] = set()
        for operator, at in _operators(reader, blob.size_bytes):
            if operator in _CALLS | _FILES and operator not in seen:
                seen.add(operator)
                does = (
                    "calls Python of the serving process" if operator in _CALLS else "reads or writes files or sockets"
                )
                scan.add(blob, _OUTSIDE, f"operator {operator} {does}", subject=operator, offset=at)


def _operators(reader: WireReader, size: int) -> Iterator[tuple[str, int]]:
    for block in at_most(reader.fields(0, size), "blocks"):
        if block.number not in (1, 4, 5) or (block.number == 1 and block.wire != BYTES):
            raise Uncovered(f"no program: it has a field {block.number} that the format does not know")
        if block.number == 1:
            yield from _of_block(reader, block)


def _of_block(reader: WireReader, block: Field) -> Iterator[tuple[str, int]]:
    for part in at_most(reader.fields(block.begin, block.end), "operators"):
        if part.number in (1, 2, 5) and part.wire == VARINT:
            continue
        if part.number not in (3, 4) or part.wire != BYTES:
            raise Uncovered(f"no program: a block has a field {part.number} that the format does not know")
        if part.number == 4:
            for field in reader.fields(part.begin, part.end):
                if field.number == 3 and field.wire == BYTES:
                    yield reader.read(field.begin, field.end).decode(errors="replace"), field.begin
