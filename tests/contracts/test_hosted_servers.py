"""The benchmark with its model servers in a program of their own, as two containers of one pod run it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from model_approval.domain.digests import canonical_json
from model_approval.domain.evidence import Device, Evidence
from model_approval.domain.manifest import manifest_of_folder
from model_approval.validators import contract
from model_approval.validators.contract import Limits
from tests.support.models import an_onnx_model, write_folder
from tests.support.servers import wait_until
from tests.support.validation import PYTHON, a_validator_input

pytestmark = pytest.mark.contract

_QUICK = {"duration_s": 0.4, "warm_up_s": 0.5, "ratio_precision": 0.1, "threads": 1, "processes": 2}
_IMAGE = "registry.example/server@sha256:" + "2" * 64


@dataclass
class Pod:
    """A work folder, and the program of the container that runs the model servers."""

    work: Path
    serve: Path
    host: subprocess.Popen[str]

    @property
    def door(self) -> Path:
        """Where the host listens until somebody came."""
        return self.serve / "host.sock"

    def measure(self) -> subprocess.Popen[str]:
        """Start the other container's program."""
        command = [str(PYTHON), "-m", "model_approval.validators.supervisor", "--work", str(self.work)]
        wanted = ["--validator", "gpu_benchmark", "--servers", str(self.door), "--server-image", _IMAGE]
        return subprocess.Popen([*command, *wanted], stderr=subprocess.PIPE, text=True)

    def evidence(self) -> Evidence:
        """Measure to the end."""
        measuring = self.measure()
        _, said = measuring.communicate(timeout=200)
        assert measuring.returncode == 0, said
        return Evidence.model_validate_json((self.work / contract.EVIDENCE_FILE).read_bytes())


@contextmanager
def a_pod(
    folder: Path, files: Mapping[str, bytes], champion: Mapping[str, bytes] | None = None, **parameters: object
) -> Iterator[Pod]:
    work, serve = folder / "work", folder / "serve"
    write_folder(work / contract.ARTIFACT_DIR, files)
    changes: dict[str, object] = {"check": "gpu_benchmark", "allow_cpu": True, "parameters": {**_QUICK, **parameters}}
    if champion:
        changes["champion_manifest"] = manifest_of_folder(write_folder(work / contract.CHAMPION_DIR, champion))
    given = a_validator_input(manifest_of_folder(work / contract.ARTIFACT_DIR), **changes)
    (work / contract.INPUT_FILE).write_bytes(canonical_json(given))
    (work / contract.LIMITS_FILE).write_bytes(canonical_json(Limits(timeout_s=150)))
    command = [str(PYTHON), "-m", "model_approval.validators.gpu_benchmark.server_host"]
    host = subprocess.Popen([*command, "--work", str(work), "--folder", str(serve)], stderr=subprocess.PIPE, text=True)
    try:
        yield Pod(work, serve, host)
    finally:
        host.kill()
        host.communicate()


def test_candidate_and_champion_are_measured_in_the_other_program(tmp_path: Path) -> None:
    files = {"model.onnx": an_onnx_model(inputs=8)}
    with a_pod(tmp_path, files, files, cold_start={"starts": 1}) as pod:
        evidence = pod.evidence()
        assert pod.host.wait(timeout=20) == 0, "it ends in order once it is no longer needed"

    assert evidence.device is Device.CPU
    assert evidence.environment["server_image"] == _IMAGE
    assert evidence.limitations == ()
    p50, memory = evidence.metric("latency_p50"), evidence.metric("peak_memory")
    assert p50 is not None
    assert p50.ratio is not None
    assert memory is not None
    assert memory.value > 20
    assert memory.baseline is not None
    assert evidence.metric("cold_start") is not None


def test_host_lets_nobody_in_after_the_measuring_program(tmp_path: Path) -> None:
    with a_pod(tmp_path, {"model.onnx": an_onnx_model()}, soak={"duration_s": 3}) as pod:
        measuring = pod.measure()
        wait_until(lambda: list(pod.serve.glob("*/server.sock")), timeout_s=60, what="the model server")
        assert not pod.door.exists()
        assert measuring.poll() is None
        measuring.communicate(timeout=200)


def test_model_that_cannot_be_loaded_is_told_with_its_servers_last_words(tmp_path: Path) -> None:
    with a_pod(tmp_path, {"model.onnx": b"no model"}) as pod:
        measuring = pod.measure()
        _, said = measuring.communicate(timeout=200)
        assert pod.host.wait(timeout=20) == 0

    assert measuring.returncode == 1
    assert said.startswith("gpu_benchmark: candidate: ")
    assert "model.onnx" in said
    assert not (pod.work / contract.EVIDENCE_FILE).exists()


def test_servers_killed_with_their_container_are_told_and_leave_no_evidence(tmp_path: Path) -> None:
    with a_pod(tmp_path, {"model.onnx": an_onnx_model()}, duration_s=20) as pod:
        measuring = pod.measure()
        wait_until(lambda: list(pod.serve.glob("*/server.sock")), timeout_s=60, what="the model server")
        children = Path(f"/proc/{pod.host.pid}/task/{pod.host.pid}/children").read_text(encoding="ascii").split()
        pod.host.kill()
        for child in children:
            os.kill(int(child), signal.SIGKILL)
        _, said = measuring.communicate(timeout=200)

    assert measuring.returncode == 1
    assert "container of the model servers has ended" in said or "connection to the model's server broke" in said
    assert not (pod.work / contract.EVIDENCE_FILE).exists()


def test_host_without_input_says_what_is_missing(tmp_path: Path) -> None:
    command = [str(PYTHON), "-m", "model_approval.validators.gpu_benchmark.server_host"]
    done = subprocess.run(
        [*command, "--work", str(tmp_path), "--folder", str(tmp_path / "serve")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "input.json" in done.stderr


def test_parameter_that_is_none_is_told_at_once_and_not_waited_for(tmp_path: Path) -> None:
    with a_pod(tmp_path, {"model.onnx": an_onnx_model()}, treads=1) as pod:
        measuring = pod.measure()
        _, said = measuring.communicate(timeout=60)

    assert measuring.returncode == 1
    assert "the container of the model servers: " in said
    assert "treads" in said
