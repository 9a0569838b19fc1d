"""Follows promotions over the review page's API and says when one changes."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from pathlib import Path

from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.airflow_api import AirflowUser, Json
from model_approval.embedded.steps import Progress

_EVERY_S = 0.5


class Watcher:
    """Sees what a viewer sees.

    Attributes:
        seconds: Model -> state -> time since the watcher began at which the state was first seen.
    """

    def __init__(self, viewer: AirflowUser, progress: Progress, *, meanwhile: Callable[[], object]) -> None:
        self._viewer = viewer
        self._progress = progress
        self._meanwhile = meanwhile
        self._requests: dict[str, Json] = {}
        self._began = time.monotonic()
        self.seconds: dict[str, dict[str, float]] = {}

    def look(self) -> None:
        """One look; a line for each promotion that changed."""
        for request in self._viewer.review("GET", "/requests")["requests"]:
            model, state = request["model"], request["state"]
            before = self._requests.get(model)
            if before is not None and before["created_at"] > request["created_at"]:
                continue  # an earlier attempt for the same model
            self._requests[model] = request
            if before is None or before["state"] != state:
                self.seconds.setdefault(model, {}).setdefault(state, time.monotonic() - self._began)
                self._progress.say(f"{model}: {state}{_because(request)}")
        self._meanwhile()

    def wait(self, model: str, states: Collection[str], *, deadline_s: float, logs: Path) -> Json:
        """Look until a model's promotion is in one of the states, or ended otherwise; its summary.

        Raises:
            OutsideSystemError: Time is up; says where it stands.
        """
        deadline = time.monotonic() + deadline_s
        while True:
            trouble = self._try_look()
            found = self._requests.get(model)
            if found is not None and (found["state"] in states or found["state"] in ENDED):
                return found
            if time.monotonic() > deadline:
                stands = trouble or (f"it is {found['state']}" if found else "no request was made of its tag")
                raise OutsideSystemError(
                    "stack",
                    f"{model}: not {' or '.join(sorted(states))} in {deadline_s:.0f} s; {stands}",
                    hint=f"errors of tasks are in {logs / 'airflow-scheduler.log'}",
                )
            time.sleep(_EVERY_S)

    def _try_look(self) -> str:
        """Look; what went wrong in words. An API server that is being started again is no reason to give up."""
        try:
            self.look()
        except OutsideSystemError as err:
            self._meanwhile()
            return err.message
        return ""

    def took(self, model: str, since: str, until: str) -> float | None:
        """Seconds between the first sights of two states."""
        seen = self.seconds.get(model, {})
        return seen[until] - seen[since] if since in seen and until in seen else None


ENDED = frozenset(
    {"refused", "rejected", "remediation_requested", "expired", "withdrawn", "deployed", "deployment_failed"}
)
"""States that no further waiting changes, as far as one demonstration goes."""


def _because(request: Json) -> str:
    reason = " ".join(request["state_reason"].split())
    return f" ({reason[:160]}{'…' if len(reason) > 160 else ''})" if reason else ""
