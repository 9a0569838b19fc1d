"""How fast the whole scan is, against the tools that a team would run instead, one after the other, on the same files.

`make bench ARGS='-k scan'`. Each kind of file is made once, a gibibyte of it (`SCAN_BENCH_MIB` for another size), in
the test's scratch folder, and removed after its turn. Whatever is compared is measured in one run, as processes that
take turns, best of the rounds: wall-clock seconds, processor seconds, peak memory of the largest process. The goals:

* `model-approval scan`, digest included, at least 3 times as fast as sha256sum, picklescan and modelaudit in sequence;
* at least 0.7 of the speed of plain SHA-256 on safetensors, GGUF, torch zips and raw weights;
* a pickle of nothing but operations no slower than `pickletools.genops` reads it, in less than 200 MiB.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from tests.support.corpus.places import REPOSITORY, VALIDATORS

pytestmark = pytest.mark.timeout(3600)

_MIB = 1024**2
_SIZE_BYTES = int(os.environ.get("SCAN_BENCH_MIB", "1024")) * _MIB
_PARTS = 16
_PART_BYTES = _SIZE_BYTES // _PARTS
_ROUNDS = 3
_BIN = VALIDATORS.parent
_HASH = "import hashlib,sys; print(hashlib.file_digest(open(sys.argv[1],'rb',buffering=0),'sha256').hexdigest())"
_LAUNCH = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdin=-3, stdout=-3, stderr=-3)
_, status, used = os.wait4(process.pid, 0)
code = os.waitstatus_to_exitcode(status)
print(json.dumps([time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss // 1024, code]))
"""
"""Starts and measures a command. Small, as a process begins with its parent's peak of memory."""
_GENOPS = "import pickletools,sys\nfor _ in pickletools.genops(open(sys.argv[1],'rb')): pass"
_OURS = (str(REPOSITORY / ".venv/bin/model-approval"), "scan", "--json")
_QUIET = {"PROMPTFOO_DISABLE_TELEMETRY": "1", "NO_ANALYTICS": "1"}


@dataclass(frozen=True)
class Cost:
    """What a process took, with the processes that it waited for.

    Attributes:
        wall_s: Seconds on the clock.
        cpu_s: Seconds of processors.
        peak_mib: Most memory of any one of the processes.
        code: How the first one ended.
    """

    wall_s: float
    cpu_s: float
    peak_mib: int
    code: int

    def __str__(self) -> str:
        return f"{self.wall_s:6.2f} s {self.cpu_s:6.2f} cpu {self.peak_mib:5} MiB rc {self.code}"


def _run(command: Sequence[str]) -> Cost:
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCH, *command]
    result = subprocess.run(launch, stdout=subprocess.PIPE, env=os.environ | _QUIET, check=True)
    return Cost(*json.loads(result.stdout))


def _race(*commands: Sequence[str]) -> tuple[Cost, ...]:
    """The best of each, in turns, so that a busy minute hits all of them."""
    rounds = [[_run(command) for command in commands] for _ in range(_ROUNDS)]
    return tuple(min(costs, key=lambda cost: cost.wall_s) for costs in zip(*rounds, strict=True))


# ------------------------------------------------------------------------------------------------------------ the files


def _tensor_bytes(at: int) -> bytes:
    """A part of what weights look like: normal floats, another part each time."""
    block = np.random.default_rng(at).normal(size=_MIB // 4).astype(np.float32).tobytes()
    return block * (_PART_BYTES // len(block))


def _parts(stream: IO[bytes]) -> None:
    for at in range(_PARTS):
        stream.write(_tensor_bytes(at))


def _torch(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.pt", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", pickle.dumps({"epoch": 1}, 2))
        for at in range(_PARTS):
            archive.writestr(f"model/data/{at}", _tensor_bytes(at))
        archive.writestr("model/version", b"3\n")


def _safetensors(folder: Path) -> None:
    tensors = {
        f"w{at}": {
            "dtype": "F32",
            "shape": [_PART_BYTES // 4],
            "data_offsets": [at * _PART_BYTES, (at + 1) * _PART_BYTES],
        }
        for at in range(_PARTS)
    }
    header = json.dumps(tensors).encode()
    with (folder / "model.safetensors").open("wb") as stream:
        stream.write(struct.pack("<Q", len(header)) + header)
        _parts(stream)


def _gguf(folder: Path) -> None:
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    pairs = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    tensors = b"".join(
        text(f"w{at}") + struct.pack("<IQIQ", 1, _PART_BYTES // 4, 0, at * _PART_BYTES) for at in range(_PARTS)
    )
    head = b"GGUF" + struct.pack("<IQQ", 3, _PARTS, 1) + pairs + tensors
    with (folder / "model.gguf").open("wb") as stream:
        stream.write(head + bytes(-len(head) % 32))
        _parts(stream)


def _npy(folder: Path) -> None:
    with (folder / "array.npy").open("wb") as stream:
        described = {"descr": "<f4", "fortran_order": False, "shape": (_SIZE_BYTES // 4,)}
        np.lib.format.write_array_header_1_0(stream, described)
        _parts(stream)


def _array() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.frombuffer(b"".join(_tensor_bytes(at) for at in range(_PARTS)), np.float32)


def _joblib(folder: Path) -> None:
    import joblib

    joblib.dump({"weights": _array(), "classes": [0, 1]}, folder / "model.joblib")


def _numpy_pickle(folder: Path) -> None:
    with (folder / "model.pkl").open("wb") as stream:
        pickle.dump({"weights": _array()}, stream, protocol=4)


def _onnx(folder: Path) -> None:
    """A graph, its weights raw in a file beside it."""
    import onnx
    from onnx import helper

    tensor = onnx.TensorProto(name="w", data_type=1, dims=[_SIZE_BYTES // 4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="model.onnx.data")
    value = [helper.make_tensor_value_info(name, 1, [_SIZE_BYTES // 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", value[:1], value[1:], [tensor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    with (folder / "model.onnx.data").open("wb") as stream:
        _parts(stream)


def _dense(folder: Path) -> None:
    """Fifty mebibytes of numbers and short texts, an operation each few bytes."""
    records = [[at, at * 0.5, f"k{at}", (at, None), {"a": True}] for at in range(1_150_000)]
    (folder / "dense.pkl").write_bytes(pickle.dumps(records, 4))
    assert 45 * _MIB < (folder / "dense.pkl").stat().st_size < 60 * _MIB


# ------------------------------------------------------------------------------------------------------------ the races

_KINDS: dict[str, tuple[Callable[[Path], None], bool]] = {
    "torch zip": (_torch, True),
    "safetensors": (_safetensors, True),
    "GGUF": (_gguf, True),
    "raw weights of ONNX": (_onnx, True),
    "npy": (_npy, False),
    "joblib": (_joblib, False),
    "numpy pickle": (_numpy_pickle, False),
}
"""How each is made, and whether it is one of those held to the speed of SHA-256."""
_FASTER = 3.0
_OF_SHA256 = 0.7
_DENSE_PEAK_MIB = 200


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "artifact"
    made.mkdir()
    return made


@pytest.mark.parametrize("kind", _KINDS)
def test_the_scan_is_faster_than_the_tools_in_sequence(kind: str, folder: Path) -> None:
    make, held_to_sha256 = _KINDS[kind]
    make(folder)
    try:
        largest = str(max(folder.iterdir(), key=lambda path: path.stat().st_size))
        tools = {
            "sha256sum": _run(("sha256sum", largest)),
            "picklescan": _run((str(_BIN / "picklescan"), "-p", str(folder))),
            "modelaudit": _run((str(_BIN / "modelaudit"), "scan", str(folder))),
        }
        plain, ours = _race((sys.executable, "-I", "-c", _HASH, largest), (*_OURS, str(folder)))
    finally:
        shutil.rmtree(folder)
    faster, of_sha256 = sum(tool.wall_s for tool in tools.values()) / ours.wall_s, plain.wall_s / ours.wall_s
    print(f"\n{kind}, {_SIZE_BYTES // _MIB} MiB: {faster:.1f} times as fast as the three, {of_sha256:.2f} of SHA-256")
    for name, cost in {"model-approval": ours, "hashlib": plain, **tools}.items():
        print(f"  {name:<16}{cost}")
    assert ours.code in (0, 3), "the scan alarms about an honest file"
    assert faster >= _FASTER
    assert not held_to_sha256 or of_sha256 >= _OF_SHA256


def test_the_scan_of_a_pickle_of_operations_is_no_slower_than_reading_them(folder: Path) -> None:
    _dense(folder)
    path = str(folder / "dense.pkl")
    reading, ours = _race((sys.executable, "-I", "-c", _GENOPS, path), (*_OURS, path))
    print(f"\nopcode-dense pickle, 50 MiB: {reading.wall_s / ours.wall_s:.2f} of the speed of genops")
    print(f"  model-approval  {ours}\n  genops          {reading}")
    assert ours.code == 0, "an honest pickle must pass"
    assert ours.wall_s <= reading.wall_s
    assert ours.peak_mib < _DENSE_PEAK_MIB
