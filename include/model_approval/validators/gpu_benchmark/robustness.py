"""Whether the running server survives what clients send.

Each hostile request must be answered by an error, and a valid one must bring the same result afterwards. A server that
ends, hangs or answers otherwise is a finding of high severity; one that merely answers unwisely is a smaller one. No
verdict depends on how fast the machine is, but for one generous deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Finding, Severity
from model_approval.validators.gpu_benchmark.endpoint import Answer, Endpoint, ServerGoneError
from model_approval.validators.gpu_benchmark.hostile_requests import Hostile, hostile_requests
from model_approval.validators.gpu_benchmark.open_inference import Arrays

_DEADLINE_S = 5.0
"""Longest wait for the answer to a hostile request, unless the model itself takes more."""
_WAIT_S = 0.3
"""How long a request that announces more than it sends is left standing."""
_BUDGET_S = 0.5
"""Time that valid requests may take in all: of a slow model, fewer are asked."""
_LOOK_S = 0.02
_ADVICE = "look for the reason in the server's log; a client could do the same in production"


@dataclass(frozen=True)
class Robustness:
    """What the checks brought."""

    findings: tuple[Finding, ...]
    environment: dict[str, str] = field(default_factory=dict)


def check_robustness(
    endpoint: Endpoint, inputs: Arrays, *, is_alive: Callable[[], bool], deadline_s: float = _DEADLINE_S
) -> Robustness:
    """Send everything hostile, then leave connections standing, break them off and come in a burst.

    Args:
        endpoint: The server; a connection of its own is made for each request.
        inputs: A request that the model answers.
        is_alive: Whether the server's process runs; always true where it cannot be seen.
        deadline_s: When an answer counts as never coming.

    Raises:
        EvidenceError: The server does not even answer the valid request before anything was done to it.
    """
    with closing(endpoint.another()) as connection:
        checker = _Checker(connection, inputs, is_alive, deadline_s)
        requests = hostile_requests(endpoint, inputs)
        for start in range(0, len(requests), checker.group):
            if not checker.survives(requests[start : start + checker.group]):
                break
        else:
            checker.disturb()
    told = {
        "robustness": f"{checker.sent} hostile requests, {checker.refused} answered by an error",
        "robustness.repeatable": "yes" if checker.repeatable else "no: the same request brings different results",
    }
    return Robustness(tuple(checker.findings), told)


class _Checker:
    def __init__(self, endpoint: Endpoint, inputs: Arrays, is_alive: Callable[[], bool], deadline_s: float) -> None:
        self._endpoint, self._is_alive = endpoint, is_alive
        self._valid = endpoint.prepare(inputs).data
        self.findings: list[Finding] = []
        self.sent = self.refused = 0
        begin = time.perf_counter()
        first, self._expected = self._ask(), self._ask()
        took_s = (time.perf_counter() - begin) / 2
        self.repeatable = same_answer(first, self._expected)
        self._endpoint.timeout_s = max(deadline_s, 20 * took_s)
        self.group = max(1, round(60 * took_s / _BUDGET_S))
        self.burst = max(4, min(32, int(_BUDGET_S / max(took_s, 1e-6))))

    def survives(self, group: Sequence[Hostile]) -> bool:
        """Send some requests, then a valid one; false when the server is no longer fit to go on with."""
        for request in group:
            self.sent += 1
            self._send(request)
        names, what = "+".join(one.name for one in group), "; ".join(one.what for one in group)
        return self._still_answers(names, what)

    def disturb(self) -> None:
        """Clients that stall, leave, or come all at once."""
        trials: tuple[tuple[str, str, Callable[[], None]], ...] = (
            ("slow-body", "half a body, and nothing more for a while", self._stall),
            ("disconnect", "requests broken off in the middle and before their answer", self._leave),
            ("burst", f"{self.burst} requests at once", self._burst),
        )
        for name, what, trial in trials:
            try:
                trial()
            except EvidenceError as err:
                self._add("no-answer", Severity.HIGH, name, f"{what} brought: {err.message}")
            if not self._still_answers(name, what):
                return

    def _send(self, request: Hostile) -> None:
        connection = self._endpoint.another()
        connection.timeout_s = _WAIT_S if request.may_wait else self._endpoint.timeout_s
        with closing(connection):
            try:
                self._judge(request, connection.exchange(request.data))
            except ServerGoneError as err:
                late = isinstance(err.__cause__, TimeoutError | BlockingIOError)
                if late and request.may_wait:
                    message = f"the server waits for {request.what} instead of refusing it"
                    self._add("oversized-body", Severity.LOW, request.name, message)
                elif late:
                    message = f"no answer within {connection.timeout_s:g} s to {request.what}"
                    self._add("hang", Severity.HIGH, request.name, message)
                elif request.may_close:
                    self.refused += 1
                else:
                    message = f"the connection was closed without an answer to {request.what}"
                    self._add("no-answer", Severity.MEDIUM, request.name, message)
            except EvidenceError as err:
                self._add("bad-answer", Severity.MEDIUM, request.name, f"to {request.what}: {err.message}")

    def _judge(self, request: Hostile, answer: Answer) -> None:
        if 400 <= answer.status < 500:
            self.refused += 1
        elif answer.status >= 500:
            self.refused += 1
            message = f"answered {answer.status}, as for a fault of the server's own, to {request.what}"
            self._add("server-error", Severity.LOW, request.name, message)
        elif request.may_pass:
            self._add("not-finite", Severity.LOW, request.name, f"{request.what} is answered with a result")
        else:
            message = f"answered {answer.status} as if nothing were wrong to {request.what}"
            self._add("accepted", Severity.MEDIUM, request.name, message)

    def _still_answers(self, name: str, what: str) -> bool:
        try:
            answer = self._ask()
        except EvidenceError as err:
            gone = has_ended(self._is_alive)
            how = "the server's process ended" if gone else f"a valid request is no longer answered ({err.message})"
            self._add("crash" if gone else "hang", Severity.HIGH, name, f"{how}, after it was sent {what}")
            return False
        if self.repeatable and not same_answer(answer, self._expected):
            message = f"the same valid request brings another result, after the server was sent {what}"
            self._add("changed-answer", Severity.HIGH, name, message)
        return True

    def _ask(self) -> Answer:
        answer = self._endpoint.exchange(self._valid)
        if answer.status != 200:
            raise EvidenceError(f"{self._endpoint.who}: answered {answer.status}: {answer.error()}")
        return answer

    def _stall(self) -> None:
        """Others must be served while one connection stands still."""
        with closing(self._endpoint.another()) as slow:
            slow.send(self._valid[: -max(1, len(self._valid) // 4)])
            for _ in range(3):
                self._ask()

    def _leave(self) -> None:
        for length in (len(self._valid) // 2, len(self._valid) - 1, len(self._valid)):
            with closing(self._endpoint.another()) as leaving:
                leaving.send(self._valid[:length])

    def _burst(self) -> None:
        connections = [self._endpoint.another() for _ in range(self.burst)]
        try:
            for connection in connections:
                connection.send(self._valid)
            for connection in connections:
                answer = connection.receive()
                if answer.status not in (200, 429, 503):
                    raise EvidenceError(f"{self._endpoint.who}: answered {answer.status}: {answer.error()}")
        finally:
            for connection in connections:
                connection.close()

    def _add(self, rule: str, severity: Severity, subject: str, message: str) -> None:
        self.findings.append(
            Finding(
                rule=f"robustness.{rule}", severity=severity, subject=subject[:300], message=message[:4000],
                advice=_ADVICE if severity.rank >= Severity.MEDIUM.rank else "",
            )
        )  # fmt: skip


def has_ended(is_alive: Callable[[], bool], patience_s: float = 1.0) -> bool:
    """Whether the process has ended, or does so in a moment: its connections break before its parent is told."""
    deadline = time.monotonic() + patience_s
    while is_alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def same_answer(one: Answer, other: Answer) -> bool:
    """Whether two answers say the same: floats to within what a GPU's order of summation may change."""
    import numpy as np

    if one.body == other.body:
        return True
    first, second = one.outputs(), other.outputs()
    if first.keys() != second.keys():
        return False
    for name, array in first.items():
        against = second[name]
        if array.shape != against.shape or array.dtype != against.dtype:
            return False
        if array.dtype.kind == "f":
            if not np.allclose(array, against, rtol=1e-3, atol=1e-5, equal_nan=True):
                return False
        elif not np.array_equal(array, against):
            return False
    return True
