"""Does the live endpoint keep its promises? Readiness is the deployer's; answers and headers are checked here."""

from __future__ import annotations

import json

from model_approval.domain.deployment import DeploymentSpec
from model_approval.domain.errors import DeploymentError
from model_approval.policy.schema import FrozenPolicy
from model_approval.ports import Deployer, HttpReply, Services
from model_approval.stages.pinned import read_pinned

PREDICT = "/v1/predict"


def probe(services: Services, deployer: Deployer, spec: DeploymentSpec, frozen: FrozenPolicy) -> str:
    """Send one smoke inference and hold the answer against the serving configuration and the policy.

    Returns:
        What was seen, in words.

    Raises:
        DeploymentError: Wrong answer, a missing or different security header, or no authentication where promised.
    """
    path, limit = frozen.policy.deployment.smoke_input, spec.serving.max_body_bytes
    smoke = read_pinned(services, spec.artifact_uri, spec.manifest, path, limit_bytes=limit)
    reply = deployer.call(spec.name, PREDICT, body=smoke)
    _require_outputs(reply)
    _require_headers(reply, spec, frozen)
    if spec.serving.authentication == "bearer":
        refused = deployer.call(spec.name, PREDICT, body=smoke, authenticated=False)
        if refused.status != 401:
            raise DeploymentError(f"the endpoint answered {refused.status} to a request without a token, expected 401")
        _require_headers(refused, spec, frozen)
    return f"smoke inference answered with {len(reply.body)} bytes; {len(spec.serving.headers)} headers as promised"


def _require_outputs(reply: HttpReply) -> None:
    if reply.status != 200:
        raise DeploymentError(f"the smoke inference was answered {reply.status}: {reply.body[:300]!r}")
    try:
        answer = json.loads(reply.body)
    except ValueError as err:
        raise DeploymentError("the smoke inference was not answered in JSON") from err
    if not isinstance(answer, dict) or not answer.get("outputs"):
        raise DeploymentError("the smoke inference was answered without outputs")


def _require_headers(reply: HttpReply, spec: DeploymentSpec, frozen: FrozenPolicy) -> None:
    demanded = frozen.policy.intake.security_headers.http_headers
    promised: dict[str, str | None] = {**demanded, **spec.serving.headers}
    for name, value in promised.items():
        found = reply.headers.get(name.lower())
        if found is None:
            raise DeploymentError(f"the live endpoint does not send the promised header {name}")
        if value is not None and found != value:
            raise DeploymentError(f"the live endpoint sends {name}: {found!r}, promised is {value!r}")
