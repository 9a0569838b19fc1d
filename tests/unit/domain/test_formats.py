"""What a file is: its bytes decide, its name only among kinds of plain text."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.formats import HEAD_BYTES, detect_format
from tests.support.models import (
    a_pickle_that_calls,
    a_safetensors_file,
    a_tar,
    a_torch_file,
    a_zip,
    an_array_file,
    an_onnx_model,
)

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (an_onnx_model(), "onnx"),
        (an_onnx_model(inputs=300), "onnx"),
        (a_safetensors_file(w=np.ones((2, 3))), "safetensors"),
        (an_array_file(np.ones(3)), "npy"),
        (a_torch_file(pickle.dumps({})), "torch"),
        (a_zip({"a.txt": b"a"}), "zip"),
        (a_tar({"a.txt": b"a"}), "tar"),
        (gzip.compress(b"a"), "gzip"),
        (bz2.compress(b"a"), "bzip2"),
        (lzma.compress(b"a"), "xz"),
        (lzma.compress(b"a", format=lzma.FORMAT_ALONE), "lzma"),
        (zlib.compress(b"\x00" * 100), "zlib"),
        (b"\x89HDF\r\n\x1a\n" + bytes(10), "hdf5"),
        (b"GGUF\x03\0\0\0", "gguf"),
        (b"\x20\0\0\0TFL3" + bytes(20), "tflite"),
        (b"\x7fELF\x02\x01", "elf"),
        (b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0", "pe"),
        (b"\xcf\xfa\xed\xfe" + bytes(8), "macho"),
        (b"#!/bin/sh\n", "script"),
        (b"%PDF-1.7\n", "pdf"),
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"<!DOCTYPE html><html>", "html"),
        (b"", "empty"),
        (b"\x00\x01\x02\x03", "unknown"),
    ],
)
@pytest.mark.parametrize("name", ["model.json", "model.txt", "model"])
def test_bytes_decide_whatever_the_name_says(name: str, data: bytes, expected: str) -> None:
    assert detect_format(name, data[:HEAD_BYTES]) == expected


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [{"a": [1, 2.5]}, [None, "x" * 9000], ("a", b"b"), 10**30])
def test_a_pickle_of_any_protocol_is_a_pickle_under_any_name(value: object, protocol: int) -> None:
    assert detect_format("config.json", pickle.dumps(value, protocol)[:HEAD_BYTES]) == "pickle"


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_something_is_recognised_even_when_cut_after_the_call(protocol: int) -> None:
    assert detect_format("notes.txt", a_pickle_that_calls("os", "system", protocol=protocol)[:-1]) == "pickle"


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("config.json", '{"a": 1}', "json"),
        ("config.json", "a: 1", "text"),
        ("config.json", '{"a": ', "text"),
        ("a/b/serving.yaml", "headers: {}\n", "yaml"),
        ("MLmodel", "flavors: {}\n", "yaml"),
        ("README.md", "# Model\n", "markdown"),
        ("sample.csv", "cat\ndog\n", "csv"),
        ("sample.csv", "0.5,1\n", "csv"),
        ("modeling.py", "import os\n", "python"),
        ("run.sh", "echo\n", "script"),
        ("chat.jinja", "{{ x }}", "template"),
        ("explore.ipynb", '{"cells": []}', "notebook"),
        ("LICENSE", "(c) somebody\n", "text"),
        ("vocab.txt", "grüße\n", "text"),
        ("weights.bin", "only text\n", "unknown"),
        ("notes", "only text\n", "unknown"),
        ("notes.txt", "bell \x07\n", "unknown"),
    ],
)
def test_plain_text_is_told_by_its_name(path: str, text: str, expected: str) -> None:
    assert detect_format(path, text.encode()) == expected


def test_a_character_cut_by_the_head_does_not_make_text_unknown() -> None:
    text = ("x" * (HEAD_BYTES - 1) + "ü" * 10).encode()
    assert detect_format("a.txt", text[:HEAD_BYTES]) == "text"


def test_an_onnx_file_needs_its_graph() -> None:
    assert detect_format("model.onnx", b"\x08\x09") == "unknown"


@given(st.binary(max_size=300), st.sampled_from(["a.json", "a.txt", "a.bin", "a"]))
def test_no_bytes_make_the_detection_fail(data: bytes, path: str) -> None:
    assert detect_format(path, data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_every_pickle_is_a_pickle(value: object) -> None:
    for protocol in (2, 3, 4, 5):
        assert detect_format("a.csv", pickle.dumps(value, protocol)[:HEAD_BYTES]) == "pickle"
