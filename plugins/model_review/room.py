"""What the app's routes lean on, put together once by whoever makes the app, and how they reach it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from model_approval.domain.promotion import Promotion
from model_approval.ports import Services
from model_review.auth import FormTokens, StepUp


class Wake(Protocol):
    """Tells the waiting review task that something was decided. A hint: never raises, never carries the decision."""

    def __call__(self, *, dag_id: str, run_id: str) -> None:
        """Wake the review task of one run."""
        ...


@dataclass(frozen=True)
class Room:
    """The app's collaborators."""

    services: Callable[[], Services]
    wake: Wake
    tokens: FormTokens
    step_up: StepUp

    def after(self, promotion: Promotion) -> None:
        """Wake the run when the review ended."""
        if not promotion.state.awaits_people:
            frozen = self.services().reviews.policy(promotion.request.policy_digest)
            self.wake(dag_id=frozen.policy.dag_id, run_id=promotion.id)


def the_room(request: Request) -> Room:
    """The room of the app that serves this request."""
    room: Room = request.app.state.room
    return room


def _services(request: Request) -> Services:
    return the_room(request).services()


TheRoom = Annotated[Room, Depends(the_room)]
TheServices = Annotated[Services, Depends(_services)]
