"""Who may decide: committees, their roles and members (`include/committees/*.yaml`)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, field_serializer

from model_approval.domain.base import Record, Slug, Subject


class Ability(StrEnum):
    """What a role may do beside reading."""

    VOTE = "vote"
    WAIVE = "waive"
    EXPEDITE = "expedite"


class Role(Record):
    """A role of a committee."""

    title: Annotated[str, Field(min_length=1, max_length=120)]
    members: tuple[Subject, ...] = ()
    abilities: frozenset[Ability] = frozenset({Ability.VOTE})

    @field_serializer("abilities")
    def _in_order(self, abilities: frozenset[Ability]) -> list[str]:
        # A set's order differs from process to process; the policy digest must not.
        return sorted(abilities)


class Committee(Record):
    """A named group of roles."""

    schema_id: Annotated[Literal["model-approval/committee/v1"], Field(alias="schema")]
    name: Slug
    title: Annotated[str, Field(min_length=1, max_length=120)]
    roles: Annotated[dict[Slug, Role], Field(min_length=1)]

    def roles_of(self, subject: str, ability: Ability = Ability.VOTE) -> tuple[str, ...]:
        """The roles in which somebody has that ability, sorted by name."""
        return tuple(
            name for name, role in sorted(self.roles.items()) if subject in role.members and ability in role.abilities
        )

    def members_with(self, role: str, ability: Ability = Ability.VOTE) -> frozenset[str]:
        """Who has that ability through that role; nobody when the role is unknown or lacks it."""
        found = self.roles.get(role)
        return frozenset(found.members) if found and ability in found.abilities else frozenset()
