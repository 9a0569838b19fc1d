"""Step 5, deploy: only a verified, signed approval of exactly these bytes makes anything serve.

No task state is trusted: anyone who may edit a DAG run can mark the review task successful. So the signature, the
quorum inside it, the evidence objects and the bytes are all checked again here, immediately before the effect.
"""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from pydantic import JsonValue

from model_approval.domain.audit import Action, Actor
from model_approval.domain.deployment import DeploymentSpec, ServingConfig, deployment_name
from model_approval.domain.errors import IntegrityError, ModelApprovalError, OutsideSystemError, RequestRefusedError
from model_approval.domain.manifest import require_same_bytes
from model_approval.domain.promotion import Candidate, Promotion, PromotionState
from model_approval.domain.review import Decision
from model_approval.policy.decide import decision_problems
from model_approval.policy.schema import FrozenPolicy
from model_approval.ports import Deployer, Services
from model_approval.stages.audit import require_deployable, told_by_log
from model_approval.stages.evidence import verify_evidence
from model_approval.stages.pinned import read_pinned
from model_approval.stages.probe import probe
from model_approval.stages.progress import Step, load, move, publish, write
from model_approval.stages.signing import decision_digest, signed_decision

_ACTOR = Actor.service("deployment")


def deploy(services: Services, *, request_id: str) -> Promotion:
    """Verify everything once more, deploy, prove that it serves as promised, and crown it in the registry.

    Returns:
        The promotion: `deployed`, or `deployment_failed` with the reason after the champion is back.

    Raises:
        RequestRefusedError: The promotion is not approved, whatever the task before this one says.
        OutsideSystemError: A system cannot be reached; run the step again, it resumes.
    """
    promotion, frozen = load(services, request_id)
    if promotion.state is PromotionState.DEPLOYED:
        _require_valid(services, promotion, frozen, _decision(services, promotion), serves_again=True)
        return _crown(services, promotion)
    if promotion.state not in (PromotionState.APPROVED, PromotionState.DEPLOYING):
        raise RequestRefusedError(
            f"{request_id} is {promotion.state}, not approved: nothing is deployed",
            hint="only a decision on the review page approves; marking a task successful in Airflow does not",
        )
    deployer = services.deployer_for(frozen.target)
    try:
        decision = _decision(services, promotion)
        if promotion.state is PromotionState.APPROVED and services.clock() >= decision.valid_until:
            return _expire(services, promotion, decision)
        _require_valid(services, promotion, frozen, decision)
        spec = deployment_spec(services, promotion, frozen, decision)
        promotion = _deploying(services, promotion)
        deployer.apply(spec)
        deployment = deployer.wait_ready(spec)
        findings = probe(services, deployer, spec, frozen)
    except OutsideSystemError:
        raise
    except ModelApprovalError as err:
        return _fail(services, promotion, deployer, err)
    promotion = _deployed(services, promotion, {"endpoint": deployment.endpoint, "probe": findings})
    return _crown(services, promotion)


def deployment_spec(
    services: Services, promotion: Promotion, frozen: FrozenPolicy, decision: Decision
) -> DeploymentSpec:
    """What the target must serve.

    Raises:
        IntegrityError: The bytes in the artifact store are not the approved ones; names each file.
    """
    candidate = _candidate(promotion)
    found = services.artifacts.manifest(candidate.artifact_uri)
    require_same_bytes(candidate.manifest, found, where=f"{promotion.request.model} {promotion.request.version}")
    path = frozen.policy.deployment.serving
    serving = read_pinned(services, candidate.artifact_uri, candidate.manifest, path, limit_bytes=100_000)
    request = promotion.request
    envelope = services.reviews.decision(promotion.id)
    if envelope is None:
        raise IntegrityError(f"{promotion.id} has no signed decision")
    return DeploymentSpec(
        name=deployment_name(request.model, request.environment),
        model=request.model,
        version=request.version,
        environment=request.environment,
        request_id=promotion.id,
        artifact_digest=decision.artifact_digest,
        artifact_uri=candidate.artifact_uri,
        manifest=candidate.manifest,
        policy_digest=request.policy_digest,
        decision_digest=decision_digest(envelope),
        serving=ServingConfig.model_validate(yaml.safe_load(serving) or {}),
        readiness_timeout_s=frozen.policy.deployment.readiness_timeout_s,
    )


def roll_back(services: Services, *, request_id: str, subject: str, reason: str, revoke: bool = False) -> Promotion:
    """Take a deployed version out of service and put the one before back; `revoke` withdraws its approval too.

    Raises:
        RequestRefusedError: It is not deployed (or, to revoke, not approved either), or there is no reason.
    """
    promotion, frozen = load(services, request_id)
    to = PromotionState.REVOKED if revoke else PromotionState.ROLLED_BACK
    if promotion.state is to:
        return promotion
    if len(reason.strip()) < 3:
        raise RequestRefusedError(f"to take {request_id} out of service, give a reason")
    serving = promotion.state is PromotionState.DEPLOYED
    if not serving and not (revoke and promotion.state is PromotionState.APPROVED):
        raise RequestRefusedError(f"{request_id} is {promotion.state}; there is nothing to take out of service")
    step = Step(Action.DEPLOYMENT_ROLLED_BACK, Actor.person(subject), reason, details={"revoked": revoke})
    if serving:
        write(services, promotion, step, key=f"{to}:{promotion.record_version + 1}", state=to)
        _swap(services, promotion, frozen)
    promotion = move(services, promotion, to, step)
    publish(services, promotion)
    return promotion


def _decision(services: Services, promotion: Promotion) -> Decision:
    decision = signed_decision(services, request_id=promotion.id)
    if decision is None:
        raise IntegrityError(f"{promotion.id} is marked {promotion.state} but has no signed decision")
    return decision


def _require_valid(
    services: Services,
    promotion: Promotion,
    frozen: FrozenPolicy,
    decision: Decision,
    *,
    serves_again: bool = False,
) -> None:
    """Hold decision, row and log against each other; what served before may do so after its approval's time."""
    when = decision.decided_at if serves_again else services.clock()
    problems = list(decision_problems(frozen, promotion, decision, now=when))
    if verify_evidence(services, promotion, frozen) != decision.evidence_digest:
        problems.append("the evidence in the store is not what the decision was made on")
    told = told_by_log(services.audit, services.verifier, promotion.id)
    require_deployable(told, promotion, services.reviews.evidence(promotion.id), serves_again=serves_again)
    if problems:
        raise IntegrityError(f"the signed decision does not allow this deployment: {'; '.join(problems)}")


def _expire(services: Services, promotion: Promotion, decision: Decision) -> Promotion:
    reason = f"the approval was valid until {decision.valid_until:%Y-%m-%d %H:%M} UTC and was not used by then"
    promotion = move(services, promotion, PromotionState.EXPIRED, Step(Action.APPROVAL_EXPIRED, _ACTOR, reason))
    publish(services, promotion)
    return promotion


def _deploying(services: Services, promotion: Promotion) -> Promotion:
    if promotion.state is PromotionState.DEPLOYING:
        return promotion
    return move(services, promotion, PromotionState.DEPLOYING, Step(Action.DEPLOYMENT_STARTED, _ACTOR))


def _fail(services: Services, promotion: Promotion, deployer: Deployer, err: ModelApprovalError) -> Promotion:
    """End a deployment that must not or cannot be; what served before serves again, if anything was touched."""
    touched = promotion.state is PromotionState.DEPLOYING
    promotion = _deploying(services, promotion)
    reason = f"{err}; {_restore(services, promotion, deployer)}" if touched else str(err)
    step = Step(Action.DEPLOYMENT_FAILED, _ACTOR, reason[:4000])
    promotion = move(services, promotion, PromotionState.DEPLOYMENT_FAILED, step)
    publish(services, promotion)
    return promotion


def _restore(services: Services, promotion: Promotion, deployer: Deployer) -> str:
    """Put the version that served before back, or take the failed one away; says in words what was done."""
    others = services.reviews.deployed(promotion.request.model, promotion.request.environment)
    before = next((other for other in others if other.id != promotion.id), None)
    step = Step(Action.DEPLOYMENT_ROLLED_BACK, _ACTOR, f"back to {before.id if before else 'nothing'}")
    write(services, promotion, step, key=f"restore:{promotion.record_version}")
    return _serve(services, promotion, before, deployer)


def _serve(services: Services, promotion: Promotion, before: Promotion | None, deployer: Deployer) -> str:
    """Make `before` serve in place of `promotion`, verified like any deployment; without it, nothing serves."""
    why = "there was no version before"
    if before is not None:
        try:
            frozen = services.reviews.policy(before.request.policy_digest)
            decision = _decision(services, before)
            _require_valid(services, before, frozen, decision, serves_again=True)
            spec = deployment_spec(services, before, frozen, decision)
            deployer.apply(spec)
            deployer.wait_ready(spec)
        except OutsideSystemError:
            raise
        except ModelApprovalError as err:  # bytes gone or changed, no signature, not ready: a no of its own each
            why = f"{before.request.model} {before.request.version} cannot come back: {err}"
        else:
            return f"{before.request.model} {before.request.version} serves again"
    deployer.remove(deployment_name(promotion.request.model, promotion.request.environment))
    return f"{why}, so nothing serves now"


def _deployed(services: Services, promotion: Promotion, details: Mapping[str, JsonValue]) -> Promotion:
    step = Step(Action.DEPLOYMENT_VERIFIED, _ACTOR, "serves as promised", details=details)
    return move(services, promotion, PromotionState.DEPLOYED, step)


def _supersede_others(services: Services, promotion: Promotion) -> None:
    for other in services.reviews.deployed(promotion.request.model, promotion.request.environment):
        if other.id != promotion.id and other.state_since <= promotion.state_since:
            move(
                services,
                other,
                PromotionState.SUPERSEDED,
                Step(Action.PROMOTION_SUPERSEDED, _ACTOR, f"by {promotion.id}"),
            )
    # Again at each try: the registry may have been away when the record was written.
    before = _predecessor(services, promotion)
    if before is not None:
        publish(services, before)


def _crown(services: Services, promotion: Promotion) -> Promotion:
    """The registry comes last: a registry that cannot be reached leaves a true record and a step to repeat."""
    _supersede_others(services, promotion)
    request = promotion.request
    step = Step(Action.REGISTRY_UPDATED, _ACTOR, f"alias champion-{request.environment} -> {request.version}")
    write(services, promotion, step, key=f"crown:{request.version}")
    description = f"Approved and deployed to {request.environment} by promotion {promotion.id}."
    services.registries[request.registry].crown(
        request.model, request.version, request.environment, description=description
    )
    publish(services, promotion)
    return promotion


def _predecessor(services: Services, promotion: Promotion) -> Promotion | None:
    """The promotion that this one superseded: the last of its model and environment that was.

    When an interrupted roll-back is run again, it is `deployed` already.
    """
    request = promotion.request
    states = (PromotionState.DEPLOYED, PromotionState.SUPERSEDED)
    found = services.reviews.find(states, model=request.model, environment=request.environment)
    others = [other for other in found if other.id != promotion.id]
    return max(others, key=lambda other: (other.state is PromotionState.DEPLOYED, other.state_since), default=None)


def _swap(services: Services, promotion: Promotion, frozen: FrozenPolicy) -> None:
    """Serve the predecessor and tell the registry and its record so."""
    request, registry = promotion.request, services.registries[promotion.request.registry]
    before, deployer = _predecessor(services, promotion), services.deployer_for(frozen.target)
    words = _serve(services, promotion, before, deployer)
    if before is None or deployer.current(deployment_name(request.model, request.environment)) is None:
        registry.uncrown(request.model, request.environment)
        return
    registry.crown(request.model, before.request.version, request.environment, description=words)
    if before.state is PromotionState.SUPERSEDED:
        step = Step(Action.DEPLOYMENT_VERIFIED, _ACTOR, words)
        before = move(services, before, PromotionState.DEPLOYED, step)
    publish(services, before)


def _candidate(promotion: Promotion) -> Candidate:
    if promotion.candidate is None:
        raise IntegrityError(f"{promotion.id} has no pinned artifact")
    return promotion.candidate
