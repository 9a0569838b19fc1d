"""Texts and configurations that nobody would write: always a verdict, in bounded time and memory.

Hypothesis puts together texts from the words that the scanners look for; a process of the validators' interpreter
scans them.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.models import a_pickle_that_calls
from tests.support.scan_worker import Worker

pytestmark = [pytest.mark.contract, pytest.mark.fuzz, pytest.mark.timeout(300)]

_HANG_S = 10.0
_PEAK_MIB = 512
_SETTINGS = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
_NAMES = (
    "config.json",
    "rows.jsonl",
    "a.yaml",
    "MLmodel",
    "conda.yaml",
    "python_env.yaml",
    "requirements.txt",
    "a.txt",
    "a.md",
    "a.csv",
    "a.toml",
    "a.py",
    "a.ipynb",
    "a.sh",
    "a.xml",
    "a.html",
    "a.pth",
    "model_index.json",
    "modules.json",
    "m.safetensors.index.json",
    "chat.jinja",
    ".env",
    "Dockerfile",
)
_WORDS = st.sampled_from(
    (
        '"auto_map"',
        '"auto\\u005fmap"',
        "_target_: os.system",
        '"chat_template": "{{ x }}"',
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        '"',
        "\\",
        "\n",
        "- ",
        "  ",
        "flavors:\n  python_function:\n    loader_module: x\n",
        "!!python/name:os.system",
        "&a",
        "*a",
        "<<: *a",
        "? [a]",
        "dependencies:",
        "channels:",
        "-e git+https://x",
        "--hash=sha256:0",
        "a @ http://x",
        "a==1 \\\n",
        "password: ",
        "://a:b@",
        "AKIA",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "a" * 5000,
        "\ufeff",
        "\u202e",
        "\x00",
        "#",
        "import os\nos.system('x')\n",
        "def (",
        "(" * 300,
        '{"cells": [{"cell_type": "code", "source": ["!ls"]}]}',
        "<?xml version='1.0'?>",
        "<!ENTITY a 'b'>",
        "=cmd|' /C calc'!A0",
        "{% for a in b %}",
        "__import__('os')",
        base64.b64encode(a_pickle_that_calls("os", "system")).decode(),
        "gASV" * 30,
        "8004" * 40,
        "4wAAAAAA" * 9,
    )
)
_TEXTS = st.lists(st.one_of(_WORDS, st.text(max_size=12)), max_size=40).map("".join)
_ENCODINGS = st.sampled_from(("utf-8", "utf-16", "utf-8-sig", "utf-32"))


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made = Worker()
    yield made
    made.stop()


@_SETTINGS
@given(name=st.sampled_from(_NAMES), text=_TEXTS, encoding=_ENCODINGS)
def test_a_text_of_any_words_under_any_name_gets_a_verdict(worker: Worker, name: str, text: str, encoding: str) -> None:
    answer = worker.scan(name, text.encode(encoding, errors="surrogatepass"), timeout_s=_HANG_S)
    assert not answer.error, answer.error
    assert answer.verdict
    assert answer.peak_mib <= _PEAK_MIB


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("a.json", '"' + "a" * 100),
        ("a.json", "[" * 1000),
        ("a.json", '{"a":'),
        ("a.json", '"\\u0061": 1, '),
        ("a.json", '"chat_template": "{{'),
        ("a.jsonl", '"repo' * 20),
        ("a.jsonl", '"\\"' * 20),
        ("a.jsonl", "\\u0061" * 20),
        ("a.yaml", "a: &a [*a, *a]\n"),
        ("a.yaml", "- " * 50),
        ("a.yaml", "? " * 50),
        ("a.yaml", '"\\' * 50),
        ("a.yaml", "trust_remote_code" * 6),
        ("a.yaml", "!" + "a" * 150),
        ("a.txt", "password " * 12),
        ("a.txt", "aws secret "),
        ("a.txt", "://a:" * 20),
        ("a.txt", "-----BEGIN PRIVATE KEY-----" * 4),
        ("a.txt", "eyJ" + "a" * 90 + ".eyJ" + "a" * 90),
        ("a.txt", "gAJ" * 40),
        ("a.txt", "gA" * 50 + " "),
        ("a.txt", "8004" * 30),
        ("a.txt", "UEsDB" * 30 + "\n"),
        ("a.csv", ",=" * 50),
        ("a.csv", "=|" * 50),
        ("a.md", "<script" * 12),
        ("a.xml", "<!ENTITY " * 12),
        ("a.sh", "curl " * 20),
        ("a.sh", "#!/bin/sh\nwget "),
        ("a.py", "(" * 100),
        ("a.py", "a." * 50),
        ("a.py", "-" * 100),
        ("a.py", "x = [" * 20),
        ("requirements.txt", "a " * 50),
        ("requirements.txt", "a==1 -" * 20),
        ("requirements.txt", "a[" * 50),
        ("requirements.txt", "\\\n"),
        ("conda.yaml", "dependencies: [a=1.2.3.4]\n"),
    ],
)
def test_a_megabyte_of_one_thing_again_and_again_does_not_hang(worker: Worker, name: str, unit: str) -> None:
    answer = worker.scan(name, (unit * (1_000_000 // len(unit))).encode(), timeout_s=_HANG_S)
    assert not answer.error, answer.error
    assert answer.peak_mib <= _PEAK_MIB
