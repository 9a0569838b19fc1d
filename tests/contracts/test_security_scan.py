"""The security scan over real files: malicious samples are found, honest models pass, the rest is not covered.

All samples are written once and scanned in one run by the validators' interpreter; nothing is ever loaded.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
import struct
import zipfile
import zlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from model_approval.domain.evidence import Evidence, Severity
from model_approval.domain.manifest import manifest_of_folder
from tests.support.models import (
    a_graph,
    a_model_with_external_data,
    a_pickle_that_calls,
    a_safetensors_file,
    a_tar,
    a_torch_file,
    a_zip,
    an_array_file,
    an_onnx_model,
)
from tests.support.validation import RUNNER, a_validator_input, coverage_of, evidence_about, findings_in

pytestmark = pytest.mark.contract

_BAD = a_pickle_that_calls("posix", "system")
_GOOD = pickle.dumps({"weights": np.arange(500.0), "at": datetime(2026, 1, 1, tzinfo=UTC), "cost": Decimal("1.5")})
_BEHIND_TEXT = b"V" + b"x" * 20_000 + b"\n0cposix\nsystem\n(Vtrue\ntR."
_FOREIGN = [helper.make_node("Decrypt", ["x"], ["y"], domain="acme")]
_PNG = b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    for kind, data in ((b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0"), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b""))
)


def _nested(levels: int) -> bytes:
    """A zip in a zip in a zip."""
    return a_zip({"inner.zip": _nested(levels - 1)} if levels else {})


MALICIOUS: dict[str, tuple[bytes, str, Severity]] = {
    **{
        f"call-{module}-{protocol}.pkl": (
            a_pickle_that_calls(module, name, protocol=protocol), "pickle.dangerous-import", Severity.CRITICAL
        )
        for module, name in (("os", "system"), ("subprocess", "Popen"), ("builtins", "eval"), ("runpy", "run_path"))
        for protocol in (0, 2, 4)
    },
    # On no deny-list; the allow-list does not know them.
    "unlisted.pkl": (a_pickle_that_calls("acme.tools", "launch"), "pickle.unlisted-import", Severity.HIGH),
    "standard.pkl": (a_pickle_that_calls("statistics", "mean"), "pickle.unlisted-import", Severity.HIGH),
    "own-class.pkl": (a_pickle_that_calls("acme.models", "Scorer"), "pickle.unknown-class", Severity.MEDIUM),
    "computed.pkl": (b"\x80\x04cbuiltins\ndict\n)R)R.", "pickle.computed-call", Severity.HIGH),
    "dotted.pkl": (a_pickle_that_calls("numpy", "ndarray.tofile", protocol=4), "pickle.unlisted-import", Severity.HIGH),
    "inst.pkl": (b"(Vtrue\niposix\nsystem\n.", "pickle.dangerous-import", Severity.CRITICAL),
    "no-stop.pkl": (_BAD[:-1], "pickle.dangerous-import", Severity.CRITICAL),
    "no-header.pkl": (
        a_pickle_that_calls("posix", "system", protocol=4)[2:], "pickle.dangerous-import", Severity.CRITICAL
    ),
    "extension.pkl": (b"\x80\x02\x82\x01.", "pickle.extension", Severity.CRITICAL),
    "frame.pkl": (
        b"\x80\x04\x95\x03\0\0\0\0\0\0\0\x8c\x02os\x94N.", "pickle.frame", Severity.HIGH
    ),
    # The name comes off the stack after a pop: whoever reads the operations alone takes it for another.
    "popped.pkl": (
        b"\x80\x04\x8c\x05posix\x8c\x06systemN0\x93\x8c\x04true\x85R.", "pickle.dangerous-import", Severity.CRITICAL
    ),
    "untold.pkl": (
        b"\x80\x04\x8c\x05posixcbuiltins\nstr\n\x8c\x06system\x85R\x93.", "pickle.import-untold", Severity.CRITICAL
    ),
    "behind-a-text.pkl": (_BEHIND_TEXT, "pickle.dangerous-import", Severity.CRITICAL),
    "notes.txt": (_BEHIND_TEXT, "pickle.dangerous-import", Severity.CRITICAL),
    # What is named alone gets called: by a state, by what a module is made to hold, by a function that calls its first.
    "changed-import.pkl": (
        b"\x80\x02cnumpy\nndarray\n}X\x01\0\0\0aNsb.", "pickle.changed-import", Severity.CRITICAL
    ),
    "call-by-state.pkl": (
        b"\x80\x02cargparse\nNamespace\n)\x81}X\x0c\0\0\0__setstate__cbuiltins\nstr\nsb.",
        "pickle.call-by-state", Severity.CRITICAL,
    ),
    "short-call-by-state.pkl": (
        b"\x80\x04cargparse\nNamespace\n)\x81}\x8c\x0c__setstate__cbuiltins\nstr\nsb.",
        "pickle.call-by-state", Severity.CRITICAL,
    ),
    "escaped-call-by-state.pkl": (b"V\\u005f_setstate__\n.", "pickle.call-by-state", Severity.CRITICAL),
    "rebuilds-by-rebuilding.pkl": (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._tensor\n_rebuild_from_type_v2\nN)}tR.",
        "pickle.computed-call", Severity.HIGH,
    ),
    "rebuilds-by-loading.pkl": (
        b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(ctorch.storage\n_load_from_bytes\nN)}tR.",
        "pickle.computed-call", Severity.HIGH,
    ),
    "opens-by-index.pkl": (
        b"\x80\x02cpandas.core.indexes.base\n_new_Index\ncnumpy\nmemmap\n}\x86R.", "pickle.", Severity.MEDIUM
    ),
    "picture.gif": (b"GIF89a\1\0\x010cposix\nsystem\n(Vtrue\ntR.", "pickle.dangerous-import", Severity.CRITICAL),
    "behind-a-text.yaml": (_BEHIND_TEXT, "pickle.dangerous-import", Severity.CRITICAL),
    "flood.pkl": (
        b"\x80\x02" + b"".join(b"cacme%d\nThing\n0" % number for number in range(300)) + _BAD[2:],
        "pickle.dangerous-import", Severity.CRITICAL,
    ),
    "second-of-two.pkl": (pickle.dumps({"a": 1}) + _BAD, "pickle.dangerous-import", Severity.CRITICAL),
    "after-long-bytes.pkl": (
        pickle.dumps(b"\0" * 3_000_000)[:-1] + _BAD[2:], "pickle.dangerous-import", Severity.CRITICAL
    ),
    "named.json": (_BAD, "folder.disguised", Severity.HIGH),
    "pickle.json": (a_pickle_that_calls("posix", "system", protocol=0), "pickle.dangerous-import", Severity.CRITICAL),
    "weights.safetensors": (_BAD, "folder.disguised", Severity.HIGH),
    "model.pt": (a_torch_file(_BAD), "pickle.dangerous-import", Severity.CRITICAL),
    "model.pkl.gz": (gzip.compress(_BAD), "pickle.dangerous-import", Severity.CRITICAL),
    "model.pkl.bz2": (bz2.compress(_BAD), "pickle.dangerous-import", Severity.CRITICAL),
    "model.pkl.xz": (lzma.compress(_BAD), "pickle.dangerous-import", Severity.CRITICAL),
    "model.joblib": (zlib.compress(_BAD), "pickle.dangerous-import", Severity.CRITICAL),
    "model.tar": (a_tar({"a/model.pkl": _BAD}), "pickle.dangerous-import", Severity.CRITICAL),
    "model.tar.gz": (gzip.compress(a_tar({"model.pkl": _BAD})), "pickle.dangerous-import", Severity.CRITICAL),
    "zip-in-zip.zip": (a_zip({"a.zip": a_zip({"b.bin": _BAD})}), "pickle.dangerous-import", Severity.CRITICAL),
    "arrays.npz": (a_zip({"a.npy": an_array_file(np.array([{}], dtype=object))}), "npy.objects", Severity.MEDIUM),
    "objects.npy": (
        an_array_file(np.array([{}], dtype=object))[:128] + _BAD, "pickle.dangerous-import", Severity.CRITICAL
    ),
    "escape.zip": (a_zip({"../../etc/cron.d/x": b"{}"}), "archive.path", Severity.HIGH),
    "escape.tar": (a_tar({"/etc/cron.d/x.json": b"{}"}), "archive.path", Severity.HIGH),
    "link.tar": (a_tar({"a.json": b"{}"}, link="/etc/passwd"), "archive.link", Severity.HIGH),
    "polyglot.zip": (b"PK\x03\x04" + b"\0" * 200 + a_zip({"a.json": b"{}"}), "archive.polyglot", Severity.HIGH),
    "outside.onnx": (a_model_with_external_data("../../etc/passwd"), "onnx.external-data", Severity.CRITICAL),
    "missing.onnx": (a_model_with_external_data("gone.bin"), "onnx.missing-data", Severity.HIGH),
    "custom.onnx": (a_graph(_FOREIGN, domains={"acme": 1}), "onnx.custom-operator", Severity.HIGH),
    "config.json": (b'{"auto_map": {"AutoModel": "modeling.M"}}', "config.code", Severity.HIGH),
    "trust.json": (b'{"a": [{"trust_remote_code": true}]}', "config.code", Severity.HIGH),
    "remote.json": (b'{"weights_url": "https://models.example/x"}', "config.remote", Severity.MEDIUM),
    "objects.yaml": (b"a: !!python/object/apply:os.system [true]\n", "config.objects", Severity.CRITICAL),
    "in-full.yaml": (b"a: !<tag:yaml.org,2002:python/name:os.system>\n", "config.objects", Severity.CRITICAL),
    "by-handle.yaml": (
        b"%TAG !e! tag:yaml.org,2002:python/\n---\na: !e!name:os.system\n", "config.objects", Severity.CRITICAL
    ),
    "escaped-tag.yaml": (b"a: !!%70ython/name:os.system\n", "config.objects", Severity.CRITICAL),
    "behind-hash.yaml": (b'{a: "#", b: !!python/name:os.system }\n', "config.objects", Severity.CRITICAL),
    "flow.yaml": (b"model: {auto_map: {AutoModel: modeling.M}}\n", "config.code", Severity.HIGH),
    "yes.yaml": (b"trust_remote_code: yes\n", "config.code", Severity.HIGH),
    "escaped-key.yaml": (b'"auto\\x5fmap": {AutoModel: modeling.M}\n', "config.code", Severity.HIGH),
    "modeling.py": (b"import os\n", "folder.code", Severity.HIGH),
    "setup.sh": (b"echo\n", "folder.code", Severity.HIGH),
    "explore.ipynb": (b'{"cells": []}', "folder.code", Severity.MEDIUM),
    "libfast.so": (b"\x7fELF\x02\x01\x01" + bytes(60), "folder.code", Severity.CRITICAL),
    "tool.exe": (b"MZ" + bytes(100), "folder.code", Severity.CRITICAL),
    "chat.jinja": (b"{{ x.__class__ }}", "template.escape", Severity.CRITICAL),
}  # fmt: skip

HONEST: dict[str, bytes] = {
    "good/model.onnx": an_onnx_model(),
    "good/external.onnx": a_model_with_external_data("external.weights"),
    "good/external.weights": np.ones((4, 4), np.float32).tobytes(),
    "good/model.safetensors": a_safetensors_file(a=np.ones((2, 3)), b=np.zeros(5)),
    "good/array.npy": an_array_file(np.arange(12.0).reshape(3, 4)),
    "good/arrays.npz": a_zip({"a.npy": an_array_file(np.ones(3))}, compression=zipfile.ZIP_DEFLATED),
    **{f"good/arrays-{protocol}.pkl": pickle.dumps({"w": np.arange(50.0)}, protocol) for protocol in range(6)},
    "good/plain.pkl": _GOOD,
    "good/plain.pkl.gz": gzip.compress(_GOOD),
    "good/model.pt": a_torch_file(pickle.dumps({"layer": [1, 2]}, 2)),
    "good/card.md": b"# Card\nSee https://example.org\n",
    "good/sample.csv": b"amount,country\n1.5,DE\n",
    "good/config.json": b'{"hidden": 12, "homepage": "https://example.org"}',
    "good/serving.yaml": b"headers: {}\nauthentication: bearer\n",
    "good/MLmodel": b"flavors:\n  python_function:\n    python_version: 3.11\ntrust_remote_code: false\n",
    "good/LICENSE": b"(c) somebody\n",
    "good/curve.png": _PNG,
    "good/empty.txt": b"",
}

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "cut.pkl": (pickle.dumps(list(range(1000)))[:-20], "breaks off as a pickle"),
    "tail.pkl": (pickle.dumps(1) + b"\xff\xff\xff", "breaks off as a pickle"),
    "cut.onnx": (an_onnx_model()[:-40], "damaged"),
    "cut.safetensors": (a_safetensors_file(a=np.ones(9))[:-4], "where the header accounts for"),
    "hole.safetensors": (
        b"\x42\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}'.ljust(66) + bytes(8),
        "belong to none",
    ),
    "twice.safetensors": (b"\x12\0\0\0\0\0\0\0" + b'{"a": {}, "a": {}}', "in the header twice"),
    "tail.npy": (an_array_file(np.ones(3)) + b"more", "where the header promises"),
    "cut.zip": (a_zip({"a.json": b"{}"})[:-10], "not a zip file"),
    "crc.zip": (a_zip({"a.json": b'{"value": 12345}'}).replace(b"12345", b"54321"), "Bad CRC"),
    "tail.zip": (a_zip({"a.json": b"{}"}) + b"more", "belong to no member"),
    "cut.gz": (gzip.compress(_GOOD)[:-10], "end-of-stream"),
    "tail.zlib": (zlib.compress(bytes(200)) + b"more", "bytes follow after the zlib stream"),
    "bomb.gz": (gzip.compress(bytes(200 * 1024**2), 9), "looks like a bomb"),
    "deep.zip": (_nested(7), "nested deeper"),
    "model.h5": (b"\x89HDF\r\n\x1a\n" + bytes(50), "not readable"),
    "model.7z": (b"7z\xbc\xaf\x27\x1c" + bytes(50), "damaged"),
    "weights.bin": (b"\x01\x02\x03\x04" * 100, "format is not known"),
    "late.txt": (b"x" * 20_000 + b"\xff\xfe", "then is not UTF-8"),
    "late.md": (b"x" * 20_000 + b"\0", "then holds zero bytes"),
    "deep.json": (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "RecursionError"),
    "tail.png": (_PNG + b"more", "bytes follow after the picture's end"),
}  # fmt: skip


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What the scan says about all samples together."""
    files = {f"bad/{name}": data for name, (data, _, _) in MALICIOUS.items()}
    files |= {f"unreadable/{name}": data for name, (data, _) in UNREADABLE.items()}
    return evidence_about(files | HONEST, tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_file_is_found_and_named(evidence: Evidence, name: str) -> None:
    _, rule, severity = MALICIOUS[name]
    found = [(finding.rule, finding.severity) for finding in findings_in(evidence, f"bad/{name}")]
    assert any(told.startswith(rule) and grave is severity for told, grave in found), found


@pytest.mark.parametrize("path", HONEST)
def test_an_honest_file_is_covered_and_has_no_finding(evidence: Evidence, path: str) -> None:
    coverage = coverage_of(evidence, path)
    assert (coverage.covered, findings_in(evidence, path)) == (True, []), coverage.note


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_to_its_end_is_not_covered_and_says_why(evidence: Evidence, name: str) -> None:
    coverage = coverage_of(evidence, f"unreadable/{name}")
    assert not coverage.covered
    assert UNREADABLE[name][1] in coverage.note


def test_every_file_is_either_covered_or_named_as_not_covered(evidence: Evidence) -> None:
    paths = {f"bad/{name}" for name in MALICIOUS} | {f"unreadable/{name}" for name in UNREADABLE} | set(HONEST)
    assert {item.path for item in evidence.coverage} == paths


def test_files_that_are_not_covered_are_left_to_the_coverage_rule(evidence: Evidence) -> None:
    assert evidence.limitations == ()
    assert not all(item.covered for item in evidence.coverage)


def test_every_finding_says_what_it_means_and_what_to_do(evidence: Evidence) -> None:
    assert all(finding.message and finding.advice for finding in evidence.findings)


def test_an_import_is_located_in_its_file(evidence: Evidence) -> None:
    (finding,) = [
        item for item in findings_in(evidence, "bad/second-of-two.pkl") if item.rule == "pickle.dangerous-import"
    ]
    assert finding.offset == len(pickle.dumps({"a": 1})) + 2


def test_the_same_bytes_give_the_same_evidence(evidence: Evidence, tmp_path: Path) -> None:
    files = {f"bad/{name}": data for name, (data, _, _) in MALICIOUS.items()}
    files |= {f"unreadable/{name}": data for name, (data, _) in UNREADABLE.items()}
    again = evidence_about(files | HONEST, tmp_path)
    assert (again.findings, again.coverage, again.limitations) == (
        evidence.findings, evidence.coverage, evidence.limitations
    )  # fmt: skip


def test_a_folder_of_honest_files_has_neither_findings_nor_limitations(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    evidence = evidence_about(HONEST, tmp_path_factory.mktemp("honest"))
    assert (evidence.findings, evidence.limitations) == ((), ())


def test_a_single_file_can_be_scanned(tmp_path: Path) -> None:
    artifact = tmp_path / "model.pkl"
    artifact.write_bytes(_BAD)
    given = a_validator_input(manifest_of_folder(artifact))
    evidence = RUNNER.run_on_folder(given, "security_scan", artifact, champion=None, timeout_s=60)
    assert [finding.severity for finding in evidence.findings] == [Severity.CRITICAL]
