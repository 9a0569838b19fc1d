"""Code inside containers: archives of all kinds, what torch, joblib and NumPy save, and containers that lie.

Sources: nullifAI (7z, 2025), CVE-2025-1889 and -10156 (CRC, flags, names that differ), torch's own three formats.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import tarfile
import zipfile
import zlib
from functools import partial

import lz4.frame
import numpy as np
import py7zr
import zstandard

from tests.support.corpus.assembler import Call, assemble
from tests.support.corpus.malicious_pickles import BAD, BAD_4, GOOD
from tests.support.corpus.sample import Sample

_PICKLE = "pickle."
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_DEFLATED = zipfile.ZIP_DEFLATED
_EVERY = ("deflated", "stored", "bzip2", "lzma")
_METHODS = dict(
    zip(_EVERY, (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA), strict=True)
)


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], mode: str = "w") -> bytes:
    """A tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def torch_zip(data: bytes, **members: bytes) -> bytes:
    """What `torch.save` writes since 1.6."""
    return zipped({"model/data.pkl": data, "model/byteorder": b"little", "model/version": b"3\n"} | {
        f"model/{name}": content for name, content in members.items()
    })  # fmt: skip


def torch_legacy(data: bytes) -> bytes:
    """What it wrote before: magic number, protocol, machine, then the object and the storages' keys."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    return b"".join(pickle.dumps(item, 2) for item in (_TORCH_MAGIC, 1001, system)) + data + pickle.dumps([], 2)


def _torch_tar() -> bytes:
    """What it wrote in 2016: a tar of three pickles."""
    return tarred({"sys_info": pickle.dumps({}, 2), "pickle": BAD, "tensors": pickle.dumps(0, 2), "storages": b""})


def _torchscript(member: str, content: bytes) -> bytes:
    constants = assemble((), 2)
    return zipped({
        "model/data.pkl": assemble((), 2), "model/code/__torch__.py": b"class M(Module):\n  pass\n",
        "model/constants.pkl": constants, "model/version": b"3\n", f"model/{member}": content,
    })  # fmt: skip


def _torchscript_that(statement: str) -> bytes:
    """A scripted module whose `forward` does something, as torch writes it: data without imports, code as text."""
    lines = (
        "class Net(Module):",
        "  training : bool",
        "  def forward(self: __torch__.Net,",
        "    x: Tensor) -> Tensor:",
    )
    code = "\n".join((*lines, f"    {statement}", "    return x\n"))
    data = b"\x80\x02c__torch__\nNet\n)\x81}X\x08\0\0\0trainingI00\nsb."
    members = {"data.pkl": data, "code/__torch__.py": code.encode(), "constants.pkl": b"\x80\x02).", "version": b"3\n"}
    return zipped({f"m/{name}": content for name, content in members.items()})


def sevenzip(members: dict[str, bytes]) -> bytes:
    """A 7z archive."""
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(data, name)
    return buffer.getvalue()


def _npy(data: bytes, version: int = 1) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    width, size = ("<H", 10) if version == 1 else ("<I", 12)
    header = header.ljust(-(-(len(header) + 1 + size) // 64) * 64 - size - 1) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack(width, len(header)) + header + data


def _joblib_after_array() -> bytes:
    """As joblib writes it: a wrapper, the array's raw bytes in the middle of the pickle, then its rest."""
    state = {
        "subclass": np.ndarray, "shape": (4,), "order": "C", "dtype": np.dtype("f8"), "allow_mmap": False,
        "numpy_array_alignment_bytes": None,
    }  # fmt: skip
    wrapper = pickle.GLOBAL + b"joblib.numpy_pickle\nNumpyArrayWrapper\n" + pickle.EMPTY_TUPLE + pickle.NEWOBJ
    filled = wrapper + pickle.dumps(state, 3)[2:-1] + pickle.BUILD
    return b"\x80\x03" + filled + np.arange(4.0).tobytes() + pickle.POP + BAD[2:]


def _zip_with(change: str) -> bytes:
    """A zip whose two descriptions of its member differ, which torch and other readers do not mind."""
    data = bytearray(zipped({"model/data.pkl": BAD, "model/version": b"3\n"}))
    central = data.index(b"PK\x01\x02")
    if change == "crc":
        data[central + 16] ^= 0xFF
    elif change == "encrypted-central":
        data[central + 8] |= 1
    elif change == "encrypted-local":
        data[6] |= 1
    elif change == "name":
        at = data.index(b"data.pkl")
        data[at : at + 8] = b"datap.kl"
    elif change == "method":
        data[central + 10] = 99
    elif change == "reserved-flag":
        data[central + 8] |= 0x20
    elif change == "strong-flag":
        data[central + 8] |= 0x40
    return bytes(data)


def _zip_after(prefix: bytes) -> bytes:
    return prefix + torch_zip(BAD)


def _hidden_member() -> bytes:
    """A local member that the directory does not list; readers of local headers find it."""
    hidden, shown = zipped({"model/data.pkl": BAD}), zipped({"a.json": b"{}"})
    first = hidden[: hidden.index(b"PK\x01\x02")]
    end = shown.index(b"PK\x05\x06")
    moved = bytearray(shown)
    struct.pack_into("<I", moved, end + 16, shown.index(b"PK\x01\x02") + len(first))
    struct.pack_into("<I", moved, shown.index(b"PK\x01\x02") + 42, len(first))
    return first + bytes(moved)


def _same_name_twice() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/data.pkl", GOOD)
        archive.writestr("model/data.pkX", BAD)
    return buffer.getvalue().replace(b"data.pkX", b"data.pkl")


def _link() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("weights.bin")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return buffer.getvalue()


def _nested_zip(levels: int) -> bytes:
    return zipped({"inner.zip": _nested_zip(levels - 1)} if levels else {"data.pkl": BAD})


def _lzma_alone(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


def _compressed() -> list[Sample]:
    by = {
        "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "lzma": _lzma_alone, "z": zlib.compress,
        "lz4": lz4.frame.compress, "zst": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    made = [Sample(f"compressed.pkl.{suffix}", partial(pack, BAD_4), _PICKLE) for suffix, pack in by.items()]
    made += [Sample(f"compressed-{suffix}.joblib", partial(pack, BAD), _PICKLE) for suffix, pack in by.items()]
    made.append(Sample("twice.pkl.gz", lambda: gzip.compress(gzip.compress(BAD)), _PICKLE))
    made.append(Sample("second-stream.pkl.gz", lambda: gzip.compress(GOOD) + gzip.compress(BAD), _PICKLE))
    return made


def _archives() -> list[Sample]:
    made = [
        Sample(f"{name}.zip", partial(zipped, {"data.pkl": BAD}, method), _PICKLE) for name, method in _METHODS.items()
    ]
    made += [
        Sample("as-text.zip", lambda: zipped({"data.txt": BAD_4}), _PICKLE),
        Sample("zip-in-zip.zip", partial(_nested_zip, 2), _PICKLE),
        Sample("plain.tar", lambda: tarred({"a/model.pkl": BAD}), _PICKLE),
        Sample("packed.tar.gz", lambda: tarred({"model.pkl": BAD}, "w:gz"), _PICKLE),
        Sample("packed.tar.xz", lambda: tarred({"model.pkl": BAD}, "w:xz"), _PICKLE),
        Sample("tar-in-zip.zip", lambda: zipped({"a.tar": tarred({"model.bin": BAD_4})}), _PICKLE),
        Sample("model.7z", partial(sevenzip, {"data.pkl": BAD}), _PICKLE),
        Sample("torch-in.7z", partial(sevenzip, {"archive/data.pkl": BAD, "archive/version": b"3\n"}), _PICKLE),
        Sample("seven.pt", partial(sevenzip, {"archive/data.pkl": BAD_4}), _PICKLE),
        Sample("escape.zip", lambda: zipped({"../../.bashrc": b"true\n"}), "archive."),
        Sample("absolute.tar", lambda: tarred({"/etc/profile.d/x.json": b"{}"}), "archive."),
        Sample("link.tar", _link, "archive."),
        Sample("program.zip", lambda: zipped({"lib/a.so": b"\x7fELF\x02\x01\x01" + bytes(60)}), "folder.|archive."),
        Sample("hidden-member.zip", _hidden_member, "archive.|pickle."),
        Sample("same-name-twice.zip", _same_name_twice, "archive.|pickle."),
        Sample("behind-png.pt", partial(_zip_after, b"\x89PNG\r\n\x1a\n"), "archive.|pickle."),
        Sample("behind-pickle.pt", partial(_zip_after, GOOD), "archive.|pickle."),
        Sample("behind-header.pt", partial(_zip_after, b"PK\x03\x04" + bytes(100)), "archive.|pickle."),
        Sample("zip-behind-pickle.pt", lambda: BAD + torch_zip(GOOD), "archive.|pickle."),
        Sample("zip-behind-gguf.gguf", partial(_zip_after, b"GGUF\x03\0\0\0" + bytes(16)), "archive.|pickle.|gguf."),
    ]  # fmt: skip
    lies = ("crc", "encrypted-central", "encrypted-local", "name", "method", "reserved-flag", "strong-flag")
    made += [Sample(f"lies-{change}.pt", partial(_zip_with, change), "archive.|pickle.") for change in lies]
    return made


def _libraries() -> list[Sample]:
    storage = {"data/0": bytes(16)}
    return [
        Sample("torch.pt", lambda: torch_zip(BAD, **storage), _PICKLE),
        Sample("torch-protocol-4.pth", lambda: torch_zip(BAD_4, **storage), _PICKLE),
        Sample("torch-storage.pt", lambda: torch_zip(GOOD, **{"data/0": BAD}, **{"data.pkl2": BAD}), _PICKLE),
        Sample("torch-other-pickle.pt", lambda: torch_zip(GOOD, **{"extra/evil.pkl": BAD}), _PICKLE),
        Sample("torch-eval.pt", lambda: torch_zip(assemble(Call("builtins", "eval", "0"), 2)), _PICKLE),
        Sample("torch-deflated.pt", lambda: zipped({"m/data.pkl": BAD, "m/version": b"3"}, _DEFLATED), _PICKLE),
        Sample("torch-legacy.pt", partial(torch_legacy, BAD), _PICKLE),
        Sample("torch-legacy-magic.pt", lambda: BAD + torch_legacy(GOOD), _PICKLE),
        Sample("torch-tar.pth", _torch_tar, _PICKLE),
        Sample("torchscript-data.pt", lambda: _torchscript("data.pkl2", BAD), _PICKLE),
        Sample("torchscript-constants.pt", lambda: _torchscript("extra/constants.pkl", BAD), _PICKLE),
        Sample("torchscript-file.pt", lambda: _torchscript_that('y = torch.from_file("/etc/x", True, 9)'), "torch"),
        Sample("torchscript-save.pt", lambda: _torchscript_that('_0 = torch.save(x, "weights.pt")'), "torch"),
        Sample("torch-mar.mar", lambda: zipped({"MAR-INF/MANIFEST.json": b"{}", "model.pt": torch_zip(BAD)}), _PICKLE),
        Sample("objects.npy", lambda: _npy(BAD), _PICKLE),
        Sample("objects-2.npy", lambda: _npy(BAD_4, 2), _PICKLE),
        Sample("objects.npz", lambda: zipped({"a.npy": _npy(BAD)}), _PICKLE),
        Sample("objects-deflated.npz", lambda: zipped({"a.npy": _npy(BAD)}, zipfile.ZIP_DEFLATED), _PICKLE),
        Sample("after-array.joblib", _joblib_after_array, _PICKLE),
        Sample("after-array.joblib.gz", lambda: gzip.compress(_joblib_after_array()), _PICKLE),
    ]  # fmt: skip


def samples() -> list[Sample]:
    """All of them."""
    return [*_compressed(), *_archives(), *_libraries()]
