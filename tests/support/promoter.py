"""Drives promotions through a running stack as people and their tools do: registry, review API, Airflow API."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import yaml

from model_approval.domain.attestation import Envelope, entry_from
from model_approval.domain.audit import Action
from model_approval.embedded.airflow_api import Json, wait_until
from model_approval.embedded.sample_models import SampleModel, sample_models
from model_approval.embedded.seed import RegistrySeed
from model_approval.embedded.stack import Stack
from model_approval.ports import Services
from model_approval.wiring import make_services

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 240.0


def quick_config(folder: Path) -> Path:
    """The shipped configuration, with short measuring and a second path whose reviews expire after seconds."""
    config = folder / "config"
    for name in ("policies", "committees", "targets"):
        shutil.copytree(ROOT / "include" / name, config / name)
    path = config / "policies" / "fraud-scoring.yaml"
    policy = yaml.safe_load(path.read_text())
    for check in policy["checks"]:
        if check["validator"] == "gpu_benchmark":
            check["parameters"] = {"duration_s": 1.0, "warm_up_s": 1.0}
            # These tests are about states; a busy machine must not turn one into another.
            check["rules"] = [{**rule, "limit": _loose(rule["limit"])} for rule in check["rules"]]
    path.write_text(yaml.safe_dump(policy))
    brief = {**policy, "name": "brief-review", "match": {**policy["match"], "models": ["brief-*"]}}
    brief["review"] = {**policy["review"], "response_timeout_h": 0.004, "expedited_timeout_h": 0.004}
    (config / "policies" / "brief-review.yaml").write_text(yaml.safe_dump(brief))
    return config


def _loose(limit: dict[str, object]) -> dict[str, object]:
    return {**limit, "maximum": 1e6} if "maximum" in limit else {**limit, "minimum": 0.001}


class Promoter:
    """One stack, its registry and its people."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.registry = RegistrySeed(stack.settings)
        self.good = sample_models()["good"]

    def close(self) -> None:
        """Let go of the registry's connections."""
        self.registry.__exit__()

    @property
    def services(self) -> Services:
        """Fresh services over the stack's systems, to look behind the API."""
        return make_services(self.stack.settings)

    def variant(self, name: str, files: dict[str, bytes] | None = None, **payload: object) -> SampleModel:
        """The good sample under another name."""
        return replace(
            self.good, name=name, files={**self.good.files, **(files or {})}, payload={**self.good.payload, **payload}
        )

    def tag(self, model: SampleModel) -> str:
        """Register and request; the new version's number."""
        version = self.registry.register(model)
        self.registry.request(model, version)
        return version

    def request(self, model: str, version: str = "1") -> Json | None:
        """The newest request of a model version as the review page tells it."""
        listed = self.stack.user("vera").review("GET", f"/requests?model={model}")["requests"]
        mine = [entry for entry in listed if entry["version"] == version]
        return mine[0] if mine else None

    def reach(self, model: str, *states: str, version: str = "1") -> Json:
        """Wait until the promotion is in one of the states; other programs that die meanwhile are started again."""

        def there() -> Json | None:
            self.stack.tend()
            found = self.answered(lambda: self.request(model, version))
            return found if found and found["state"] in states else None

        return wait_until(there, what=f"{model} {version} to be {' or '.join(states)}", deadline_s=PATIENCE_S)

    def answered(self, question: Callable[[], Json | None]) -> Json | None:
        """The answer, or None while the API server is being started again."""
        from model_approval.domain.errors import OutsideSystemError

        try:
            return question()
        except OutsideSystemError:
            return None

    def seen(self, person: str, request_id: str) -> Json:
        """The digests on that person's page."""
        return self.stack.user(person).review("GET", f"/requests/{request_id}")["seen"]

    def vote(self, person: str, request_id: str, choice: str = "approve", **more: object) -> Json:
        """One vote over the API."""
        body = {"choice": choice, "reason": "as agreed in the meeting", "seen": self.seen(person, request_id), **more}
        return self.stack.user(person).review("POST", f"/requests/{request_id}/votes", body)

    def approve(self, request_id: str) -> None:
        """Both reviewers approve."""
        self.vote("ana", request_id)
        self.vote("bo", request_id)

    def tag_of(self, model: str, version: str = "1") -> str:
        """What the registry says."""
        return self.registry.tags(model, version)["promotion"]

    def actions(self, request_id: str) -> list[Action]:
        """What the audit log says, in order."""
        return [event.action for event in self.events(request_id)]

    def events(self, request_id: str) -> list[Json]:
        """The audit log's events of one promotion."""
        envelopes = [Envelope.model_validate_json(e.envelope) for e in self.services.audit.entries(request_id)]
        return [entry_from(envelope.payload_bytes).event for envelope in envelopes]

    def run(self, request: Json) -> Json:
        """The DAG run of a promotion."""
        dag_id = f"promote__{request['policy'].replace('-', '_')}"
        return self.stack.user("olga").call("GET", f"/api/v2/dags/{dag_id}/dagRuns/{request['id']}")

    def run_ended(self, request: Json) -> Json:
        """Wait for the run's end."""

        def ended() -> Json | None:
            self.stack.tend()
            run = self.answered(lambda: self.run(request))
            return run if run and run["state"] in ("success", "failed") else None

        return wait_until(ended, what=f"the run of {request['id']} to end", deadline_s=PATIENCE_S)

    def kill(self, program: str) -> None:
        """kill -9, then wait until the supervisor has started it again."""
        before = self.stack.pid_of(program)
        os.kill(before, signal.SIGKILL)

        def again() -> bool:
            self.stack.tend()
            return self.stack.pid_of(program) != before

        wait_until(again, what=f"another {program}", deadline_s=60.0)
