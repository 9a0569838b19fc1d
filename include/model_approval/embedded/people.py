"""The people of the demo stack, and what Airflow lets each of them do.

What they may do in a review is not decided here: that is in `include/committees/*.yaml`. The Airflow roles below are
those of the simple auth manager, which is made for trials; production uses FAB or Keycloak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in."""

    name: str
    airflow_role: Literal["viewer", "user", "op", "admin"]
    does: str


PEOPLE = (
    Person("rita", "user", "requests promotions; made the sample models, so she may not vote on them"),
    Person("max", "user", "ML manager: votes, waives, expedites"),
    Person("ana", "user", "reviewer"),
    Person("bo", "user", "reviewer"),
    Person("olga", "op", "operator: pools, connections, re-running checks"),
    Person("vera", "viewer", "viewer: reads everything, changes nothing"),
    Person("admin", "admin", "Airflow administrator; no vote anywhere"),
)
"""Every role of the simple auth manager sees plugin pages; `user` and above may edit DAG runs. That is why `deploy`
trusts the signed decision and no task state."""
