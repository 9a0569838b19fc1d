"""The walk over a pickle's operations: what is imported, what is called, and where readers could disagree."""

from __future__ import annotations

import contextlib
import pickle
import pickletools
import struct
from collections import OrderedDict
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.validators.security_scan.pickle_values import BadPickle, Oddity, Walk
from model_approval.validators.security_scan.pickle_walk import Machine
from model_approval.validators.security_scan.scan import Uncovered
from tests.support.models import a_pickle_that_calls

pytestmark = pytest.mark.unit

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=30,
)


class _Bytes:
    """Bytes as the walk's source."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size_bytes = data, len(data)

    def read_at(self, offset: int, count: int) -> bytes:
        return self._data[offset : offset + count]


def _walk(data: bytes) -> tuple[Walk, int]:
    walk = Walk()
    return walk, Machine(_Bytes(data), walk, lambda count: None).run(0)


def _names(data: bytes) -> set[str]:
    return {f"{one.module}.{one.name}" for one in _walk(data)[0].imports.values()}


def _text(text: str) -> bytes:
    return b"\x8c" + bytes([len(text)]) + text.encode()


@given(_VALUES, st.integers(0, 5))
def test_plain_data_imports_nothing_and_is_walked_to_its_end(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    walk, end = _walk(data + b"more")
    assert end == len(data)
    assert walk.oddities == {}
    assert {one.module for one in walk.imports.values()} <= {"_codecs", "__builtin__"}


@pytest.mark.parametrize("protocol", range(6))
def test_every_import_of_an_object_is_named(protocol: int) -> None:
    value = {"a": np.arange(3.0), "b": OrderedDict(x=datetime(2026, 1, 1, tzinfo=UTC)), "c": {1, 2}}
    data = pickle.dumps(value, protocol)
    told = {str(arg).replace(" ", ".") for code, arg, _ in pickletools.genops(data) if code.name == "GLOBAL"}
    assert told <= _names(data)
    assert {"collections.OrderedDict", "datetime.datetime"} <= _names(data)


@pytest.mark.parametrize("protocol", range(5))
def test_a_call_is_told_from_an_import(protocol: int) -> None:
    walk, _ = _walk(a_pickle_that_calls("acme", "run", protocol=protocol))
    assert walk.imports["acme", "run"].called
    walk, _ = _walk(b"\x80\x04cacme\nrun\n.")
    assert not walk.imports["acme", "run"].called


def test_an_instance_made_the_ordinary_way_is_not_a_call() -> None:
    found = _walk(b"\x80\x02cacme\nScorer\n)\x81}b.")[0].imports["acme", "Scorer"]
    assert (found.made, found.called) == (True, False)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"\x80\x04" + _text("posix") + _text("system") + b"N0\x93.", id="value popped in between"),
        pytest.param(b"\x80\x04" + _text("posix") + b"\x940" + _text("system") + b"\x940h\x00h\x01\x93.", id="kept"),
        pytest.param(b"\x80\x04(" + _text("x") + b"1" + _text("posix") + _text("system") + b"\x93.", id="mark popped"),
        pytest.param(b"\x80\x04" + _text("posix") + b"20" + _text("system") + b"\x93.", id="doubled and popped"),
        pytest.param(b"Vposix\nVsyste\\u006d\n\x93.", id="escaped"),
        pytest.param(b"S'posix'\nS'syst\\x65m'\n\x93.", id="escaped literal"),
        pytest.param(b"\x80\x02U\x05posixT\x06\0\0\0system\x93.", id="byte strings"),
        pytest.param(b"\x80\x02U\x05posixr\xff\0\0\x000j\xff\0\0\0U\x06system\x93.", id="numbered far away"),
        pytest.param(b"(iposix\nsystem\n.", id="INST"),
        pytest.param(b"(cposix\nsystem\no.", id="OBJ"),
        pytest.param(b"\x80\x04\x95" + struct.pack("<Q", 16) + b"cposix\nsystem\n." + b"", id="in a frame"),
    ],
)
def test_a_name_is_told_however_it_is_put_together(program: bytes) -> None:
    assert "posix.system" in _names(program)


def test_an_import_found_before_the_pickle_breaks_off_is_kept() -> None:
    walk = Walk()
    with pytest.raises(BadPickle):
        Machine(_Bytes(b"\x80\x02cposix\nsystem\n\xff"), walk, lambda count: None).run(0)
    assert ("posix", "system") in walk.imports


@pytest.mark.parametrize(
    ("program", "oddity"),
    [
        (b"\x80\x02\x82\x01.", Oddity.EXTENSION),
        (b"\x80\x04" + _text("posix") + b"N\x93.", Oddity.UNTOLD_IMPORT),
        (b"\x80\x04cbuiltins\ndict\n)R)R.", Oddity.COMPUTED_CALL),
        (b"\x80\x04N)R.", Oddity.COMPUTED_CALL),
        (b"\x80\x04\x95" + struct.pack("<Q", 3) + _text("os") + b"N.", Oddity.FRAME),
        (b"\x80\x04\x95" + struct.pack("<Q", 20) + b"N\x95" + struct.pack("<Q", 2) + b"N.", Oddity.FRAME),
        (b"\x80\x04\x95" + struct.pack("<Q", 3) + b"\x42\x04\0\0\0abcd.", Oddity.FRAME),
    ],
)
def test_what_readers_disagree_on_is_odd(program: bytes, oddity: Oddity) -> None:
    walk = Walk()
    try:
        Machine(_Bytes(program), walk, lambda count: None).run(0)
    except BadPickle:
        assert walk.oddities  # it may break off after what is odd
    assert oddity in walk.oddities


@pytest.mark.parametrize("size", [10, 70_000, 1_200_000])
def test_honest_frames_are_not_odd(size: int) -> None:
    data = pickle.dumps([b"x" * size, "y" * size, list(range(size // 10)), b"z" * size], 4)
    assert _walk(data)[0].oddities == {}


@pytest.mark.parametrize(
    "program",
    [
        b"", b"\x80\x04", b"\x80\x04N", b"R.", b"N(t", b"u.", b"h\x05.", b"\xff.", b"cposix", b"I" * 10,
        b"\x80\x04B\xff\xff\xff\x7fx.", b"\x8c\xffabc", b"gx\n.", b"\x80\x04\x95" + b"\xff" * 8 + b"N",
    ],
)  # fmt: skip
def test_what_breaks_off_is_said(program: bytes) -> None:
    with pytest.raises(BadPickle):
        _walk(program)


@pytest.mark.parametrize(
    "program",
    [
        # MEMOIZE numbers by the count of kept values: 1 after one PUT, whatever number that PUT chose.
        b"\x80\x04Nr\x05\0\0\0" + _text("posix") + b"\x94" + _text("system") + b"\x94h\x01h\x02\x93.",
        # A number that is put twice counts once.
        b"\x80\x04Nr\x05\0\0\0Nr\x05\0\0\0" + _text("posix") + b"\x94" + _text("system") + b"\x94h\x01h\x02\x93.",
        b"\x80\x04Nr\x02\0\0\0" + _text("posix") + b"q\x03" + _text("system") + b"\x94h\x03h\x02\x93.",
    ],
)
def test_values_are_numbered_as_unpicklers_do_when_both_ways_are_mixed(program: bytes) -> None:
    assert "posix.system" in _names(program)


def test_number_that_was_left_out_holds_nothing() -> None:
    with pytest.raises(BadPickle, match="never kept"):
        _walk(b"\x80\x04Nr\x05\0\0\0h\x01.")


class _Counting(_Bytes):
    """Counts the bytes that are read."""

    read = 0

    def read_at(self, offset: int, count: int) -> bytes:
        self.read += min(count, self.size_bytes - offset)
        return super().read_at(offset, count)


def test_long_values_are_passed_over() -> None:
    source = _Counting(pickle.dumps([bytes(20_000_000), bytes(30_000_000)], 4))
    Machine(source, Walk(), lambda count: None).run(0)
    assert source.read < 3_000_000


@pytest.mark.fuzz
@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_walk_or_in_words(data: bytes) -> None:
    try:
        _, end = _walk(data)
    except (BadPickle, Uncovered):
        return
    assert 0 < end <= len(data)


@pytest.mark.fuzz
@given(_VALUES, st.integers(0, 5), st.data())
def test_changed_bytes_never_hide_an_import_that_stands_in_full(
    value: object, protocol: int, data: st.DataObject
) -> None:
    program = bytearray(pickle.dumps([value, OrderedDict(a=1)], protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        program[data.draw(st.integers(0, len(program) - 1))] = data.draw(st.integers(0, 255))
    told: set[str] = set()
    with contextlib.suppress(Exception):  # broken pickles fail in every way there is
        told |= {str(arg) for code, arg, _ in pickletools.genops(bytes(program)) if code.name in ("GLOBAL", "INST")}
    walk = Walk()
    with contextlib.suppress(BadPickle, Uncovered):
        Machine(_Bytes(bytes(program)), walk, lambda count: None).run(0)
        assert told <= {f"{one.module} {one.name}" for one in walk.imports.values()}
