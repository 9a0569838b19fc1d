"""What the registry entry shows, when two steps write onto it at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import pytest

from model_approval.adapters.memory.registry import MemoryRegistry
from model_approval.domain.promotion import Promotion, PromotionState
from model_approval.ports import ModelRegistry, RegistryStatus
from model_approval.stages.progress import publish
from tests.support.builders import NOW
from tests.support.world import World, a_world

pytestmark = pytest.mark.unit


@dataclass
class SlowRegistry:
    """A registry that writes the first status only after somebody else has moved the promotion on and told it so."""

    world: World
    moved: Promotion
    inner: MemoryRegistry
    written: list[str] = field(default_factory=list)

    def set_status(self, model: str, version: str, status: RegistryStatus) -> None:
        if not self.written:
            self.world.reviews.save(self.moved)
        self.written.append(status.state)
        self.inner.set_status(model, version, status)


def accepted() -> tuple[World, Promotion]:
    world = a_world()
    world.register()
    world.tag()
    (promotion,) = world.accept()
    return world, promotion


def test_a_slower_step_does_not_leave_an_earlier_state_on_the_entry() -> None:
    world, promotion = accepted()
    later = promotion.moved(PromotionState.REFUSED, at=NOW, reason="no model card")
    slow = SlowRegistry(world, later, world.registry)
    services = replace(world.services, registries={"mlflow": cast(ModelRegistry, slow)})

    publish(services, promotion)

    assert slow.written == ["accepted", "refused"]
    assert world.registry.get("fraud-scorer", "7").tags["promotion"] == "refused"


def test_a_step_that_holds_an_old_record_writes_the_one_of_now() -> None:
    world, promotion = accepted()
    world.reviews.save(promotion.moved(PromotionState.WITHDRAWN, at=NOW, reason="asked by mistake"))

    publish(world.services, promotion)

    assert world.registry.get("fraud-scorer", "7").tags["promotion"] == "withdrawn"
