"""GGUF in the security scan: hostile chat templates and impossible figures are found, honest models pass."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_approval.domain.evidence import Evidence
from model_approval.validators.security_scan.scan import Blob, FileScan
from model_approval.validators.security_scan.table import ScannerTable
from tests.support.gguf_samples import ARRAY, STRING, Tensor, a_gguf_file
from tests.support.validation import coverage_of, evidence_about, findings_in, grave_rules

pytestmark = pytest.mark.contract

_ESCAPE = "{{ cycler.__init__.__globals__.os.popen('true').read() }}"
_HUGE = 2**61

MALICIOUS: dict[str, tuple[bytes, str]] = {
    "template.gguf": (a_gguf_file({"tokenizer.chat_template": _ESCAPE}), "template.escape"),
    "named-template.gguf": (a_gguf_file({"tokenizer.chat_template.tool_use": _ESCAPE}), "template.escape"),
    "pieces.gguf": (a_gguf_file({"tokenizer.chat_template": "{{ x['__cl' ~ 'ass__'] }}"}), "template.escape"),
    "many-tensors.gguf": (a_gguf_file(counts=(_HUGE, 3)), "gguf.bounds"),
    "many-keys.gguf": (a_gguf_file(counts=(2, _HUGE)), "gguf.bounds"),
    "long-text.gguf": (a_gguf_file({"a": struct.pack("<IQ", STRING, _HUGE)}), "gguf.bounds"),
    "long-array.gguf": (a_gguf_file({"a": struct.pack("<IIQ", ARRAY, STRING, _HUGE)}), "gguf.bounds"),
    "long-numbers.gguf": (a_gguf_file({"a": struct.pack("<IIQ", ARRAY, 4, _HUGE)}), "gguf.bounds"),
    "long-token.gguf": (a_gguf_file({"a": struct.pack("<IIQQ", ARRAY, STRING, 1, _HUGE)}), "gguf.bounds"),
    "dimensions.gguf": (a_gguf_file(tensors=(Tensor("a", shape=(1,) * 64),)), "gguf.bounds"),
    "elements.gguf": (a_gguf_file(tensors=(Tensor("a", shape=(2**32, 2**32)),)), "gguf.bounds"),
    "offset.gguf": (a_gguf_file(tensors=(Tensor("a", offset=_HUGE),)), "gguf.bounds"),
    "overlap.gguf": (a_gguf_file(tensors=(Tensor("a"), Tensor("b", offset=0))), "gguf.bounds"),
    "alignment.gguf": (a_gguf_file({"general.alignment": 0}), "gguf.bounds"),
    "same-key.gguf": (a_gguf_file([("a", "1"), ("a", "2")]), "gguf.duplicate"),
    "same-tensor.gguf": (a_gguf_file(tensors=(Tensor("a"), Tensor("a"))), "gguf.duplicate"),
}

HONEST: dict[str, bytes] = {
    "good/plain.gguf": a_gguf_file(),
    "good/second-version.gguf": a_gguf_file(version=2),
    "good/vocabulary.gguf": a_gguf_file(tensors=()),
    "good/nested.gguf": a_gguf_file({"a": [["x", "y"], ["z"]]}),
    "good/quantised.gguf": a_gguf_file(tensors=(Tensor("a", (32, 4), 2, data=b"\2" * 72 + bytes(24)), Tensor("b"))),
    "good/chat.gguf": a_gguf_file(
        {"tokenizer.chat_template": "{% for m in messages %}{{ m['role'] ~ ': ' ~ m.content }}{% endfor %}"}
    ),
}

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "tail.gguf": (a_gguf_file(tail=b"\1" * 64), "belong to no tensor"),
    "short-tail.gguf": (a_gguf_file(tail=b"\1" * 8), "belong to no tensor"),
    "hole.gguf": (a_gguf_file(tensors=(Tensor("a"), Tensor("b", offset=64, data=b"\1" * 64))), "belong to no tensor"),
    "cut.gguf": (a_gguf_file()[:-32], "breaks off"),
    "cut-header.gguf": (a_gguf_file()[:60], "breaks off"),
    "version.gguf": (a_gguf_file(version=9), "version 9"),
    "tensor-type.gguf": (a_gguf_file(tensors=(Tensor("a", kind=77),)), "unknown type 77"),
    "unknown-helper.gguf": (a_gguf_file({"tokenizer.chat_template": "{{ house_style(messages) }}"}), "house_style"),
    "bad-template.gguf": (a_gguf_file({"tokenizer.chat_template": "{% for"}), "cannot be parsed"),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    files = {name: data for name, (data, *_) in {**MALICIOUS, **UNREADABLE}.items()} | HONEST
    return evidence_about(files, tmp_path_factory.mktemp("gguf"))


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_file_is_found_and_named(evidence: Evidence, name: str) -> None:
    assert MALICIOUS[name][1] in grave_rules(evidence, name)


@pytest.mark.parametrize("path", HONEST)
def test_an_honest_file_is_covered_and_has_no_finding(evidence: Evidence, path: str) -> None:
    coverage = coverage_of(evidence, path)
    assert (coverage.covered, findings_in(evidence, path)) == (True, []), coverage.note


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_not_covered_and_says_why(evidence: Evidence, name: str) -> None:
    coverage = coverage_of(evidence, name)
    assert not coverage.covered
    assert UNREADABLE[name][1] in coverage.note


_CHAT = a_gguf_file({"tokenizer.chat_template": "{{ messages }}", "tokens": ["a", "b"]})


@pytest.mark.fuzz
@settings(max_examples=300, deadline=None)
@given(at=st.integers(4, len(_CHAT) - 1), patch=st.binary(min_size=1, max_size=12), cut=st.integers(0, 40))
def test_any_damage_ends_in_findings_and_gaps_not_in_a_crash(at: int, patch: bytes, cut: int) -> None:
    data = _CHAT[:at] + patch + _CHAT[at + len(patch) : len(_CHAT) - cut]
    scan = FileScan("a.gguf", len(data), ScannerTable(), Path())
    scan.scan(Blob("a.gguf", "", io.BytesIO(data), len(data)))
    assert scan.format == "gguf"
