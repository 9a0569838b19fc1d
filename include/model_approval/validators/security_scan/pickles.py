"""Pickles: bare, stacked, by joblib with arrays between, in the old torch format. Every import is judged."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, cast

from model_approval.domain.evidence import Severity
from model_approval.validators.contract import plain_line
from model_approval.validators.security_scan.joblib_arrays import read_announcement
from model_approval.validators.security_scan.pickle_rules import Standing, standing_of
from model_approval.validators.security_scan.pickle_values import LOADS_BYTES, BadPickle, Import, Oddity, Walk
from model_approval.validators.security_scan.pickle_walk import Machine
from model_approval.validators.security_scan.scan import Blob, FileScan, Rule, Uncovered
from model_approval.validators.security_scan.state_gadgets import find_programs

_TORCH_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
_TORCH_PICKLES = 5
"""Magic number, protocol, system, object, storage keys; raw tensor bytes follow."""
_MAX_NESTED = 3
_ADVICE = "save the weights as safetensors or ONNX, which cannot run code"
_ACCEPT = f"{_ADVICE}; or have a reviewer accept this name"
_DANGEROUS = Rule("pickle.dangerous-import", Severity.CRITICAL, _ADVICE)
_UNLISTED = Rule("pickle.unlisted-import", Severity.HIGH, _ACCEPT)
_UNKNOWN = Rule("pickle.unknown-class", Severity.MEDIUM, _ACCEPT)
_STATE = Rule("pickle.program-in-state", Severity.CRITICAL, _ADVICE)
_TWO_READINGS = Rule("pickle.two-readings", Severity.HIGH, _ADVICE)
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
    Oddity.CHANGED_IMPORT: (
        Rule("pickle.changed-import", Severity.CRITICAL, _ADVICE),
        "sets attributes or items of something that it imports, so that other code runs than the name says",
    ),
    Oddity.CALL_BY_STATE: (
        Rule("pickle.call-by-state", Severity.CRITICAL, _ADVICE),
        "holds the name `__setstate__`: set on an object, whatever stands there is called with a value of its choice",
    ),
    Oddity.COMPUTED_CALL: (
        Rule("pickle.computed-call", Severity.HIGH, _ADVICE),
        "calls something that it computes while loading, so that no list of names tells what runs",
    ),
}


_PROGRAMS = frozenset(Standing) - {Standing.HARMLESS}
_KNOWN_PROGRAMS = frozenset({Standing.DANGEROUS})
"""An array of objects is a pickle of its own; read with the memo of the outer one its names are jumbled."""
_WORST_FIRST = (Standing.DANGEROUS, Standing.UNLISTED, Standing.UNKNOWN, Standing.HARMLESS)


class BlobSource:
    """A blob as `pickle_walk.Source`."""

    def __init__(self, blob: Blob) -> None:
        self._stream, self.size_bytes = blob.stream, blob.size_bytes

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to `count` bytes from an offset."""
        self._stream.seek(offset)
        return self._stream.read(count)


class PickleScanner:
    """Scans `pickle`."""

    def scan(self, blob: Blob, scan: FileScan) -> None:
        """Walk all pickles in the blob. Raises Uncovered when it breaks off or something else follows."""
        scan_pickles(blob, scan)


def scan_pickles(blob: Blob, scan: FileScan, *, start: int = 0, own_modules: Iterable[str] = ()) -> None:
    """Walk the pickles from an offset to the end of a blob, and record what they would import.

    Args:
        blob: What holds them.
        scan: Takes findings and gaps.
        start: Offset of the first.
        own_modules: Prefixes of modules that the loader looks up in the archive itself and not in Python, where a
            scanner has read that code: TorchScript's `__torch__`.

    Raises:
        Uncovered: They break off, or bytes follow that are no pickle; what was found before is recorded all the same.
    """
    pickles = _Pickles(blob, scan)
    try:
        pickles.walk_all(start)
    finally:
        pickles.record(tuple(own_modules))


def find_program(blob: Blob, scan: FileScan) -> None:
    """Report what a blob of no known format would run if it were loaded as a pickle; else leave no trace.

    Any text reads as a few operations; only what calls something of a name that can be imported is a program.
    """
    pickles = _Pickles(blob, scan)
    try:
        pickles.walk_all(0)
    except BreaksOff:
        pass  # as any text does
    except Uncovered as why:
        scan.gap(f"what it would do as a pickle: {why}")
    pickles.record_programs()


class BreaksOff(Uncovered):
    """No unpickler could read on; other reasons are limits of ours, beyond which one could."""


@dataclass
class _Reading:
    """A reading of raw bytes as operations, by a loader that knows nothing of joblib."""

    walk: Walk
    at: int
    bad: frozenset[Standing]
    """Imports of these make it a program."""


class _Pickles:
    def __init__(self, blob: Blob, scan: FileScan) -> None:
        self._blob, self._scan, self._source = blob, scan, BlobSource(blob)
        self._walk = Walk()
        self._readings: list[_Reading] = []
        self._depth = 0

    def walk_all(self, start: int) -> None:
        at, count = start, 0
        is_torch = self._source.read_at(start, len(_TORCH_MAGIC)) == _TORCH_MAGIC
        while at < self._blob.size_bytes:
            at = self._walk_one(at)
            count += 1
            if is_torch and count == _TORCH_PICKLES:
                return  # raw tensor bytes follow, which torch copies into storages
        if is_torch:
            raise Uncovered("an old torch file that ends before its tensors")

    def record_programs(self) -> None:
        """Report what is called, can be imported, and is not harmless; nothing else."""
        for one in self._walk.imports.values():
            is_name = all(part.isidentifier() for part in f"{one.module}.{one.name}".split("."))
            if one.called and is_name and (standing := standing_of(one)) in (Standing.DANGEROUS, Standing.UNLISTED):
                self._report(one, standing)

    def _walk_one(self, at: int) -> int:
        machine = Machine(self._source, self._walk, self._scan.budget.spend_pickle_bytes, self._on_array)
        try:
            return machine.run(at)
        except BadPickle as err:
            told = plain_line(str(err), limit=200)
            raise BreaksOff(f"what begins at byte {at} breaks off as a pickle: {told}") from err

    def _on_array(self, machine: Machine, at: int) -> int:
        announced = read_announcement(machine, at)
        begin = announced.begin
        self._read_as_operations(
            machine, announced.behind, _PROGRAMS if not announced.holds_objects else _KNOWN_PROGRAMS
        )
        if announced.holds_objects:
            if self._depth >= _MAX_NESTED:
                raise Uncovered(f"arrays of objects nested deeper than {_MAX_NESTED} levels")
            self._depth += 1
            try:
                return self._walk_one(begin)
            finally:
                self._depth -= 1
        end = begin + announced.byte_count
        if end > self._blob.size_bytes:
            raise BadPickle(f"the array at byte {begin} is longer than the file")
        return end

    def _read_as_operations(self, machine: Machine, begin: int, bad: frozenset[Standing]) -> None:
        """`pickle.load` would take the numbers for operations: they must not be a program for it."""
        reading = _Reading(Walk(), begin, bad)
        try:
            machine.run_aside(reading.walk, begin)
        except BadPickle:
            pass  # it stumbles, as it should; what it imported until then counts
        except Uncovered as why:
            self._scan.gap(f"what the numbers at byte {begin} would do as a pickle: {why}")
        if reading.walk.imports:
            self._readings.append(reading)

    # --------------------------------------------------------------------------------------------------- what it means

    def record(self, own_modules: tuple[str, ...]) -> None:
        own = tuple(f"{module}." for module in own_modules)
        foreign = [one for one in self._walk.imports.values() if not f"{one.module}.".startswith(own or ("\0",))]
        # The worst first: of a flood of findings the last are not listed.
        standings = sorted((_WORST_FIRST.index(standing_of(one)), one.module, one.name, one) for one in foreign)
        for rank, _, _, one in standings:
            self._report(one, _WORST_FIRST[rank])
        for oddity, at in sorted(self._walk.oddities.items()):
            rule, message = _ODDITIES[oddity]
            self._scan.add(self._blob, rule, message, subject=oddity, offset=at)
        for program in find_programs(self._source, foreign):
            message = f"{program.gadget.runs} when it is loaded, and it is not what the library writes there"
            text = plain_line(program.text, limit=200)
            self._scan.add(self._blob, _STATE, f"{text}: {message}", subject=text, offset=program.offset)
        self._record_readings()
        for gap in self._walk.gaps:
            self._scan.gap(gap)
        loads_bytes = any((one.module, one.name) == LOADS_BYTES for one in foreign)
        makes_bytes = any(one.called and one.name in ("encode", "bytes", "bytearray") for one in foreign)
        if loads_bytes and (makes_bytes or len(self._walk.nested) != self._walk.byte_strings):
            self._scan.gap("which of its bytes torch would load as a file of its own")
        for begin, length in self._walk.nested:
            self._scan.unpack(self._blob, f"bytes at {begin}", cast("IO[bytes]", _Slice(self._source, begin, length)))

    def _report(self, one: Import, standing: Standing) -> None:
        name = plain_line(f"{one.module}.{one.name}", limit=200)
        does = "calls" if one.called else "imports"
        if standing is Standing.DANGEROUS:
            message = f"loading it {does} {name}, which runs commands, files or code of the sender's choice"
            self._scan.add(self._blob, _DANGEROUS, message, subject=name, offset=one.offset)
        elif standing is Standing.UNLISTED:
            message = f"loading it {does} {name}, which is not on the list of names known to be harmless"
            self._scan.add(self._blob, _UNLISTED, message, subject=name, offset=one.offset)
        elif standing is Standing.UNKNOWN:
            message = f"loading it makes objects of {name}, a class that only its authors can vouch for"
            self._scan.add(self._blob, _UNKNOWN, message, subject=name, offset=one.offset)
            self._scan.gap(f"what the class {name} does when it is loaded")

    def _record_readings(self) -> None:
        for reading in self._readings:
            bad = [one for one in reading.walk.imports.values() if standing_of(one) in reading.bad]
            names = ", ".join(plain_line(f"{one.module}.{one.name}", limit=100) for one in bad[:5])
            if bad:
                message = f"the numbers of an array are at the same time a program that imports {names}"
                self._scan.add(self._blob, _TWO_READINGS, message, subject=names, offset=reading.at)


class _Slice(io.RawIOBase):
    """A part of a blob as a stream."""

    def __init__(self, source: BlobSource, begin: int, length: int) -> None:
        self._source, self._at, self._end = source, begin, begin + length

    def read(self, count: int = -1) -> bytes:
        """The next bytes."""
        wanted = self._end - self._at if count < 0 else min(count, self._end - self._at)
        data = self._source.read_at(self._at, wanted)
        self._at += len(data)
        return data
