"""LoadGen against a server that breaks down in the middle of a run; run with the validators' interpreter.

    python -m tests.support.failing_model FOLDER

Prints one JSON object: for each scenario how the run ended.
"""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path

import numpy as np

from model_approval.domain.errors import EvidenceError
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.loadgen import Scenario, Settings, run
from model_approval.validators.gpu_benchmark.stream import Stream
from tests.support.v2_server import V2Server, doubled, http, v2_server

_ANSWERED = 50


def outcomes(folder: Path) -> dict[str, str]:
    """The error of each scenario, or `no error`."""
    with v2_server(folder) as server:
        server.infer = lambda head, body: (
            doubled(head, body) if server.asked < _ANSWERED else http(500, b'{"error": "out of memory"}')
        )
        return {scenario.value: _outcome(server, scenario, folder) for scenario in Scenario}


def _outcome(server: V2Server, scenario: Scenario, folder: Path) -> str:
    server.asked = 0
    endpoint = Endpoint.at(server.where, timeout_s=5.0)
    prepared = [endpoint.prepare({"x": np.ones((1, 4), np.float32)})] * 3
    queries = 1 if scenario is Scenario.OFFLINE else 700
    settings = Settings(scenario, 0.2, 1.0, queries, 1, expected_qps=500.0, latency_bound_ms=50.0)
    with closing(Stream("candidate", endpoint, prepared, in_flight=3)) as stream:
        try:
            run(stream, settings, folder / scenario.value)
        except EvidenceError as err:
            return str(err)
    return "no error"


if __name__ == "__main__":
    print(json.dumps(outcomes(Path(sys.argv[1]))))
