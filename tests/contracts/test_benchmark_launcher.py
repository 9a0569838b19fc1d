"""The launcher of cold starts, with real processes."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.launcher import Launcher
from tests.support.models import an_onnx_model, write_folder
from tests.support.servers import wait_until
from tests.support.validation import PYTHON

pytestmark = pytest.mark.contract

_SERVER = (str(PYTHON), "-I", "-m", "model_approval.validators.model_server")


@contextmanager
def _launcher(folder: Path, command: tuple[str, ...] = _SERVER) -> Iterator[Launcher]:
    artifact = write_folder(folder / "artifact", {"model.onnx": an_onnx_model()})
    launcher = Launcher.begin(artifact, folder / "cold", ("--threads", "1"), command)
    try:
        yield launcher
    finally:
        launcher.close()


def test_each_start_is_a_new_server_and_a_stop_ends_it(tmp_path: Path) -> None:
    sockets = []
    with _launcher(tmp_path) as launcher:
        for _ in range(2):
            begin = time.perf_counter()
            started = launcher.start()
            assert begin <= started.at_s <= time.perf_counter()
            sockets.append(started.socket)
            with closing(Endpoint.at(started.socket)) as endpoint:
                wait_until(endpoint.ready, timeout_s=60, what="the model server")
                launcher.look()
                launcher.stop()
                assert not endpoint.ready()
    assert len(set(sockets)) == 2


def test_a_server_that_ends_by_itself_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('model server: no such model')")
    with _launcher(tmp_path, command) as launcher:
        launcher.start()

        with pytest.raises(EvidenceError, match="cold start: no such model"):
            wait_until(lambda: launcher.look(), timeout_s=30, what="the end of the server")


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with _launcher(tmp_path, (str(tmp_path / "none"),)) as launcher, pytest.raises(EvidenceError, match="cold start"):
        launcher.start()


def test_a_launcher_that_has_ended_is_told(tmp_path: Path) -> None:
    with _launcher(tmp_path) as launcher:
        launcher.process.kill()
        launcher.process.wait()
        with pytest.raises(EvidenceError, match="the launcher of servers has ended"):
            launcher.start()
