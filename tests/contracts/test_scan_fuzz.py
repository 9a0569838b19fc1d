"""The security scan against bytes that nobody would write: mutated files of every format, and random pickle programs.

Whatever comes, the scan answers: no crash, no hang over ten seconds, memory bounded, and never `passed` for a container
that is cut short. Hypothesis chooses the bytes, always the same ones; a process of the validators' interpreter scans.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.corpus.places import VALIDATORS, write_with
from tests.support.scan_worker import Answer, Worker

pytestmark = [pytest.mark.contract, pytest.mark.fuzz, pytest.mark.timeout(600)]

_HANG_CPU_S = 10.0
_DEADLINE_S = 120.0
"""On the clock: only for what does not end at all, since a busy machine takes its time."""
_PEAK_MIB = 512
_SETTINGS = settings(
    max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
_EXTREMES = tuple(
    struct.pack(f"<{kind}", value & mask)
    for kind, mask in (("B", 0xFF), ("H", 0xFFFF), ("I", 0xFFFFFFFF), ("Q", 0xFFFFFFFFFFFFFFFF))
    for value in (0, 1, 0x7F, -1, 2**31, 2**63 - 1)
)
Mutation = Callable[[bytes], bytes]


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[bytes, bool]]:
    """Valid files by name, and whether a shorter one must never pass."""
    folder = tmp_path_factory.mktemp("seeds")
    written = write_with(VALIDATORS, "seeds", folder)
    return {item.name: (Path(folder, item.name, item.name).read_bytes(), item.known) for item in written}


def _at(data: bytes, place: float) -> int:
    return min(int(place * len(data)), max(0, len(data) - 1))


@st.composite
def _mutations(draw: st.DrawFn) -> Mutation:
    """One change of a file at a random place."""
    place, other = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    patch = draw(st.one_of(st.sampled_from(_EXTREMES), st.binary(min_size=1, max_size=8)))
    kind = draw(st.sampled_from(("overwrite", "insert", "delete", "repeat", "move", "flip", "cut")))

    def change(data: bytes) -> bytes:
        at, till = sorted((_at(data, place), _at(data, other)))
        if kind == "overwrite":
            return data[:at] + patch + data[at + len(patch) :]
        if kind == "insert":
            return data[:at] + patch + data[at:]
        if kind == "delete":
            return data[:at] + data[till:]
        if kind == "repeat":
            return data[:at] + data[at : at + 64] * 50 + data[at:]
        if kind == "move":
            return data[till:] + data[:at] + data[at:till]
        if kind == "flip":
            return data[:at] + bytes(byte ^ 0xFF for byte in data[at : at + 1]) + data[at + 1 :]
        return data[:at]

    return change


def _assert_answered(answer: Answer) -> None:
    assert not answer.error, answer.error
    assert answer.verdict
    assert answer.cpu_s <= _HANG_CPU_S
    assert answer.peak_mib <= _PEAK_MIB


@_SETTINGS
@given(data=st.data())
def test_a_mutated_file_of_any_format_gets_a_verdict(
    worker: Worker, seeds: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(seeds)))
    content = seeds[name][0]
    for mutation in data.draw(st.lists(_mutations(), min_size=1, max_size=4)):
        content = mutation(content)
    _assert_answered(worker.scan(name, content, timeout_s=_DEADLINE_S))


@_SETTINGS
@given(data=st.data())
def test_a_container_that_is_cut_short_never_passes(
    worker: Worker, seeds: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(name for name, (_, whole) in seeds.items() if whole)))
    content = seeds[name][0]
    answer = worker.scan(name, content[: data.draw(st.integers(1, len(content) - 1))], timeout_s=_DEADLINE_S)
    _assert_answered(answer)
    assert answer.verdict != "passed"


@_SETTINGS
@given(data=st.data())
def test_two_files_spliced_into_one_get_a_verdict(
    worker: Worker, seeds: dict[str, tuple[bytes, bool]], data: st.DataObject
) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(seeds)), min_size=2, max_size=2))
    first, second = (seeds[name][0] for name in names)
    content = first[: data.draw(st.integers(0, len(first)))] + second[data.draw(st.integers(0, len(second))) :]
    _assert_answered(worker.scan(names[0], content, timeout_s=_DEADLINE_S))


_PUSHES = st.one_of(
    st.just(pickle.NONE),
    st.just(pickle.EMPTY_DICT),
    st.just(pickle.EMPTY_LIST),
    st.binary(max_size=20).map(lambda data: pickle.SHORT_BINBYTES + bytes([len(data)]) + data),
    st.text("os.ystem", max_size=9).map(lambda text: pickle.SHORT_BINUNICODE + bytes([len(text)]) + text.encode()),
    st.integers(0, 255).map(lambda number: pickle.BININT1 + bytes([number])),
    st.sampled_from((b"\x8c\x02os\x94", b"\x8c\x06system\x94", b"cbuiltins\nlist\n", b"cbuiltins\ndict\n)R")),
)
_ON_ONE = st.sampled_from(
    (pickle.DUP + pickle.POP, pickle.MEMOIZE, pickle.TUPLE1, b"q\x05h\x050", b"r\x07\0\0\0", b"p9\n")
)
_CALLS = st.sampled_from(
    (
        b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R",
        b"\x8c\x02os\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85R",
        b"cos\nsystem\nVtrue\n\x85R",
        b"(Vtrue\nios\nsystem\n",
        b"(cos\nsystem\nVtrue\no",
        b"\x8c\x06system\x94q\x630\x8c\x02osh\x63\x93\x8c\x04true\x85R",
        b"(\x8c\x02os\x8c\x05torch1\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R",
    )
)


@st.composite
def _programs(draw: st.DrawFn) -> bytes:
    """A pickle that the unpickler would follow up to a call of `os.system`, with anything around it."""
    steps, depth = [pickle.PROTO + bytes([draw(st.integers(2, 5))])], 0
    for _ in range(draw(st.integers(0, 12))):
        if depth and draw(st.booleans()):
            pops = draw(st.booleans())
            steps.append(pickle.POP if pops else draw(_ON_ONE))
            depth -= pops
        else:
            steps.append(draw(_PUSHES))
            depth += 1
    return b"".join((*steps, draw(_CALLS), draw(st.binary(max_size=10)), pickle.STOP))


@_SETTINGS
@given(program=_programs())
def test_a_call_is_found_wherever_in_a_program_it_stands(worker: Worker, program: bytes) -> None:
    answer = worker.scan("model.pkl", program, timeout_s=_DEADLINE_S)
    _assert_answered(answer)
    assert answer.verdict == "failed", (program, answer.said)


@_SETTINGS
@given(operations=st.lists(st.integers(0, 255), max_size=60).map(bytes))
def test_random_operations_get_a_verdict(worker: Worker, operations: bytes) -> None:
    _assert_answered(worker.scan("model.pkl", b"\x80\x04" + operations, timeout_s=_DEADLINE_S))
