"""A sample: files, what is expected of a scan of them, and how samples get to disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

INDEX = "index.json"

Files = Mapping[str, bytes]
Builder = Callable[[], bytes | Files]


@dataclass(frozen=True)
class Sample:
    """One artifact of the corpus.

    Attributes:
        name: Its folder; unique, and the file's name when the builder makes a single file.
        build: Makes the bytes, or the files by relative path.
        rule: What the id of a finding about a malicious one begins with; any of several parted by `|`.
        known: Whether an honest one is of a kind that the scan must cover; else it must be inconclusive.
    """

    name: str
    build: Builder
    rule: str = ""
    known: bool = True

    def files(self) -> dict[str, bytes]:
        """The files by path below the sample's folder."""
        made = self.build()
        return {self.name: made} if isinstance(made, bytes) else dict(made)


@dataclass(frozen=True)
class Written:
    """A sample on disk, as `index.json` lists it."""

    name: str
    rule: str
    known: bool


def write(samples: Iterable[Sample], folder: Path) -> tuple[Written, ...]:
    """Write samples below a folder, with an index.

    Raises:
        ValueError: Two samples have the same name.
    """
    written: list[Written] = []
    for sample in samples:
        if any(other.name.casefold() == sample.name.casefold() for other in written):
            raise ValueError(f"two samples are called {sample.name}")
        for path, data in sample.files().items():
            target = folder / sample.name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        written.append(Written(sample.name, sample.rule, sample.known))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).write_text(json.dumps([vars(item) for item in written], indent=1), encoding="utf-8")
    return tuple(written)


def read_index(folder: Path) -> tuple[Written, ...]:
    """What `write` wrote."""
    return tuple(Written(**item) for item in json.loads((folder / INDEX).read_text(encoding="utf-8")))
