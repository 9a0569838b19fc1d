"""Airflow's public HTTP API and our plugin's, as a person's browser uses them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx

from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.layout import HOST

REVIEW_PREFIX = "/model-review/api"
"""Where the review plugin answers JSON."""
Json = Any
"""Whatever a server answered; each reader checks what it takes."""
T = TypeVar("T")

_REPEATABLE = ("GET", "PATCH")
_PAUSES_S = (0.5, 2.0, 8.0)
_HEALTH_NAMES = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


class AirflowHealth:
    """Whether Airflow's parts live, as the API server tells it."""

    def __init__(self, port: int) -> None:
        self._url = f"http://{HOST}:{port}/api/v2/monitor/health"

    def check(self, part: str) -> Callable[[], bool]:
        """A question to ask until it is true; a heartbeat from before now does not count."""
        since = datetime.now(UTC)
        return lambda: self._lives(part, since)

    def _lives(self, part: str, since: datetime) -> bool:
        try:
            answer = httpx.get(self._url, timeout=5.0, trust_env=False)
            report = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return False
        if part == "api-server":
            return bool(report)
        name = _HEALTH_NAMES[part]
        entry = report.get(name, {})
        beat = entry.get(f"latest_{name}_heartbeat")
        return entry.get("status") == "healthy" and beat is not None and datetime.fromisoformat(beat) >= since


class AirflowUser:
    """One person, signed in."""

    def __init__(self, port: int, name: str, password: str) -> None:
        self.name = name
        self._client = httpx.Client(base_url=f"http://{HOST}:{port}", timeout=30.0, trust_env=False)
        answer = self._send("POST", "/auth/token", {"username": name, "password": password})
        if answer.status_code != 201:
            raise OutsideSystemError("Airflow", f"sign-in of {name} was refused: {_words(answer)}", retryable=False)
        self._client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        # The plugin takes changes only with this header: a form on another site cannot send it.
        self._client.headers["X-Requested-With"] = "model-review"

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def call(self, method: str, path: str, body: object = None) -> Json:
        """The JSON answer of a call that must succeed; what may be repeated is, while the server has trouble.

        Raises:
            OutsideSystemError: It did not; holds status and the server's own words.
        """
        answer = self._send(method, path, body)
        for pause_s in _PAUSES_S if method in _REPEATABLE else ():
            if answer.status_code < 500:
                break
            time.sleep(pause_s)
            answer = self._send(method, path, body)
        if answer.is_error:
            raise OutsideSystemError(
                "Airflow", f"{method} {path}: {answer.status_code} {_words(answer)}", retryable=False
            )
        return answer.json() if answer.content else None

    def attempt(self, method: str, path: str, body: object = None) -> tuple[int, str]:
        """Status and words of a call that may be refused."""
        answer = self._send(method, path, body)
        return answer.status_code, _words(answer)

    def review(self, method: str, path: str, body: object = None) -> Json:
        """Call the review plugin; see `call`."""
        return self.call(method, f"{REVIEW_PREFIX}{path}", body)

    def _send(self, method: str, path: str, body: object) -> httpx.Response:
        try:
            return self._client.request(method, path, json=body)
        except httpx.HTTPError as err:
            raise OutsideSystemError("Airflow", f"{method} {path}: {err!r}") from err


def wait_until(question: Callable[[], T | None], *, what: str, deadline_s: float, every_s: float = 0.5) -> T:
    """Ask until the answer is neither None nor false.

    Raises:
        OutsideSystemError: Time is up; `what` names what was waited for.
    """
    deadline = time.monotonic() + deadline_s
    while not (answer := question()):
        if time.monotonic() > deadline:
            raise OutsideSystemError("stack", f"waited {deadline_s:.0f} s in vain for {what}")
        time.sleep(every_s)
    return answer


def _words(answer: httpx.Response) -> str:
    try:
        body = answer.json()
    except ValueError:
        return answer.text[:500]
    if not isinstance(body, dict):
        return str(body)[:500]
    return str(next((body[key] for key in ("detail", "message", "error") if key in body), body))[:500]
