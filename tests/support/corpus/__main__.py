"""Write a corpus: `python -m tests.support.corpus {malicious,honest,torch,seeds} FOLDER`."""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from tests.support.corpus.sample import Sample, write

_MODULES = {
    "malicious": (
        "malicious_calls", "malicious_pickles", "malicious_containers", "malicious_graphs", "malicious_layers",
        "malicious_folders",
    ),
    "honest": ("honest_pickles", "honest_formats", "honest_packages"),
    "torch": ("honest_torch",),
    "seeds": ("seeds",),
}  # fmt: skip


def corpus(kind: str) -> list[Sample]:
    """All samples of a kind: `malicious`, `honest`, `torch` (honest too), `seeds` (for fuzzing)."""
    modules = [import_module(f"tests.support.corpus.{name}") for name in _MODULES[kind]]
    return [sample for module in modules for sample in module.samples()]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="tests.support.corpus", description=__doc__)
    parser.add_argument("kind", choices=_MODULES)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    write(corpus(given.kind), given.folder)


if __name__ == "__main__":
    main()
