"""What the app's routes lean on, put together once by whoever makes the app, and how they reach it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Request

from model_approval.domain.errors import OutsideSystemError
from model_approval.ports import Services
from model_review.auth import FormTokens, StepUp

log = logging.getLogger(__name__)


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

    @contextmanager
    def deciding(self, request_id: str) -> Iterator[None]:
        """Around a use case: afterwards wake the run if the review ended.

        A decision is stored before the registry is told. If telling it fails the decision stands all the same, and
        the run repeats what was missed; so that failure is no reason to tell people that nothing was decided.
        """
        try:
            yield
        except OutsideSystemError:
            if not self._wake_if_ended(request_id):
                raise
            log.warning("promotion %s: decided, but another system did not hear of it yet", request_id, exc_info=True)
        else:
            self._wake_if_ended(request_id)

    def _wake_if_ended(self, request_id: str) -> bool:
        reviews = self.services().reviews
        promotion = reviews.get(request_id)
        if promotion.state.awaits_people:
            return False
        self.wake(dag_id=reviews.policy(promotion.request.policy_digest).policy.dag_id, run_id=request_id)
        return True


def the_room(request: Request) -> Room:
    """The room of the app that serves this request."""
    room: Room = request.app.state.room
    return room


def _services(request: Request) -> Services:
    return the_room(request).services()


TheRoom = Annotated[Room, Depends(the_room)]
TheServices = Annotated[Services, Depends(_services)]
