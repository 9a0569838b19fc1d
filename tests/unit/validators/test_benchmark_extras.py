"""Which extras run, in what order, and what becomes of those that cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Metric, Severity
from model_approval.policy.schema import Check
from model_approval.validators.contract import Report, Task
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.extras import Extras, Ground, extras
from model_approval.validators.gpu_benchmark.parameters import Parameters
from tests.support.reference import DOCS
from tests.support.v2_server import V2Server, doubled, http, v2_server
from tests.support.validation import a_validator_input

pytestmark = pytest.mark.unit


@dataclass
class Process:
    """The fake server, as if it were a process."""

    fake: V2Server
    name: str = "candidate"
    alive: bool = True

    def endpoint(self) -> Endpoint:
        return Endpoint.at(self.fake.where, timeout_s=5.0)

    def is_alive(self) -> bool:
        return self.alive

    def gone(self) -> EvidenceError:
        return EvidenceError("candidate: the model's server ended with SIGSEGV")

    def memory_bytes(self) -> int:
        return 10 * 1024**2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    with v2_server(tmp_path) as fake:
        yield Process(fake)


def _run(server: Process, folder: Path, **parameters: object) -> Extras:
    task = Task(
        validator="gpu_benchmark", input=a_validator_input(), artifact=str(folder), scratch=str(folder), timeout_s=60
    )
    wanted = Parameters.model_validate({"robustness": False, **parameters})
    return extras(Ground(task, wanted, server))


def _holdout(folder: Path) -> None:
    (folder / "holdout.csv").write_text("a,b,c,d,label\n0,0,1,0,2\n1,0,0,0,0\n", encoding="utf-8")


def test_several_extras_run_one_after_the_other(server: Process, tmp_path: Path) -> None:
    _holdout(tmp_path)
    found = _run(server, tmp_path, holdout={}, concurrency=2, sweep={"batch_sizes": [1, 2], "duration_s": 0.02})
    names = [metric.name for metric in found.metrics]
    assert names.index("accuracy") < names.index("concurrent_throughput") < names.index("best_batch_size")
    assert (found.findings, found.limitations) == ([], [])


def test_an_extra_that_cannot_be_measured_is_a_limitation_and_the_others_go_on(server: Process, tmp_path: Path) -> None:
    found = _run(server, tmp_path, holdout={}, concurrency=2)
    (limitation,) = found.limitations
    assert limitation.startswith("holdout: the artifact has no file 'holdout.csv'")
    assert "concurrent_throughput" in {metric.name for metric in found.metrics}


def test_a_process_that_ends_under_an_extra_is_a_high_finding_and_the_end(server: Process, tmp_path: Path) -> None:
    _holdout(tmp_path)

    def crash(head: str, body: bytes) -> bytes:
        server.alive = False
        return b""

    server.fake.infer = crash
    found = _run(server, tmp_path, holdout={}, concurrency=2)
    (finding,) = found.findings
    assert (finding.rule, finding.severity, finding.subject) == ("robustness.crash", Severity.HIGH, "holdout")
    assert "ended with SIGSEGV" in finding.message
    assert found.metrics == []


def test_a_server_that_falls_silent_is_a_limitation_and_the_end(server: Process, tmp_path: Path) -> None:
    _holdout(tmp_path)
    server.fake.infer = lambda head, body: b""
    found = _run(server, tmp_path, holdout={}, concurrency=2)
    (limitation,) = found.limitations
    assert limitation.startswith("holdout: candidate: the model's server closed the connection")
    assert limitation.endswith("what else the policy asks for was not measured")
    assert (found.metrics, found.findings) == ([], [])


def test_a_model_that_refuses_made_up_input_is_a_limitation(server: Process, tmp_path: Path) -> None:
    server.fake.infer = lambda head, body: http(422, b'{"error": "no"}')
    assert _run(server, tmp_path, concurrency=2).limitations == [
        "concurrency: candidate: the model's server answered 422: no"
    ]


def test_cold_starts_without_a_launcher_are_a_limitation(server: Process, tmp_path: Path) -> None:
    assert _run(server, tmp_path, cold_start={}).limitations == ["cold start: there is nothing to start servers with"]


def test_nothing_runs_unasked(server: Process, tmp_path: Path) -> None:
    server.fake.infer = doubled
    assert _run(server, tmp_path) == Extras()
    assert server.fake.asked == 0


def test_what_they_brought_stands_beside_the_rest_of_the_report() -> None:
    latency, accuracy = (Metric(name=name, value=1, unit="x") for name in ("latency_p50", "accuracy"))
    found = Extras([accuracy], environment={"holdout": "h"}, limitations=["l2"])
    report = found.added_to(Report(metrics=(latency,), environment={"cpu": "c"}, limitations=("l1",)))
    assert report.metrics == (latency, accuracy)
    assert (report.environment, report.limitations) == ({"cpu": "c", "holdout": "h"}, ("l1", "l2"))


def test_the_examples_in_the_documents_are_taken_as_they_stand() -> None:
    page = (DOCS / "benchmark-extras.md").read_text(encoding="utf-8")
    whole, parameters = (YAML(typ="safe").load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    check = Check.model_validate({**whole["checks"][0], "resources": {"cpu": "1", "memory": "1Gi"}})
    assert Parameters.model_validate(check.parameters).holdout is not None
    assert Parameters.model_validate(parameters["parameters"]).only_streams
    measured = {"accuracy": "fraction", "memory_growth": "MiB/min"}
    assert {rule.limit.metric: rule.limit.unit for rule in check.rules if rule.limit} == measured


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"endpoint": {"url": "http://h"}, "cold_start": {}}, "cannot be started anew"),
        ({"endpoint": {"url": "http://h"}, "soak": {}}, "cannot be seen"),
        ({"endpoint": {"url": "http://h", "protocol": "openai"}}, "only `llm` can be measured"),
        ({"endpoint": {"url": "http://h", "protocol": "openai"}, "llm": {}, "holdout": {}}, "answers whole tensors"),
        ({"endpoint": {"url": "http://h"}, "llm": {}}, "generate_stream goes with an endpoint's protocol v2"),
        ({"llm": {}}, "a server of our own does not"),
        ({"holdout": {"metrics": ["f2"]}}, "Input should be"),
        ({"holdout": {"metrics": []}}, "at least 1 item"),
        ({"sweep": {"batch_sizes": [0]}}, "greater than or equal to 1"),
        ({"soak": {"duration": 3}}, "Extra inputs are not permitted"),
    ],
)
def test_parameters_that_do_not_fit_together_are_refused(parameters: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Parameters.model_validate(parameters)
