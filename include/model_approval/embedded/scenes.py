"""The scenes of the demonstration. Each acts over the API that people use and notes in the report what it saw."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from model_approval.domain.deployment import deployment_name
from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.airflow_api import REVIEW_PREFIX, Json, wait_until
from model_approval.embedded.report import Report
from model_approval.embedded.sample_models import SampleModel, swapped_bytes
from model_approval.embedded.seed import RegistrySeed
from model_approval.embedded.stack import Stack
from model_approval.embedded.watch import Watcher
from model_approval.ports import Services

VALIDATED_S = 600.0
"""When to give up on intake and checks. Four at once take 100 s on two cores of one's own, several times that on shared
ones; somebody who waits wants the table rather than an early end."""
DECIDED_S = 300.0
"""The same for what follows the last vote: wake-up, deployment, smoke inference, record. As a rule 5 to 20 s."""
_ENVIRONMENT = "production"


@dataclass
class Scenes:
    """What the scenes share."""

    stack: Stack
    services: Services
    registry: RegistrySeed
    watcher: Watcher
    models: Mapping[str, SampleModel]
    versions: Mapping[str, str]
    """Kind of sample -> its version in the registry."""
    report: Report = field(default_factory=Report)

    def good(self) -> None:
        """Refused to the person who asked, approved by two others, deployed, and answering."""
        name = self.models["good"].name
        request = self._wait("good", "in_review", "blocked", deadline_s=VALIDATED_S)
        if request["state"] != "in_review":
            self._note("a good model reaches its reviewers", request, "in_review")
            return
        status, words = self._vote("rita", request["id"], "approve", "It is mine and it is fine")
        self.report.add("rita approves what she asked for", expected="refused (403)", found=_refusal(status), why=words)
        for person in ("ana", "bo"):
            self._must_vote(person, request["id"], "approve", "Figures and documents are in order")
        ended = self._wait("good", "deployed", deadline_s=DECIDED_S)
        took = self.watcher.took(name, "in_review", ended["state"])
        why = ended["state_reason"] or "approved by ana and bo"
        self._note("a good model, approved by two", ended, "deployed", why=why, seconds=took)
        if ended["state"] == "deployed":
            self._ask_the_model()
            self._look_at_the_registry()

    def bad(self, kind: str, claim: str, *, rule: str) -> None:
        """Stopped by one rule, whatever anybody says: its policy lets nobody waive it, so nobody is asked.

        Args:
            kind: Of the sample.
            claim: What it is, for the table.
            rule: Id of the rule that must stop it, so that it is not stopped for another reason.
        """
        ended = self._wait(kind, "rejected", deadline_s=VALIDATED_S)
        detail = self.stack.user("vera").review("GET", f"/requests/{ended['id']}")
        failed = {entry["rule"]: entry["reason"] for entry in detail["outcomes"] if entry["verdict"] == "failed"}
        found = ended["state"] if rule in failed else f"{ended['state']}, by {', '.join(failed) or 'no rule'}"
        why = f"{rule}: {failed[rule]}" if rule in failed else ended["state_reason"]
        took = self.watcher.took(self.models[kind].name, "requested", ended["state"])
        self.report.add(claim, expected="rejected", found=found, why=why, seconds=took)

    def swapped(self) -> None:
        """Approved, then its bytes are changed, then the deployment looks at them again.

        The deployment follows a decision within two seconds. To have the bytes changed surely after the approval and
        before the deployment, the path is paused in Airflow, as an operator could: votes are taken, no task starts.
        """
        sample = self.models["swapped"]
        request = self._wait("swapped", "in_review", "blocked", deadline_s=VALIDATED_S)
        if request["state"] != "in_review":
            self._note("a model that is changed later reaches its reviewers", request, "in_review")
            return
        dag = f"/api/v2/dags/{self._dag_id(request)}"
        operator = self.stack.user("olga")
        operator.call("PATCH", dag, {"is_paused": True})
        try:
            for person in ("ana", "bo"):
                self._must_vote(person, request["id"], "approve", "Refit as announced; figures as before")
            approved = self._wait("swapped", "approved", deadline_s=DECIDED_S)
            uri = self.registry.artifact_uri(sample.name, self.versions["swapped"])
            self.registry.write(uri, "model.onnx", swapped_bytes(sample))
            self.stack.progress.say(f"{sample.name}: approved; now one bit of model.onnx is changed in the store")
        finally:
            operator.call("PATCH", dag, {"is_paused": False})
        if approved["state"] != "approved":
            self._note("a model that is changed later is approved", approved, "approved")
            return
        began = time.monotonic()
        ended = self._wait("swapped", "deployed", deadline_s=DECIDED_S)
        claim = "bytes changed after the approval"
        self._note(claim, ended, "deployment_failed", seconds=time.monotonic() - began)

    def _ask_the_model(self) -> None:
        """A real inference over HTTP, with an input of the evaluation sample."""
        sample = self.models["good"]
        promotion = self.services.reviews.of_version("mlflow", sample.name, self.versions["good"], _ENVIRONMENT)[-1]
        target = self.services.reviews.policy(promotion.request.policy_digest).target
        began = time.monotonic()
        reply = self.services.deployer_for(target).call(
            deployment_name(sample.name, _ENVIRONMENT), "/v1/predict", body=sample.files["smoke_input.json"]
        )
        words = reply.body.decode(errors="replace")
        found = "answered" if reply.status == 200 and "outputs" in words else f"{reply.status}"
        took = time.monotonic() - began
        self.report.add("a real inference request", expected="answered", found=found, why=words, seconds=took)

    def _look_at_the_registry(self) -> None:
        sample, version = self.models["good"], self.versions["good"]
        wanted = f"deployed, champion {version}"

        def told() -> str:
            champion = self.registry.alias(sample.name, f"champion-{_ENVIRONMENT}")
            return f"{self.registry.tags(sample.name, version).get('promotion', 'none')}, champion {champion}"

        # The registry is told last, a moment after the promotion counts as deployed.
        with suppress(OutsideSystemError):
            wait_until(lambda: told() == wanted, what="the registry", deadline_s=60.0)
        found = told()
        why = f"tags and alias of {sample.name} {version} in MLflow"
        self.report.add("what the registry says", expected=wanted, found=found, why=why)

    def _wait(self, kind: str, *states: str, deadline_s: float) -> Json:
        return self.watcher.wait(self.models[kind].name, states, deadline_s=deadline_s, logs=self.stack.layout.logs)

    def _note(
        self, claim: str, request: Json, expected: str, *, why: str | None = None, seconds: float | None = None
    ) -> None:
        reason = why if why is not None else request["state_reason"]
        self.report.add(claim, expected=expected, found=request["state"], why=reason, seconds=seconds)

    def _vote(self, person: str, request_id: str, choice: str, reason: str) -> tuple[int, str]:
        """One vote on exactly what the page shows; status and words."""
        user = self.stack.user(person)
        seen = user.review("GET", f"/requests/{request_id}")["seen"]
        body = {"choice": choice, "reason": reason, "seen": seen}
        return user.attempt("POST", f"{REVIEW_PREFIX}/requests/{request_id}/votes", body)

    def _must_vote(self, person: str, request_id: str, choice: str, reason: str) -> None:
        status, words = self._vote(person, request_id, choice, reason)
        if status >= 400:
            message = f"the vote of {person} on {request_id} was refused: {status} {words}"
            raise OutsideSystemError("review page", message, retryable=False)
        self.stack.progress.say(f"{person}: {choice} {request_id}")

    def _dag_id(self, request: Json) -> str:
        promotion = self.services.reviews.get(request["id"])
        return self.services.reviews.policy(promotion.request.policy_digest).policy.dag_id


def _refusal(status: int) -> str:
    return f"refused ({status})" if status >= 400 else f"taken ({status})"
