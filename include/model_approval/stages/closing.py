"""The last step of every run: registry, review store and audit log end on the same word."""

from __future__ import annotations

from model_approval.domain.audit import Action, Actor
from model_approval.domain.promotion import Promotion
from model_approval.ports import Services
from model_approval.stages.progress import Step, load, publish, write

_ACTOR = Actor.service("closing")


def close(services: Services, *, request_id: str) -> Promotion:
    """Publish the state in which the run ended and record it. Runs in every case, also after failures.

    Returns:
        The promotion. An open state means that a step broke: the run must be shown as failed, and can be re-run.
    """
    promotion, _ = load(services, request_id)
    publish(services, promotion)
    step = Step(Action.PROMOTION_CLOSED, _ACTOR, promotion.state_reason, details={"ended": not promotion.state.is_open})
    write(services, promotion, step, key=f"{promotion.state}:{promotion.record_version}")
    return promotion
