"""Pickles: bare, stacked, in the old torch format. Every import is judged, whatever would use it.

Two opinions are joined: our default-deny walk, and picklescan's list of modules known to be dangerous, used as a
library since its exit code calls much clean that it could not read.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import IO, cast

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.allowed_globals import is_allowed
from model_approval.validators.security_scan.pickle_walk import Import, Oddity, SkippingReader, Walk, walk_pickle
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_TORCH_PICKLES = 5
"""Magic number, protocol, system, object, storage keys; raw tensor bytes follow."""
_PICKLESCAN_OPERATIONS = 2_000_000
"""picklescan holds all operations in memory, about 40 bytes for each byte of the file."""
_ADVICE = "save the weights as safetensors or ONNX, which cannot run code"
_DANGEROUS_IMPORT = Rule("pickle.dangerous-import", Severity.CRITICAL, _ADVICE)
_UNLISTED_IMPORT = Rule("pickle.unlisted-import", Severity.HIGH, f"{_ADVICE}; or have a reviewer accept this name")
_ODDITIES = {
    Oddity.UNTOLD_IMPORT: (
        Rule("pickle.import-untold", Severity.CRITICAL, _ADVICE),
        "imports something whose name is put together while loading, which no honest pickler writes",
    ),
    Oddity.EXTENSION: (
        Rule("pickle.extension", Severity.CRITICAL, _ADVICE),
        "imports by an extension number, so what runs is decided by the loading process",
    ),
    Oddity.FRAME: (
        Rule("pickle.frame", Severity.HIGH, _ADVICE),
        "has frames that overlap or cut an operation in two, so that readers disagree what it does",
    ),
}


@dataclass
class _Found:
    imports: dict[tuple[str, str], Import] = field(default_factory=dict)
    oddities: dict[Oddity, int] = field(default_factory=dict)
    operations: int = 0

    def take(self, walk: Walk) -> None:
        for item in walk.imports:
            self.imports.setdefault((item.module, item.name), item)
        for oddity, offset in walk.oddities:
            self.oddities.setdefault(oddity, offset)
        self.operations += walk.operations


class PickleScanner:
    """Scans `pickle` files."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk all pickles in the blob. Raises Uncovered when it breaks off or something else follows."""
        scan_pickles(blob, scan)


def scan_pickles(blob: Blob, scan: FileScan, *, start: int = 0) -> None:
    """Walk the pickles from an offset to the end of a blob, and record what they would import.

    Raises:
        Uncovered: They break off, or bytes follow that are no pickle; what was found before is recorded all the same.
    """
    found = _Found()
    try:
        _walk_all(blob, scan, found, start)
    finally:
        _record(blob, scan, found, start)


def _walk_all(blob: Blob, scan: FileScan, found: _Found, start: int) -> None:
    def count() -> None:
        scan.budget.pickle_operations += 1
        if scan.budget.pickle_operations > scan.budget.max_pickle_operations:
            raise Uncovered(f"more than {scan.budget.max_pickle_operations} pickle operations")

    blob.stream.seek(start)
    pickles, is_torch = 0, False
    while blob.stream.tell() < blob.size_bytes:
        walk, at = Walk(), blob.stream.tell()
        try:
            walk_pickle(blob.stream, blob.size_bytes, count, walk)
        except (ValueError, IndexError, KeyError, OverflowError) as err:
            raise Uncovered(
                f"what begins at byte {at} breaks off as a pickle: {plain_line(str(err), limit=200)}"
            ) from err
        finally:
            found.take(walk)
        pickles += 1
        is_torch = is_torch or (pickles == 1 and walk.operations <= 3 and walk.number == _TORCH_MAGIC)
        if is_torch and pickles == _TORCH_PICKLES:
            return  # raw tensor bytes follow, which torch copies into storages
    if is_torch:
        raise Uncovered("an old torch file that ends before its tensors")


def _record(blob: Blob, scan: FileScan, found: _Found, start: int) -> None:
    dangerous = set(_known_dangerous(found.imports))
    second = _second_opinion(blob, start) if found.operations <= _PICKLESCAN_OPERATIONS else {}
    for key, danger in second.items():
        found.imports.setdefault(key, Import(*key, offset=start))
        if danger:
            dangerous.add(key)
    for key, item in sorted(found.imports.items()):
        if key in dangerous:
            _report_import(blob, scan, item, dangerous=True)
        elif not is_allowed(*key):
            _report_import(blob, scan, item, dangerous=False)
    for oddity, offset in found.oddities.items():
        rule, message = _ODDITIES[oddity]
        scan.add(blob, rule, message, offset=offset)


def _report_import(blob: Blob, scan: FileScan, item: Import, *, dangerous: bool) -> None:
    name = plain_line(f"{item.module}.{item.name}", limit=200)
    if dangerous:
        message = f"loading it imports {name}, which runs commands, files or code of the sender's choice"
        scan.add(blob, _DANGEROUS_IMPORT, message, offset=item.offset)
    else:
        message = f"loading it imports {name}, which is not on the list of names known to be harmless"
        scan.add(blob, _UNLISTED_IMPORT, message, offset=item.offset)


@cache
def _dangerous_names() -> dict[str, str | set[str]]:
    from picklescan import scanner

    logging.getLogger("picklescan").setLevel(logging.CRITICAL)  # it logs each finding, we report them
    return cast("dict[str, str | set[str]]", scanner._unsafe_globals)


def _known_dangerous(keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that picklescan lists, by module, parent module or name."""
    listed = _dangerous_names()
    result = []
    for module, name in keys:
        parts = module.split(".")
        parents = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
        names = listed.get(module, "")
        exact = name == names if isinstance(names, str) else name in names
        if exact or any(listed.get(parent) == "*" for parent in parents):
            result.append((module, name))
    return result


def _second_opinion(blob: Blob, start: int) -> dict[tuple[str, str], bool]:
    """Every import that picklescan reads out of the same bytes, and whether it calls it dangerous."""
    from picklescan import scanner

    blob.stream.seek(start)
    result: dict[tuple[str, str], bool] = {}
    # It gives up with many kinds of errors on broken input, which our own walk has reported as uncovered by then.
    with contextlib.suppress(ValueError, IndexError, KeyError, OSError, AttributeError, TypeError):
        reader = cast("IO[bytes]", SkippingReader(blob.stream, blob.size_bytes))
        for item in scanner.scan_pickle_bytes(reader, blob.name).globals:
            key = (str(item.module), str(item.name))
            result[key] = item.safety is scanner.SafetyLevel.Dangerous
    return result
