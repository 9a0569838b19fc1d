"""Step 3, validation: start a check, take its evidence home, and hold all evidence against the policy.

A green pod proves nothing: only the evidence object counts, after schema, request, artifact and image were compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from pydantic import JsonValue

from model_approval.domain.audit import Action, Actor
from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError, RequestRefusedError
from model_approval.domain.evidence import StoredEvidence, ValidatorInput, ValidatorJob, evidence_digest
from model_approval.domain.promotion import Candidate, Promotion, PromotionState
from model_approval.policy.evaluate import evaluate_checks
from model_approval.policy.limits import ratio_limits
from model_approval.policy.readiness import readiness
from model_approval.policy.schema import Check, FrozenPolicy
from model_approval.ports import Services
from model_approval.stages.evidence import bring_home
from model_approval.stages.progress import Step, load, move, publish, write
from model_approval.stages.tables import check_tables

_ACTOR = Actor.service("validation")
_UPLOAD_GRACE_S = 3600
"""How long URLs outlive the check's own limit: a pod may wait that long for a GPU node."""


def begin_check(services: Services, *, request_id: str, check: str, run: int, image_digest: str) -> ValidatorJob:
    """Record that a check starts and hand out what its pod may do: read these bytes, write this one object.

    Raises:
        RequestRefusedError: The promotion is past validation; its checks cannot run again.
    """
    promotion, frozen = load(services, request_id)
    candidate, definition = _candidate(promotion), _definition(frozen, check)
    if promotion.state.awaits_people:
        reason = f"{check} runs again (run {run}); the evidence and the votes on it no longer hold"
        step = Step(Action.CHECK_STARTED, _ACTOR, reason, details={"check": check, "run": run, "image": image_digest})
        promotion = move(services, promotion, PromotionState.VALIDATING, step)
    elif promotion.state is not PromotionState.VALIDATING:
        raise RequestRefusedError(
            f"{check} cannot run: promotion {request_id} is {promotion.state}", hint="request the promotion again"
        )
    else:
        step = Step(Action.CHECK_STARTED, _ACTOR, details={"check": check, "run": run, "image": image_digest})
        write(services, promotion, step, key=f"{check}:{run}")
    return _job(services, frozen, definition, candidate, run=run, image_digest=image_digest)


def finish_check(
    services: Services,
    *,
    request_id: str,
    check: str,
    run: int,
    error: str = "",
    image_digest: str | None = None,
    images: Mapping[str, str] | None = None,
) -> StoredEvidence:
    """Take a run's evidence home; an error in words, or no usable evidence, is stored as what it is.

    Args:
        services: Where things are kept.
        request_id: The promotion.
        check: The check.
        run: Which run of it.
        error: Why there is no evidence, when that is known already.
        image_digest: What the validator should have been started from.
        images: What its containers really ran, as the cluster tells it; for the audit log.

    Raises:
        EvidenceError: The check is *errored*: it broke, left no evidence, or evidence about something else.
    """
    promotion, _ = load(services, request_id)
    stored = StoredEvidence(
        request_id=request_id, check=check, run=run, error=error[:4000], recorded_at=services.clock()
    )
    if not error:
        stored = bring_home(services, promotion, stored, image_digest)
    subjects = {"evidence": stored.digest} if stored.digest else {}
    details: dict[str, JsonValue] = {"check": check, "run": run, **({"images": dict(images)} if images else {})}
    step = Step(Action.CHECK_FINISHED, _ACTOR, stored.error, subjects=subjects, details=details)
    write(services, promotion, step, key=f"{check}:{run}")
    services.reviews.add_evidence(stored)
    if not stored.is_usable:
        raise EvidenceError(f"{check}, run {run}: {stored.error}", hint="mend the cause, then clear this task")
    return stored


def evaluate(services: Services, *, request_id: str) -> Promotion:
    """Hold all evidence against the policy and open the review; `blocked` when a required rule did not pass."""
    promotion, frozen = load(services, request_id)
    if promotion.state not in (PromotionState.VALIDATING, PromotionState.BLOCKED, PromotionState.IN_REVIEW):
        return promotion
    candidate = _candidate(promotion)
    evidence = tuple(services.reviews.evidence(request_id))
    outcomes = evaluate_checks(
        frozen,
        evidence,
        manifest=candidate.manifest,
        has_champion=candidate.champion is not None,
        tables=check_tables(services, request_id, frozen, evidence),
    )
    digest = evidence_digest(evidence, (*promotion.intake_outcomes, *outcomes))
    if digest == promotion.evidence_digest and promotion.state.awaits_people:
        return promotion
    now = services.clock()
    # No waiver can stand yet: each names the evidence it accepts, and this evidence is new.
    ready = readiness((*promotion.intake_outcomes, *outcomes), (), now=now)
    state = PromotionState.IN_REVIEW if ready.ready else PromotionState.BLOCKED
    hours = frozen.policy.review.expedited_timeout_h if promotion.expedited else frozen.policy.review.response_timeout_h
    step = Step(Action.EVIDENCE_EVALUATED, _ACTOR, ready.sentence, subjects={"evidence": digest}, key=digest)
    promotion = move(
        services,
        promotion,
        state,
        step,
        check_outcomes=outcomes,
        evidence_digest=digest,
        review_deadline=promotion.review_deadline or now + timedelta(hours=hours),
    )
    publish(services, promotion)
    return promotion


def _job(
    services: Services, frozen: FrozenPolicy, check: Check, candidate: Candidate, *, run: int, image_digest: str
) -> ValidatorJob:
    cluster = frozen.target.kubernetes
    endpoint = cluster.store_endpoint_url if cluster else None
    valid_s = check.timeout_s + (cluster.startup_timeout_s if cluster else 0) + _UPLOAD_GRACE_S
    champion = candidate.champion
    champion_manifest = services.artifacts.manifest(champion.artifact_uri) if champion else None
    if champion and champion_manifest and champion_manifest.artifact_digest != champion.artifact_digest:
        raise IntegrityError(f"the champion {champion.model} {champion.version} is not the artifact that was approved")
    urls = services.artifacts.download_urls
    return ValidatorJob(
        input=ValidatorInput(
            request_id=candidate.request_id,
            check=check.name,
            artifact_digest=candidate.artifact_digest,
            manifest=candidate.manifest,
            champion_manifest=champion_manifest,
            image_digest=image_digest,
            parameters={**ratio_limits(check), **check.parameters},
            allow_cpu=check.allow_cpu,
        ),
        validator=check.validator,
        downloads=urls(candidate.artifact_uri, candidate.manifest, valid_s=valid_s, endpoint_url=endpoint),
        champion_downloads=urls(champion.artifact_uri, champion_manifest, valid_s=valid_s, endpoint_url=endpoint)
        if champion and champion_manifest
        else {},
        upload_url=services.evidence.upload_url(
            candidate.request_id, check.name, run, valid_s=valid_s, endpoint_url=endpoint
        ),
        timeout_s=check.timeout_s,
    )


def _candidate(promotion: Promotion) -> Candidate:
    if promotion.candidate is None:
        raise RequestRefusedError(f"promotion {promotion.id} has no pinned artifact yet", hint="run intake first")
    return promotion.candidate


def _definition(frozen: FrozenPolicy, check: str) -> Check:
    definition = frozen.check(check)
    if definition is None:
        raise NotFoundError(
            f"the policy {frozen.policy.name} frozen into this request has no check {check!r}",
            hint="the policy file gained it later; this request keeps its own rules",
        )
    return definition
