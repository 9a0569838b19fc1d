"""What our scan, picklescan and modelaudit catch of the malicious corpus, and which honest models they alarm about.

`make bench ARGS='-k catch or alarm'`. Prints a table; further folders of samples can be named in
`SCAN_CORPUS_MALICIOUS` and `SCAN_CORPUS_HONEST` (entries are files or folders, one a sample).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.support.corpus.judge import JUDGES, Judgement
from tests.support.corpus.places import REPOSITORY, SAMPLES, VALIDATORS, torch_python, write_with

pytestmark = pytest.mark.timeout(3600)


def _judgements(judge: str, folder: Path) -> list[Judgement]:
    result = subprocess.run(
        [str(VALIDATORS), "-m", "tests.support.corpus.judge", judge, str(folder)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return [Judgement(**json.loads(line)) for line in result.stdout.splitlines()]


def _table(kind: str, folder: Path) -> dict[str, Counter[str]]:
    answers = {judge: _judgements(judge, folder) for judge in JUDGES}
    print(f"\n{kind}: {len(answers['ours'])} samples of {folder}")
    for judge, judgements in answers.items():
        counts = Counter(judgement.verdict for judgement in judgements)
        print(f"  {judge:<12}" + "".join(f"{verdict} {counts[verdict]:>4}   " for verdict in _VERDICTS))
    wanted = "failed" if kind == "malicious" else "passed"
    for judgement in answers["ours"]:
        if judgement.verdict != wanted:
            print(f"    {judgement.verdict} {judgement.name}: {'; '.join(judgement.said)[:200]}")
    return {judge: Counter(judgement.verdict for judgement in judgements) for judge, judgements in answers.items()}


_VERDICTS = ("failed", "inconclusive", "passed")


def _folders(kind: str, tmp_path: Path) -> list[Path]:
    made = tmp_path / kind
    if kind == "malicious":
        write_with(VALIDATORS, kind, made)
    else:
        write_with(SAMPLES, kind, made)
        if python := torch_python():
            write_with(python, "torch", tmp_path / "torch")
    named = os.environ.get(f"SCAN_CORPUS_{kind.upper()}")
    return [made, *((tmp_path / "torch",) if (tmp_path / "torch").exists() else ()), *([Path(named)] if named else [])]


def test_we_catch_what_the_others_catch_together(tmp_path: Path) -> None:
    for folder in _folders("malicious", tmp_path):
        counts = _table("malicious", folder)
        assert counts["ours"]["failed"] >= max(counts[judge]["failed"] for judge in JUDGES)


def test_we_alarm_less_than_the_others(tmp_path: Path) -> None:
    if not SAMPLES.exists():
        pytest.skip("no .venv-samples: make setup-tests")
    for folder in _folders("honest", tmp_path):
        counts = _table("honest", folder)
        assert counts["ours"]["failed"] <= max(1, 0.01 * counts["ours"].total())
