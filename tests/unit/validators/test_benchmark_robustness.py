"""What a server does to hostile requests becomes findings, held against servers that misbehave on purpose."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Severity
from model_approval.validators.gpu_benchmark.endpoint import Endpoint
from model_approval.validators.gpu_benchmark.hostile_requests import hostile_requests
from model_approval.validators.gpu_benchmark.robustness import Robustness, check_robustness, has_ended
from tests.support.raw_server import raw_server, read_request
from tests.support.v2_server import doubled, http

pytestmark = pytest.mark.unit
_INPUTS = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
_REQUESTS = {one.name: one for one in hostile_requests(Endpoint.at("nowhere"), _INPUTS)}


@dataclass
class Server:
    """Answers the valid request alone; whichever body is in a set is treated so instead."""

    valid: bytes
    crash: set[str] = field(default_factory=set)
    hang: set[str] = field(default_factory=set)
    close: set[str] = field(default_factory=set)
    break_: set[str] = field(default_factory=set)
    accept: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    """From then on the valid request is answered otherwise."""
    alive: bool = True
    poisoned: bool = False
    asked: int = 0
    end: threading.Event = field(default_factory=threading.Event)

    def talk(self, connection: socket.socket) -> None:
        while True:
            head, body = read_request(connection)
            if not head or not self.alive:
                return
            whole = head + b"\r\n\r\n" + body
            case = next((name for name, one in _REQUESTS.items() if one.data == whole), "")
            if case in self.crash:
                self.alive = False
                return
            if case in self.hang:
                self.end.wait()
            if case in self.close:
                return
            connection.sendall(self._answer(case, head, whole, body))

    def _answer(self, case: str, head: bytes, whole: bytes, body: bytes) -> bytes:
        self.poisoned |= case in self.poison
        if whole == self.valid or case in self.accept:
            self.asked += 1
            honest = doubled(head.decode(), body) if whole == self.valid else http(200, b'{"outputs": []}')
            return http(200, b'{"outputs": []}') if self.poisoned else honest
        return http(500 if case in self.break_ else 400, b'{"error": "no"}')


@contextmanager
def _served(folder: Path, **misbehaviour: set[str]) -> Iterator[tuple[Server, Endpoint]]:
    path = folder / "server.sock"
    endpoint = Endpoint.at(str(path))
    server = Server(endpoint.prepare(_INPUTS).data, **misbehaviour)  # type: ignore[arg-type]  # all of them are sets
    with raw_server(path, server.talk):
        try:
            yield server, endpoint
        finally:
            server.end.set()


def _check(folder: Path, **misbehaviour: set[str]) -> Robustness:
    with _served(folder, **misbehaviour) as (server, endpoint):
        return check_robustness(endpoint, _INPUTS, is_alive=lambda: server.alive, deadline_s=1.0)


def _findings(folder: Path, **misbehaviour: set[str]) -> list[tuple[str, Severity, str]]:
    return [(one.rule, one.severity, one.subject) for one in _check(folder, **misbehaviour).findings]


def test_a_server_that_refuses_everything_hostile_brings_no_finding(tmp_path: Path) -> None:
    robustness = _check(tmp_path)
    assert robustness.findings == ()
    assert (
        robustness.environment["robustness"]
        == f"{len(_REQUESTS)} hostile requests, {len(_REQUESTS)} answered by an error"
    )
    assert robustness.environment["robustness.repeatable"] == "yes"


def test_every_kind_of_hostile_request_is_sent() -> None:
    assert {
        "empty-body", "cut-json", "deep-json", "unnamed-model", "unknown-input", "wrong-type", "wrong-rank",
        "wrong-shape", "negative-shape", "huge-shape", "overflowing-shape", "cut-tensor", "negative-size", "huge-size",
        "nan", "infinity", "oversized-body", "no-http", "long-head",
    } <= set(_REQUESTS)  # fmt: skip
    assert len({one.data for one in _REQUESTS.values()}) == len(_REQUESTS)


def test_integers_are_never_filled_with_nan() -> None:
    requests = hostile_requests(Endpoint.at("nowhere"), {"x": np.zeros((1, 4), np.int64)})
    assert not {"nan", "infinity"} & {one.name for one in requests}


def test_strings_and_scalars_have_hostile_requests_too() -> None:
    for array in (np.array(["a"], dtype=object), np.array(1, np.float32)):
        assert len(hostile_requests(Endpoint.at("nowhere"), {"x": array})) > 20


def test_a_crash_is_a_high_finding_that_says_what_was_sent_and_ends_the_check(tmp_path: Path) -> None:
    (finding,) = _check(tmp_path, crash={"huge-shape"}).findings[-1:]
    assert (finding.rule, finding.severity) == ("robustness.crash", Severity.HIGH)
    assert "huge-shape" in finding.subject
    assert "a first dimension of 1099511627776" in finding.message
    assert finding.message.startswith("the server's process ended")


def test_a_process_that_is_still_ending_has_ended() -> None:
    looks = iter([True, True, False])
    assert has_ended(lambda: next(looks))
    assert not has_ended(lambda: True, patience_s=0.05)


def test_a_request_without_an_answer_is_a_hang(tmp_path: Path) -> None:
    found = _findings(tmp_path, hang={"deep-json"})
    assert found == [("robustness.hang", Severity.HIGH, "deep-json")]


def test_another_answer_afterwards_is_a_high_finding(tmp_path: Path) -> None:
    rules = {(rule, severity) for rule, severity, _ in _findings(tmp_path, poison={"nan"})}
    assert rules == {("robustness.changed-answer", Severity.HIGH)}


@pytest.mark.parametrize(
    ("misbehaviour", "found"),
    [
        ({"accept": {"wrong-type"}}, ("robustness.accepted", Severity.MEDIUM, "wrong-type")),
        ({"accept": {"nan"}}, ("robustness.not-finite", Severity.LOW, "nan")),
        ({"break_": {"cut-json"}}, ("robustness.server-error", Severity.LOW, "cut-json")),
        ({"close": {"empty-body"}}, ("robustness.no-answer", Severity.MEDIUM, "empty-body")),
        ({"hang": {"oversized-body"}}, ("robustness.oversized-body", Severity.LOW, "oversized-body")),
    ],
)
def test_an_unwise_answer_is_a_smaller_finding(
    tmp_path: Path, misbehaviour: dict[str, set[str]], found: tuple[str, Severity, str]
) -> None:
    assert _findings(tmp_path, **misbehaviour) == [found]


def test_a_server_that_answers_nothing_at_all_is_told_in_words(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="no model server at"):
        check_robustness(Endpoint.at(str(tmp_path / "none")), _INPUTS, is_alive=lambda: False)


def test_a_server_that_gives_random_answers_is_not_blamed_for_it(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)

    def talk(connection: socket.socket) -> None:
        while True:
            head, body = read_request(connection)
            if not head:
                return
            if b"/v2/models/model/infer" not in head or body[:1] != b"{" or not body.endswith(_INPUTS["x"].tobytes()):
                connection.sendall(http(400, b"{}"))
                continue
            values = generator.normal(size=1).tolist()
            output = f'{{"outputs": [{{"name": "y", "datatype": "FP32", "shape": [1], "data": {values}}}]}}'
            connection.sendall(http(200, output.encode()))

    with raw_server(tmp_path / "server.sock", talk) as path:
        robustness = check_robustness(Endpoint.at(path), _INPUTS, is_alive=lambda: True)
    assert robustness.environment["robustness.repeatable"].startswith("no")
    assert "robustness.changed-answer" not in {one.rule for one in robustness.findings}
