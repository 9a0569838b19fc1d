"""Reading a pickle without running it: every import is named, and what is odd is said."""

from __future__ import annotations

import io
import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.validators.security_scan.allowed_globals import ALLOWED, is_allowed
from model_approval.validators.security_scan.pickle_walk import Import, Oddity, Walk, walk_pickle
from tests.support.models import a_pickle_that_calls

pytestmark = pytest.mark.unit


def _walk(data: bytes) -> Walk:
    walk = Walk()
    walk_pickle(io.BytesIO(data), len(data), lambda: None, walk)
    return walk


def _by_pickletools(data: bytes) -> set[tuple[str, str]]:
    """What protocol 2 says about the same object, where every import stands in full."""
    operations = pickletools.genops(data)
    return {tuple(str(argument).split(" ", 1)) for opcode, argument, _ in operations if opcode.name == "GLOBAL"}  # type: ignore[misc]


@pytest.mark.parametrize("protocol", range(6))
def test_an_import_is_named_in_every_protocol(protocol: int) -> None:
    found = _walk(a_pickle_that_calls("posix", "system", protocol=protocol)).imports
    assert [(item.module, item.name) for item in found] == [("posix", "system")]


@pytest.mark.parametrize("protocol", [4, 5])
def test_names_that_come_back_from_the_memo_are_told(protocol: int) -> None:
    value = [np.dtype("f4"), np.arange(3), np.float64(1.5), np.dtype("i8"), [np.ones(2)] * 3]
    walk = _walk(pickle.dumps(value, protocol))
    assert {item.module.partition(".")[0] for item in walk.imports} == {"numpy"}
    assert {item.name for item in walk.imports} >= {"dtype", "scalar"}
    assert walk.oddities == []


def test_a_name_from_an_odd_place_is_called_untold() -> None:
    walk = _walk(b"\x80\x04\x8c\x05posix\x8c\x06systemN0\x93\x8c\x04true\x85R.")
    assert [oddity for oddity, _ in walk.oddities] == [Oddity.UNTOLD_IMPORT]


def test_a_memo_entry_put_after_a_pop_is_not_believed() -> None:
    # `os` is on top when the memo is written, `collections` was pushed last.
    walk = _walk(b"\x80\x04\x8c\x02os\x8c\x0bcollections0\x94\x8c\x06systemh\x00\x8c\x06system\x93.")
    assert walk.imports == []
    assert [oddity for oddity, _ in walk.oddities] == [Oddity.UNTOLD_IMPORT]


def test_an_operation_across_the_end_of_a_frame_is_odd() -> None:
    walk = _walk(b"\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\x02os\x94N.")
    assert (Oddity.FRAME, 11) in walk.oddities


@pytest.mark.parametrize("size", [10, 70_000, 3_000_000])
def test_honest_frames_and_long_bytes_are_not_odd(size: int) -> None:
    walk = _walk(pickle.dumps([b"x" * size, "y" * size, list(range(500))], 5))
    assert (walk.oddities, walk.imports) == ([], [])


def test_what_was_imported_before_the_pickle_breaks_off_is_kept() -> None:
    walk, data = Walk(), a_pickle_that_calls("posix", "system")[:-1]
    with pytest.raises(ValueError, match="pickle exhausted"):
        walk_pickle(io.BytesIO(data), len(data), lambda: None, walk)
    assert walk.imports == [Import("posix", "system", 2)]


def test_a_promise_of_more_bytes_than_there_are_breaks_off_without_memory() -> None:
    data = b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"x."
    with pytest.raises(ValueError, match="expected 1099511627776 bytes"):
        _walk(data)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


@given(_VALUES)
def test_all_protocols_of_one_object_import_the_same(value: object) -> None:
    wanted = _by_pickletools(pickle.dumps(value, 2))
    for protocol in (4, 5):
        walk = _walk(pickle.dumps(value, protocol))
        modern = {(item.module, item.name) for item in walk.imports}
        assert {key for key in wanted if key[0] == "datetime"} == {key for key in modern if key[0] == "datetime"}
        assert all(is_allowed(*key) for key in modern)
        assert walk.oddities == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("builtins", "eval"), ("builtins", "getattr"), ("builtins", "exec"), ("builtins", "open"), ("os", "system"),
        ("builtins", "dict.update"), ("torch", "load"), ("torch.storage", "_load_from_bytes"), ("numpy", "load"),
        ("functools", "partial"), ("operator", "attrgetter"), ("collections", "namedtuple"), ("", ""),
    ],
)  # fmt: skip
def test_what_can_run_code_is_not_on_the_allow_list(module: str, name: str) -> None:
    assert not is_allowed(module, name)


def test_the_allow_list_names_no_whole_module() -> None:
    assert all("*" not in names and names for names in ALLOWED.values())
