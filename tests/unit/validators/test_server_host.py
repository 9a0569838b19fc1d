"""The container of the model servers and its client, over a real socket; the servers are stand-ins."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.gpu import Gpu, GpuSample
from model_approval.validators.gpu_benchmark.hosted import (
    HostedGpu,
    HostedPlacement,
    HostedServer,
    HostedStarts,
    ServerHost,
)
from model_approval.validators.gpu_benchmark.parameters import Parameters
from model_approval.validators.gpu_benchmark.server_host import Host, serve, take_one_connection
from tests.support.servers import wait_until

pytestmark = pytest.mark.unit

_WAITS = (sys.executable, "-c", "import time; time.sleep(120)")
_FAILS = (sys.executable, "-c", "import sys; sys.exit('model server: no such model')")


class FakeGpu:
    """A GPU that is always the same."""

    def describe(self) -> dict[str, str]:
        return {"gpu": "NVIDIA H100 80GB HBM3", "gpu_driver": "570.1"}

    def sample(self) -> GpuSample:
        return GpuSample(7 * 1024**3, 93.0, 640.5, None, frozenset({"hardware slowdown"}))


@contextmanager
def connected(folder: Path, command: tuple[str, ...] = _WAITS, gpu: Gpu | None = None) -> Iterator[ServerHost]:
    """A host in a thread, and the measuring program's end of the connection."""
    here, there = socket.socketpair()
    host = Host(folder / "work", folder / "serve", Parameters(threads=3), gpu, command)
    thread = threading.Thread(target=serve, args=(host, there))
    thread.start()
    client = ServerHost(here)
    try:
        yield client
    finally:
        client.close()
        thread.join(timeout=30)
        assert not thread.is_alive(), "the host ends with the connection"


def test_gpu_is_told_across_the_containers_as_it_is(tmp_path: Path) -> None:
    with connected(tmp_path, gpu=FakeGpu()) as client:
        gpu = HostedGpu.of(client)
        assert gpu is not None
        assert gpu.sample() == FakeGpu().sample()
        assert gpu.describe() == FakeGpu().describe()


def test_what_the_gpu_does_not_tell_is_not_told_across_the_containers_either(tmp_path: Path) -> None:
    class MuteGpu(FakeGpu):
        def sample(self) -> GpuSample:
            return GpuSample(None, None, None, None, None)

    with connected(tmp_path, gpu=MuteGpu()) as client:
        assert HostedGpu(client).sample() == GpuSample(None, None, None, None, None)


def test_container_without_a_gpu_has_none(tmp_path: Path) -> None:
    with connected(tmp_path) as client:
        assert HostedGpu.of(client) is None


def test_memory_of_a_server_is_what_the_kernel_says(tmp_path: Path) -> None:
    with connected(tmp_path) as client:
        server = HostedServer.start("candidate", client)
        wait_until(lambda: server.memory_bytes() > 1024**2, timeout_s=30, what="the interpreter's memory")
        now = server.memory_bytes()  # asked first, since it still grows
        assert server.peak_memory_bytes() >= now
        assert server.is_alive()
        assert server.threads == 3
        assert Path(server.socket).is_absolute()
        assert len(Path(server.socket).parent.name) == 16, "nobody guesses it"


def test_server_that_ended_is_told_with_its_last_words(tmp_path: Path) -> None:
    with connected(tmp_path, _FAILS) as client:
        server = HostedServer.start("champion", client)
        with pytest.raises(EvidenceError, match="champion: no such model"):
            server.wait_ready(30)
        assert not server.is_alive()
        assert server.memory_bytes() == 0


def test_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with connected(tmp_path, (str(tmp_path / "none"),)) as client, pytest.raises(EvidenceError, match="cold start: "):
        HostedStarts(client).start()


def test_cold_starts_leave_the_candidate_alone(tmp_path: Path) -> None:
    with connected(tmp_path) as client:
        candidate, starts = HostedServer.start("candidate", client), HostedStarts(client)
        first, second = starts.start(), starts.start()
        starts.look()
        starts.stop()
        assert candidate.is_alive()
        assert len({candidate.socket, first.socket, second.socket}) == 3
        with pytest.raises(EvidenceError, match="cold start: no such server"):
            starts.look()


def test_client_and_server_share_one_processor_only_during_the_block(tmp_path: Path) -> None:
    everywhere = os.sched_getaffinity(0)
    try:
        with connected(tmp_path) as client:
            server = HostedServer.start("candidate", client)
            with HostedPlacement(server).together(0.99):
                assert os.sched_getaffinity(0) == {max(everywhere)}
                assert server.is_alive()
            assert os.sched_getaffinity(0) == everywhere
    finally:
        os.sched_setaffinity(0, everywhere)


def test_command_that_is_none_ends_host_and_servers(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    host = Host(tmp_path, tmp_path, Parameters(), command=_WAITS)
    with here:
        here.sendall(b'{"do": "start", "options": ["--python", "/bin/sh"]}\n')
        with pytest.raises(EvidenceError, match="command"):
            serve(host, there)


def test_host_that_has_ended_is_told_with_its_likely_cause(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    there.close()
    client = ServerHost(here)
    with pytest.raises(EvidenceError, match="has ended, most likely out of memory"):
        HostedGpu.of(client)
    client.close()


def test_measuring_program_that_never_comes_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no measuring program came"):
        take_one_connection(tmp_path / "host.sock", longest_s=0.05)
    assert not (tmp_path / "host.sock").exists()


def test_container_that_never_listens_is_told(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="did not come up within"):
        ServerHost.connect(tmp_path / "host.sock", longest_s=0.05)
