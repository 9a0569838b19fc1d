"""How many server processes a model gets, and what becomes of those that do not come up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.copies import Cost, Means, affordable, free_memory_bytes, start_copies

pytestmark = pytest.mark.unit
_MIB, _GIB = 1024**2, 1024**3
_CHEAP = Cost((0.5, 0.5), (100 * _MIB, 100 * _MIB))
_MEANS = Means(2, 16 * _GIB)


@dataclass
class Started:
    name: str
    fails: bool = False
    closed: list[str] = field(default_factory=list)

    def wait_ready(self, longest_s: float) -> float:
        if self.fails:
            raise EvidenceError(f"{self.name}: killed from outside")
        return longest_s

    def close(self) -> None:
        self.closed.append(self.name)


def test_models_that_load_fast_get_all_the_processes_that_are_wanted() -> None:
    assert affordable(12, _CHEAP, _MEANS) == (12, 12, "")


@pytest.mark.parametrize(
    ("cost", "means", "counts", "words"),
    [
        (Cost((2.0, 2.0), (1, 1)), _MEANS, (5, 5), "loading them takes about 22 s"),
        (Cost((20.0, 20.0), (1, 1)), _MEANS, (2, 2), "loading them takes about 220 s"),
        (Cost((70.0, 40.0), (1, 1)), Means(1, _GIB), (1, 2), "loading them takes"),
        (Cost((200.0, 200.0), (1, 1)), _MEANS, (1, 1), "loading them takes"),
        (_CHEAP, Means(2, 800 * _MIB), (3, 3), "2200 MiB of memory, and only 800 MiB are free"),
        (Cost((0.5, 0.5), (1, 1), (30 * _GIB, 30 * _GIB)), Means(2, _GIB, 20 * _GIB), (1, 1), "of the GPU's memory"),
    ],
)
def test_time_and_memory_bound_the_processes_and_the_reason_is_told(
    cost: Cost, means: Means, counts: tuple[int, int], words: str
) -> None:
    *found, why = affordable(12, cost, means)
    assert tuple(found) == counts
    assert why.startswith("12 processes of each model would be too many: ")
    assert words in why


def test_a_process_that_does_not_come_up_is_ended_and_left_out() -> None:
    closed: list[str] = []
    found = start_copies(
        (3, 3), lambda name, number: Started(f"{name} {number}", (name, number) == ("champion", 2), closed), 5.0
    )
    assert [one.name for one in found.candidates] == ["candidate 2", "candidate 3"]
    assert [one.name for one in found.champions] == ["champion 3"]
    assert closed == ["champion 2"]
    assert found.note == "a further process did not come up: champion 2: killed from outside"


def test_a_containers_limit_counts_and_its_file_cache_is_free(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:   4000 kB\n", encoding="ascii")
    assert free_memory_bytes(tmp_path, tmp_path / "meminfo") == 4000 * 1024
    for name, text in (("max", "3000000"), ("current", "2000000"), ("stat", "anon 1500000\nfile 500000\n")):
        (tmp_path / f"memory.{name}").write_text(text, encoding="ascii")
    assert free_memory_bytes(tmp_path, tmp_path / "meminfo") == 1_500_000
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    assert free_memory_bytes(tmp_path, tmp_path / "meminfo") == 4000 * 1024
