"""Archives and compressed streams: what hides in them is found, what lies about itself is named, honest ones pass."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib

import numpy as np
import pytest

from model_approval.domain.evidence import Evidence, Severity
from tests.support.models import a_pickle_that_calls, a_tar, a_torch_file, a_zip, an_array_file
from tests.support.validation import coverage_of, evidence_about, findings_in
from tests.support.zips import Part, a_zip_of

pytestmark = pytest.mark.contract

_BAD = a_pickle_that_calls("posix", "system")
_GOOD = pickle.dumps({"weights": np.arange(500.0)})
_IMPORT = "pickle.dangerous-import"
_TYPES = b"\x80\x02c__torch__\nNet\n)\x81}(X\x06\0\0\0weightK\x01ub."
_CODE = b"""class Net(Module):
  __parameters__ = ["weight", ]
  weight : Tensor
  training : bool
  def forward(self: __torch__.Net,
    input: Tensor) -> Tensor:
    _0 = torch.matmul(input, self.weight)
    if bool(torch.eq(len(_0), 1)):
      _1 = annotate(Optional[int], None)
    else:
      ops.prim.RaiseException("wrong shape")
    return ops.torchvision.nms(torch.relu(_0), _0, 0.5)
"""


def a_torchscript_file(code: bytes, data: bytes = _TYPES) -> bytes:
    """What `torch.jit.save` writes."""
    return a_zip(
        {
            "net/data.pkl": data,
            "net/code/__torch__.py": code,
            "net/code/__torch__.py.debug_pkl": pickle.dumps([(1, 2, "a")], 2),
            "net/constants.pkl": pickle.dumps((), 2),
            "net/constants/0": b"\x80\x02" * 20,
            "net/version": b"3\n",
        }
    )


def _calls(line: str) -> bytes:
    return a_torchscript_file(_CODE + f"  def run(self: __torch__.Net) -> None:\n    {line}\n".encode())


def _exported(operator: str, *, weight: bytes = b"\1\2\3\4" * 9) -> bytes:
    """What `torch.export.save` writes."""
    program = {"graph_module": {"graph": {"nodes": [{"target": operator}]}}}
    return a_zip(
        {
            "m/archive_format": b"pt2",
            "m/byteorder": b"little",
            "m/models/model.json": json.dumps(program).encode(),
            "m/data/weights/weight_0": weight,
            "m/.data/serialization_id": b"0123",
        }
    )


def _deflated(data: bytes) -> bytes:
    return zlib.compress(data)[2:-4]


def _tar_with(*infos: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for info, data in infos:
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def _device() -> tarfile.TarInfo:
    info = tarfile.TarInfo("device")
    info.type = tarfile.CHRTYPE
    return info


def _with_end(*, count: int = 1, offset: int = 0) -> bytes:
    """A zip whose end is wrong about how many members there are, or where their directory is."""
    data = a_zip({"a.json": b"{}"})
    start = int.from_bytes(data[-6:-2], "little") + offset
    return data[:-14] + struct.pack("<2H", count, count) + data[-10:-6] + struct.pack("<L", start) + data[-2:]


def _two_directories() -> bytes:
    """The end says where the first is; readers that look right before the end find the second."""
    bad, good = a_zip({"a.bin": _BAD}), a_zip({"a.bin": b"{}  "})
    start = int.from_bytes(bad[-6:-2], "little")
    directory = bad[start:-22]
    second = good[int.from_bytes(good[-6:-2], "little") : -22]
    return bad[:start] + directory + second + bad[-22:]


_TWO_DIRECTORIES = _two_directories()
_OVERLAPPED = a_zip_of([Part(b"a.json", b"{}"), Part(b"b.json", b"{}", central={"at": 0})])

MALICIOUS: dict[str, tuple[bytes, str, Severity]] = {
    **{
        f"method-{method}.zip": (a_zip({"a.bin": _BAD}, compression=method), _IMPORT, Severity.CRITICAL)
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    },
    "crc.pt": (
        a_torch_file(_BAD).replace(zlib.crc32(_BAD).to_bytes(4, "little"), b"\1\2\3\4"), _IMPORT, Severity.CRITICAL
    ),
    "central-crc.zip": (a_zip_of([Part(b"a.bin", _BAD, central={"crc": 7})]), _IMPORT, Severity.CRITICAL),
    "central-crc-2.zip": (a_zip_of([Part(b"a.bin", _BAD, central={"crc": 7})]), "archive.checksum", Severity.HIGH),
    "flagged-encrypted.zip": (a_zip_of([Part(b"a.bin", _BAD, central={"flags": 1})]), _IMPORT, Severity.CRITICAL),
    "flagged-encrypted-2.zip": (
        a_zip_of([Part(b"a.bin", _BAD, flags=1, central={"flags": 0})]), _IMPORT, Severity.CRITICAL
    ),
    "renamed.zip": (a_zip_of([Part(b"a.json", b"{}", central={"name": b"b.json"})]), "archive.clash", Severity.HIGH),
    "other-method.zip": (a_zip_of([Part(b"a.json", b"{}", central={"method": 8})]), "archive.clash", Severity.HIGH),
    "other-size.zip": (a_zip_of([Part(b"a.json", b"{}  ", central={"size": 2})]), "archive.clash", Severity.HIGH),
    "more-than-promised.zip": (
        a_zip_of([Part(b"a.bin", _BAD + bytes(999), 8, packed=_deflated(_BAD + bytes(999)), central={"size": 3})]),
        _IMPORT, Severity.CRITICAL,
    ),
    "twice.zip": (a_zip_of([Part(b"a.json", b"{}"), Part(b"a.json", b"[]")]), "archive.duplicate", Severity.HIGH),
    "overlap.zip": (_OVERLAPPED, "archive.clash", Severity.HIGH),
    "no-header.zip": (a_zip_of([Part(b"a.json", b"{}", central={"at": 3})]), "archive.clash", Severity.HIGH),
    "between.zip": (
        a_zip_of([Part(b"a.json", b"{}"), Part(b"b.json", b"{}", before=_BAD)]), _IMPORT, Severity.CRITICAL
    ),
    "between-2.zip": (
        a_zip_of([Part(b"a.json", b"{}"), Part(b"b.json", b"{}", before=_BAD)]), "archive.hidden-data", Severity.HIGH
    ),
    "behind.zip": (a_zip_of([Part(b"a.json", b"{}")], after=_BAD), _IMPORT, Severity.CRITICAL),
    "appended.zip": (a_zip({"a.json": b"{}"}) + _BAD, _IMPORT, Severity.CRITICAL),
    "two-ends.zip": (a_zip_of([Part(b"a.bin", _BAD)], comment=b"PK\x05\x06" + bytes(18)), _IMPORT, Severity.CRITICAL),
    "count.zip": (_with_end(count=2), "archive.clash", Severity.HIGH),
    "elsewhere.zip": (_with_end(offset=9), "archive.clash", Severity.HIGH),
    "two-directories.zip": (_TWO_DIRECTORIES, _IMPORT, Severity.CRITICAL),
    "nul.zip": (a_zip_of([Part(b"a.json\0.pkl", b"{}")]), "archive.path", Severity.HIGH),
    "backslash.zip": (a_zip_of([Part(b"..\\..\\a.json", b"{}")]), "archive.path", Severity.HIGH),
    "drive.zip": (a_zip_of([Part(b"C:a.json", b"{}")]), "archive.path", Severity.HIGH),
    "link.zip": (a_zip_of([Part(b"a.json", b"/etc/passwd", mode=0o120777)]), "archive.link", Severity.HIGH),
    "climbing-link.zip": (a_zip_of([Part(b"a/b", b"../../c", mode=0o120777)]), "archive.link", Severity.HIGH),
    "nested.npz": (
        a_zip({"a.npy": an_array_file(np.array([{}], dtype=object))[:128] + _BAD}), _IMPORT, Severity.CRITICAL
    ),
    "not-an-array.npz": (a_zip({"a.npy": _BAD}, compression=zipfile.ZIP_DEFLATED), _IMPORT, Severity.CRITICAL),
    "raw-array.pt": (
        a_zip({"m/data.pkl": _GOOD, "m/data/0": an_array_file(np.array([{}], dtype=object))[:128] + _BAD}),
        _IMPORT, Severity.CRITICAL,
    ),
    "raw-name.zip": (a_zip({"archive/data/0": _BAD, "other/data.pkl": _GOOD}), _IMPORT, Severity.CRITICAL),
    "device.tar": (_tar_with((_device(), b"")), "archive.link", Severity.HIGH),
    "after-end.tar": (a_tar({"a.json": b"{}"}) + _BAD, _IMPORT, Severity.CRITICAL),
    "second-stream.gz": (gzip.compress(b"\x80\x02") + gzip.compress(_BAD[2:]), _IMPORT, Severity.CRITICAL),
    "second-stream.bz2": (bz2.compress(_BAD[:9]) + bz2.compress(_BAD[9:]), _IMPORT, Severity.CRITICAL),
    "second-stream.xz": (lzma.compress(_BAD[:9]) + lzma.compress(_BAD[9:]), _IMPORT, Severity.CRITICAL),
    "alone.lzma": (lzma.compress(_BAD, lzma.FORMAT_ALONE), _IMPORT, Severity.CRITICAL),
    "tail.pkl.gz": (gzip.compress(_BAD) + b"more", _IMPORT, Severity.CRITICAL),
    "cut.pkl.gz": (gzip.compress(_BAD + bytes(5000))[:-9], _IMPORT, Severity.CRITICAL),
    "bomb.pkl.gz": (gzip.compress(_BAD + bytes(200 * 1024**2)), _IMPORT, Severity.CRITICAL),
    "bomb.tar.bz2": (bz2.compress(a_tar({"a.pkl": _BAD})), _IMPORT, Severity.CRITICAL),
    "script.pt": (_calls("torch.save(self.weight, '/tmp/x')"), "torchscript.outside-operator", Severity.HIGH),
    "from-file.pt": (
        _calls("_2 = torch.from_file('/etc/passwd', False, 10)"), "torchscript.outside-operator", Severity.HIGH
    ),
    "aten-from-file.pt": (
        _calls("_2 = ops.aten.from_file('/etc/passwd', False, 10)"), "torchscript.outside-operator", Severity.HIGH
    ),
    "write-file.pt": (
        _calls("ops.image.write_file('/tmp/x', self.weight)"), "torchscript.outside-operator", Severity.HIGH
    ),
    "rpc.pt": (_calls("ops.rpc.rpc_sync('a', 'b', ())"), "torchscript.outside-operator", Severity.HIGH),
    "python.pt": (a_torchscript_file(b"import os\nos.system('true')\n"), "torchscript.python", Severity.HIGH),
    "builtin.pt": (_calls("open('/tmp/x')"), "torchscript.python", Severity.HIGH),
    "dunder.pt": (_calls("_2 = self.__class__"), "torchscript.python", Severity.HIGH),
    "own-class.pt": (a_torchscript_file(_CODE, _BAD), _IMPORT, Severity.CRITICAL),
    "behind-picture.png": (b"\x89PNG\r\n\x1a\n" + a_zip({"a.bin": _BAD}), _IMPORT, Severity.CRITICAL),
    "behind-pickle.pt": (pickle.dumps(1) + a_torch_file(_BAD), _IMPORT, Severity.CRITICAL),
    "behind-pickle-2.pt": (pickle.dumps(1) + a_torch_file(_BAD), "archive.polyglot", Severity.HIGH),
    "behind-noise.bin": (b"\1\2\3" * 9 + a_zip({"a.json": b"{}"}), "archive.polyglot", Severity.HIGH),
    "exported.pt2": (_exported("torch.ops.aten.from_file.default"), "torchscript.outside-operator", Severity.HIGH),
    "weight.pt2": (_exported("torch.ops.aten.relu.default", weight=_BAD), _IMPORT, Severity.CRITICAL),
    "no-code.pt": (a_torch_file(_TYPES.replace(b"Net", b"nil")), "pickle.unknown-class", Severity.MEDIUM),
}  # fmt: skip

HONEST: dict[str, bytes] = {
    "good/deflated.zip": a_zip({"a/plain.pkl": _GOOD, "b.json": b"{}"}, compression=zipfile.ZIP_DEFLATED),
    "good/folder.zip": a_zip({"a/": b"", "a/b.json": b"{}"}),
    "good/zip-in.zip": a_zip({"a.zip": a_zip({"b.json": b"{}"})}),
    "good/arrays.npz": a_zip({"a.npy": an_array_file(np.ones(3)), "b.npy": an_array_file(np.array(["x", "yz"]))}),
    "good/packed.npz": a_zip({"a.npy": an_array_file(np.ones(30_000))}, compression=zipfile.ZIP_DEFLATED),
    "good/aligned.zip": a_zip_of([Part(b"a.json", b"{}"), Part(b"b.json", b"{}", before=bytes(60))]),
    "good/padded.pt": a_zip_of(
        [Part(b"m/data.pkl", pickle.dumps({}, 2)), Part(b"m/data/0", bytes(64), extra=b"FB\x0a\0ZZZZZZZZZZ")]
    ),
    "good/comment.zip": a_zip_of([Part(b"a.json", b"{}")], comment=b"made by hand"),
    "good/script.pt": a_torchscript_file(_CODE),
    "good/exported.pt2": _exported("torch.ops.aten.relu.default"),
    "good/plain.tar": a_tar({"./a.json": b"{}", "b/plain.pkl": _GOOD}),
    "good/plain.pkl.gz": gzip.compress(_GOOD),
    "good/padded.pkl.gz": gzip.compress(_GOOD) + bytes(100),
    "good/plain.tar.xz": lzma.compress(a_tar({"a.json": b"{}"})),
    "good/plain.pkl.z": zlib.compress(_GOOD),
}

UNREADABLE: dict[str, tuple[bytes, str]] = {
    "cut.zip": (a_zip({"a.json": b"{}"})[:-30], "not a zip file"),
    "method.zip": (a_zip_of([Part(b"a.json", b"{}", 97)]), "compression method 97"),
    "encrypted.zip": (a_zip_of([Part(b"a.json", b"{}", flags=1)]), "encrypted"),
    "stray.zip": (a_zip_of([Part(b"a.json", b"{}"), Part(b"b.json", b"{}", before=b"\1\2\3")]), "belong to no member"),
    "cut-inside.tar": (a_tar({"a.json": b'{"a": 1}' + b" " * 5000})[:2000], "unexpected end of data"),
    "operator.pt": (_calls("ops.acme.decrypt(self.weight)"), "not on our list"),
    "syntax.pt": (a_torchscript_file(b"def f(:\n"), "not readable as TorchScript"),
    "tail.pkl.gz": (gzip.compress(_GOOD) + b"more", "bytes follow after the gzip stream"),
    "damaged.gz": (gzip.compress(_GOOD)[:-8] + bytes(8), "damaged gzip stream"),
}  # fmt: skip


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """What the scan says about all samples together."""
    files = {f"bad/{name}": data for name, (data, _, _) in MALICIOUS.items()}
    files |= {f"unreadable/{name}": data for name, (data, _) in UNREADABLE.items()}
    return evidence_about(files | HONEST, tmp_path_factory.mktemp("samples"))


@pytest.mark.parametrize("name", MALICIOUS)
def test_what_hides_in_a_container_is_found_and_named(evidence: Evidence, name: str) -> None:
    _, rule, severity = MALICIOUS[name]
    found = {(finding.rule, finding.severity) for finding in findings_in(evidence, f"bad/{name}")}
    assert (rule, severity) in found, coverage_of(evidence, f"bad/{name}").note


@pytest.mark.parametrize("path", HONEST)
def test_an_honest_container_is_covered_and_has_no_finding(evidence: Evidence, path: str) -> None:
    coverage = coverage_of(evidence, path)
    assert (coverage.covered, findings_in(evidence, path)) == (True, []), coverage.note


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_container_that_cannot_be_read_to_its_end_is_not_covered_and_says_why(evidence: Evidence, name: str) -> None:
    coverage = coverage_of(evidence, f"unreadable/{name}")
    assert not coverage.covered
    assert UNREADABLE[name][1] in coverage.note


def test_every_finding_in_a_container_says_what_it_is_about(evidence: Evidence) -> None:
    ours = [finding for finding in evidence.findings if finding.rule.startswith(("archive.", "torchscript."))]
    assert ours
    assert all(finding.subject and finding.message and finding.advice for finding in ours)


def test_a_finding_inside_of_an_archive_names_the_member(evidence: Evidence) -> None:
    (finding,) = [item for item in findings_in(evidence, "bad/method-8.zip") if item.rule == _IMPORT]
    assert finding.inner == "a.bin"
