"""Step 2, intake: pin the exact bytes and champion, and hold the static rules against them. It may refuse."""

from __future__ import annotations

import contextlib

import yaml
from pydantic import ValidationError

from model_approval.domain.audit import Action, Actor
from model_approval.domain.deployment import ServingConfig
from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError
from model_approval.domain.evidence import RuleOutcome, Verdict
from model_approval.domain.formats import HEAD_BYTES, detect_format
from model_approval.domain.manifest import ArtifactManifest
from model_approval.domain.promotion import Candidate, ChampionRef, Document, Promotion, PromotionState, pinned_digest
from model_approval.domain.request import RegisteredVersion
from model_approval.policy.intake import IntakeFacts, static_outcomes
from model_approval.policy.schema import FrozenPolicy
from model_approval.policy.voting import quorum_gap
from model_approval.ports import Services
from model_approval.stages.pinned import read_pinned
from model_approval.stages.progress import Step, load, move, publish

_ACTOR = Actor.service("intake")
PRIVACY_RESULT = "privacy-validation.json"
_SMALL_FILE_BYTES = 20 * 1024 * 1024


def intake(services: Services, *, request_id: str) -> Promotion:
    """Pin artifact, policy and champion; evaluate every static rule; refuse or send to validation.

    Raises:
        OutsideSystemError: Registry or store cannot be reached; repeat the step.
    """
    promotion, frozen = load(services, request_id)
    if promotion.state is not PromotionState.REQUESTED:
        return promotion
    if not promotion.run_seen:
        promotion = promotion.changed(run_seen=True)
        services.reviews.save(promotion)
    request = promotion.request
    try:
        version = services.registries[request.registry].get(request.model, request.version)
        manifest = services.artifacts.manifest(version.artifact_uri)
    except (NotFoundError, IntegrityError) as err:
        return _refuse(services, promotion, f"the artifact cannot be pinned: {err}")
    candidate = Candidate(
        request_id=request_id,
        artifact_uri=version.artifact_uri,
        manifest=manifest,
        artifact_digest=manifest.artifact_digest,
        champion=_champion(services, promotion),
        documents=_documents(promotion, manifest),
        owner=version.owner,
        pinned_at=services.clock(),
    )
    try:
        outcomes = (
            *static_outcomes(frozen, _facts(services, promotion, frozen, version, candidate)),
            *_privacy_outcomes(services, promotion, frozen, candidate),
            _eligibility_outcome(promotion, frozen, candidate),
        )
    except (NotFoundError, IntegrityError) as err:
        return _refuse(services, promotion, f"the artifact changed while it was looked at: {err}")
    refused = [outcome for outcome in outcomes if outcome.required and outcome.verdict is not Verdict.PASSED]
    if refused:
        reason = "; ".join(f"{outcome.rule}: {outcome.reason}" for outcome in refused)
        return _refuse(services, promotion, reason, candidate=candidate, intake_outcomes=outcomes)
    pinned = pinned_digest(candidate, outcomes)
    step = Step(
        Action.ARTIFACT_PINNED,
        _ACTOR,
        f"{len(outcomes)} intake rules passed",
        key=pinned,
        subjects={"artifact": candidate.artifact_digest, "candidate": pinned},
        details={
            "files": len(manifest.files),
            "bytes": manifest.size_bytes,
            "champion": candidate.champion.version if candidate.champion else None,
        },
    )
    promotion = move(
        services, promotion, PromotionState.VALIDATING, step, candidate=candidate, intake_outcomes=outcomes
    )
    publish(services, promotion)
    return promotion


def _refuse(services: Services, promotion: Promotion, reason: str, **changes: object) -> Promotion:
    step = Step(Action.REQUEST_REFUSED, _ACTOR, reason[:4000])
    promotion = move(services, promotion, PromotionState.REFUSED, step, **changes)
    publish(services, promotion)
    return promotion


def _champion(services: Services, promotion: Promotion) -> ChampionRef | None:
    """The version serving now: by our own record, since whoever may tag could move or remove the registry's alias.

    Where we deployed nothing, the alias counts: it was set before we governed this model.
    """
    request = promotion.request
    deployed = next(iter(services.reviews.deployed(request.model, request.environment)), None)
    if deployed is None or deployed.candidate is None:
        return _champion_by_alias(services, promotion)
    if (deployed.request.registry, deployed.request.version) == (request.registry, request.version):
        return None
    return ChampionRef(
        model=deployed.request.model,
        version=deployed.request.version,
        artifact_digest=deployed.candidate.artifact_digest,
        artifact_uri=deployed.candidate.artifact_uri,
        semantic_version=deployed.request.payload.semantic_version,
        request_id=deployed.id,
    )


def _champion_by_alias(services: Services, promotion: Promotion) -> ChampionRef | None:
    """The version that the registry calls champion; its bytes are pinned as they are found."""
    request = promotion.request
    version = services.registries[request.registry].champion(request.model, request.environment)
    if version is None or version.version == request.version:
        return None
    return ChampionRef(
        model=version.model,
        version=version.version,
        artifact_digest=services.artifacts.manifest(version.artifact_uri).artifact_digest,
        artifact_uri=version.artifact_uri,
        semantic_version=version.tags.get("semantic_version"),
    )


def _documents(promotion: Promotion, manifest: ArtifactManifest) -> tuple[Document, ...]:
    found = []
    for kind, path in sorted(promotion.request.payload.documents.items()):
        entry = manifest.file(path)
        if entry:
            found.append(Document(kind=kind, path=path, sha256=entry.sha256, size_bytes=entry.size_bytes))
    return tuple(found)


def _facts(
    services: Services,
    promotion: Promotion,
    frozen: FrozenPolicy,
    version: RegisteredVersion,
    candidate: Candidate,
) -> IntakeFacts:
    request = promotion.request
    serving, serving_error = _serving(services, frozen, candidate)
    earlier = services.reviews.of_version(request.registry, request.model, request.version, request.environment)
    return IntakeFacts(
        version=version,
        payload=request.payload,
        manifest=candidate.manifest,
        formats=_formats(services, candidate),
        serving=serving,
        serving_error=serving_error,
        champion_version=candidate.champion.semantic_version if candidate.champion else None,
        has_champion=candidate.champion is not None,
        earlier_digests=tuple(other.candidate.artifact_digest for other in earlier if other.candidate),
    )


def _formats(services: Services, candidate: Candidate) -> dict[str, str]:
    formats = {}
    for entry in candidate.manifest.files:
        with services.artifacts.open(candidate.artifact_uri, entry.path) as stream:
            formats[entry.path] = detect_format(entry.path, stream.read(HEAD_BYTES))
    return formats


def _serving(services: Services, frozen: FrozenPolicy, candidate: Candidate) -> tuple[ServingConfig | None, str]:
    """The serving configuration, or in words why there is none to rely on."""
    path = frozen.policy.deployment.serving
    if candidate.manifest.file(path) is None:
        return None, f"{path} is not in the artifact"
    try:
        text = read_pinned(services, candidate.artifact_uri, candidate.manifest, path, limit_bytes=100_000)
        return ServingConfig.model_validate(yaml.safe_load(text) or {}), ""
    except (yaml.YAMLError, UnicodeDecodeError, EvidenceError) as err:
        return None, f"{path} cannot be read: {str(err)[:300]}"
    except ValidationError as err:
        first = err.errors()[0]
        return None, f"{path}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"


def _privacy_outcomes(
    services: Services, promotion: Promotion, frozen: FrozenPolicy, candidate: Candidate
) -> tuple[RuleOutcome, ...]:
    rules = frozen.policy.intake.privacy
    if rules is None:
        return ()
    files = {}
    for path in (rules.input_schema, rules.sample):
        if candidate.manifest.file(path) is None:
            return (_no(f"{path} is not in the artifact", "privacy.inputs", "Schema and evaluation sample present"),)
        with contextlib.suppress(EvidenceError):
            files[path] = read_pinned(
                services, candidate.artifact_uri, candidate.manifest, path, limit_bytes=_SMALL_FILE_BYTES
            )
        if path not in files:
            reason = f"{path} is larger than {_SMALL_FILE_BYTES} bytes; give a smaller evaluation sample"
            return (_no(reason, "privacy.inputs", "Schema and evaluation sample readable"),)
    declared = frozenset(promotion.request.payload.personal_data_columns)
    outcomes, result = services.profiler.profile(files[rules.input_schema], files[rules.sample], rules, declared)
    services.evidence.put_document(promotion.id, PRIVACY_RESULT, result, content_type="application/json")
    return outcomes


def _eligibility_outcome(promotion: Promotion, frozen: FrozenPolicy, candidate: Candidate) -> RuleOutcome:
    """Refuse at once what nobody could approve, instead of parking it until it expires."""
    barred = frozenset({candidate.owner} if candidate.owner else ())
    voters = {role: people - barred for role, people in frozen.eligible_voters(promotion.request).items()}
    needed = {rule.role: rule.votes for rule in frozen.policy.review.quorum}
    unfilled = quorum_gap(needed, voters)
    if unfilled:
        short = "; ".join(f"{role} needs {needed[role]}, may vote: {_names(voters[role])}" for role in unfilled)
        advice = "add members to the committee; requester, contributors and run owner cannot vote"
        return _no(f"nobody could approve this: {short}; {advice}", "review.eligible", "Someone may approve")
    names = "; ".join(f"{role}: {_names(people)}" for role, people in sorted(voters.items()))
    return RuleOutcome(
        rule="review.eligible",
        check="intake",
        title="Someone may approve",
        verdict=Verdict.PASSED,
        reason=f"may vote: {names}",
    )


def _names(people: frozenset[str]) -> str:
    return ", ".join(sorted(people)) or "nobody"


def _no(reason: str, rule: str, title: str) -> RuleOutcome:
    return RuleOutcome(rule=rule, check="intake", title=title, verdict=Verdict.FAILED, reason=reason)
