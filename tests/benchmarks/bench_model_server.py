"""What the model server and its client add to an inference, as ratios of one run: `make bench`.

The same model runs bare (a loop around onnxruntime in one process) and behind the server (a loop around a raw socket in
another). Blocks of both alternate. Each block counts by its lower decile: on a busy machine a process that wakes up for
each request waits for its turn, while a loop that never sleeps loses its turn only now and then, so that the medians
compare the scheduler's treatment of both and not the server.
"""

from __future__ import annotations

import statistics
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from model_approval.validators.gpu_benchmark.endpoint import Endpoint, Prepared
from tests.support.model_servers import unix_server
from tests.support.models import an_onnx_model, write_folder
from tests.support.validation import PYTHON

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ROUNDS, BLOCK = 40, 50
MODELS = {"tiny": ((1, 4), {"inputs": 4}), "about a millisecond": ((128, 128), {"inputs": 128, "layers": 24})}
"""Shape of the input, and the model. The second one's weights fit into a core's own cache: whoever else runs on the
machine could otherwise evict them whenever the server sleeps."""

_BARE = """
import sys, time, numpy
from model_approval.validators.onnx_session import open_model
from pathlib import Path
run = open_model(Path(sys.argv[1]), threads=1).session.run
feed = {"x": numpy.ones([int(size) for size in sys.argv[2:]], numpy.float32)}
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter_ns()
        run(None, feed)
        times.append(time.perf_counter_ns() - start)
    print(sorted(times)[len(times) // 10], flush=True)
"""


class Bare:
    """The model without a server: lower deciles of blocks, nanoseconds."""

    def __init__(self, model: Path, shape: tuple[int, ...]) -> None:
        command = [str(PYTHON), "-I", "-c", _BARE, str(model), *map(str, shape)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def block(self) -> int:
        """Lower decile of one block."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{BLOCK}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self._process.communicate()


def _block(endpoint: Endpoint, prepared: Prepared) -> int:
    return sorted(endpoint.time(prepared) for _ in range(BLOCK))[BLOCK // 10]


@pytest.mark.parametrize("name", list(MODELS))
def test_what_client_and_server_add(name: str, tmp_path: Path) -> None:
    shape, model = MODELS[name]
    artifact = write_folder(tmp_path / "artifact", {"model.onnx": an_onnx_model(**model)})
    with (
        unix_server(tmp_path, artifact, "--threads", "1") as server,
        closing(Endpoint.at(str(server.path))) as endpoint,
        closing(Bare(artifact / "model.onnx", shape)) as bare,
    ):
        prepared = endpoint.prepare({"x": np.ones(shape, np.float32)})
        pairs = [(_block(endpoint, prepared), bare.block()) for _ in range(ROUNDS)][1:]
    served, alone = (statistics.median(values) / 1e3 for values in zip(*pairs, strict=True))
    added = statistics.median(one - other for one, other in pairs) / 1e3
    print(f"\n{name}: bare {alone:.1f} us, served {served:.1f} us; added {added:.1f} us, {added / alone:.1%} of bare")
    assert len(pairs) == ROUNDS - 1
