"""Step 1, request: a tag, a command or a form becomes a promotion request, once.

Order inside `submit`: audit entry, row, tag. The run is started last (by `promotion_intake`), for every row that
is still `requested`; so a crash anywhere is mended by the next scan, and the request's id keeps it from running twice.
"""

from __future__ import annotations

import logging
from datetime import timedelta

from pydantic import ValidationError

from model_approval.domain.audit import SYSTEM_STREAM, Action, Actor
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import NotFoundError, RequestRefusedError
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.domain.request import (
    Channel,
    PromotionRequest,
    RegisteredVersion,
    RequestPayload,
    request_id,
)
from model_approval.ports import ModelRegistry, RegistryStatus, Services
from model_approval.stages.audit import record
from model_approval.stages.progress import publish

log = logging.getLogger(__name__)

MAX_PAYLOAD_CHARS = 65_536
_ACTOR = Actor.service("request")
_PATIENCE = timedelta(minutes=1)


def pending(services: Services, registry: str, *, watched_for_s: float = 0.0) -> bool:
    """Whether anything waits to be accepted or started. Cheap: what the sensor asks at each poll.

    A request whose run does not begin (its DAG is paused, say) must not make the sensor fire at every poll: after
    its first minute it counts only once the sensor has watched for a minute.
    """
    if _registry(services, registry).find_requested():
        return True
    young = services.clock() - _PATIENCE
    patient = watched_for_s >= _PATIENCE.total_seconds()
    return any(patient or promotion.request.created_at > young for promotion in _unstarted(services, registry))


def accept_tagged(services: Services, registry: str) -> list[Promotion]:
    """Turn every tag into a request or a refusal on its registry entry; return what has to be started.

    Raises:
        OutsideSystemError: Registry, store or log cannot be reached. Nothing is lost: tags stay until answered.
    """
    for version in _registry(services, registry).find_requested():
        payload_json = _registry(services, registry).payload_of(version)
        try:
            _accept(services, version, payload_json, Channel.TAG)
        except RequestRefusedError as err:
            _refuse_tag(services, version, payload_json, str(err))
    return _unstarted(services, registry)


def submit(
    services: Services, *, registry: str, model: str, version: str, payload_json: str, channel: Channel
) -> Promotion:
    """Ask for a promotion from the command line or the page; the registry entry shows it as a tag would.

    Raises:
        RequestRefusedError: Bad payload (names field and reason), no policy, unknown registry.
        NotFoundError: The registry has no such version.
    """
    registered = _registry(services, registry).get(model, version)
    parse_payload(payload_json)
    _registry(services, registry).request(model, version, payload_json)
    return _accept(services, registered, payload_json, channel)


def parse_payload(payload_json: str) -> RequestPayload:
    """Read the metadata payload.

    Raises:
        RequestRefusedError: Names every wrong field, what is wrong with it, and what to do.
    """
    if len(payload_json) > MAX_PAYLOAD_CHARS:
        raise RequestRefusedError(f"payload: {len(payload_json)} characters, at most {MAX_PAYLOAD_CHARS} are read")
    if not payload_json.strip():
        raise RequestRefusedError("payload: missing", hint="set the tag `promotion.payload` before `promotion`")
    try:
        return RequestPayload.model_validate_json(payload_json)
    except ValidationError as err:
        lines = "; ".join(f"payload.{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in err.errors()[:10])
        raise RequestRefusedError(lines, hint="mend `promotion.payload`, then set `promotion` to `requested`") from err


def _accept(services: Services, version: RegisteredVersion, payload_json: str, channel: Channel) -> Promotion:
    payload = parse_payload(payload_json)
    earlier = services.reviews.of_version(version.registry, version.model, version.version, payload.environment)
    open_ones = [promotion for promotion in earlier if promotion.state.is_open]
    promotion = open_ones[0] if open_ones else _create(services, version, payload, channel, earlier)
    publish(services, promotion)
    return promotion


def _create(
    services: Services,
    version: RegisteredVersion,
    payload: RequestPayload,
    channel: Channel,
    earlier: list[Promotion],
) -> Promotion:
    frozen = services.policies.for_version(version, payload.environment)
    services.reviews.freeze_policy(frozen)
    attempt = len(earlier) + 1
    request = PromotionRequest(
        id=request_id(
            registry=version.registry,
            model=version.model,
            version=version.version,
            environment=payload.environment,
            attempt=attempt,
        ),
        registry=version.registry,
        model=version.model,
        version=version.version,
        environment=payload.environment,
        attempt=attempt,
        payload=payload,
        channel=channel,
        policy_name=frozen.policy.name,
        policy_digest=frozen.digest,
        created_at=services.clock(),
        previous_id=earlier[-1].id if earlier else None,
    )
    record(
        services,
        promotion_id=request.id,
        action=Action.REQUEST_RECEIVED,
        actor=Actor.person(payload.requester),
        key=str(attempt),
        subjects={"policy": frozen.digest, "request": request.asked_digest},
        details={
            "registry": request.registry,
            "model": request.model,
            "version": request.version,
            "environment": request.environment,
            "channel": channel,
            "policy": frozen.policy.name,
            "reason": payload.reason,
            "state": PromotionState.REQUESTED,
        },
        retention_days=frozen.policy.audit.retention_days,
    )
    log.info("promotion %s: requested by %s through %s", request.id, channel, request.registry)
    return services.reviews.add(request, at=services.clock())


def _refuse_tag(services: Services, version: RegisteredVersion, payload_json: str, reason: str) -> None:
    """A tag that cannot become a request is answered where it was set, with field and reason."""
    record(
        services,
        promotion_id=SYSTEM_STREAM,
        action=Action.REQUEST_REFUSED,
        actor=_ACTOR,
        # The clock is part of the key: the same bad tag set again later is another event.
        key=f"{version.registry}/{version.model}/{version.version}/{services.clock().isoformat()}",
        subjects={"payload": sha256_of(payload_json.encode())},
        details={"model": version.model, "version": version.version, "reason": reason[:2000]},
    )
    status = RegistryStatus(state=PromotionState.REFUSED, request_id=None, reason=reason)
    services.registries[version.registry].set_status(version.model, version.version, status)
    log.info("tag on %s %s refused: %s", version.model, version.version, reason)


def _unstarted(services: Services, registry: str) -> list[Promotion]:
    waiting = services.reviews.find([PromotionState.REQUESTED])
    return [
        promotion
        for promotion in reversed(waiting)
        if promotion.request.registry == registry and not promotion.run_seen
    ]


def _registry(services: Services, name: str) -> ModelRegistry:
    if name not in services.registries:
        known = ", ".join(sorted(services.registries)) or "none"
        raise NotFoundError(f"no registry {name!r} is configured", hint=f"configured: {known}")
    return services.registries[name]
