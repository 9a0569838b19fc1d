"""Makes Airflow's users, the role of everybody who takes part in reviews, and the pool of the benchmarks.

A user that exists is left alone. What somebody may do in a review is not decided here: that is in
`include/committees/*.yaml`, by user name. One program, because each start of Airflow's own commands takes five seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from airflow.models.pool import Pool
from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
from airflow.providers.fab.auth_manager.security_manager.override import FabAirflowSecurityManagerOverride
from airflow.providers.fab.www.security import permissions

REVIEWS = "Model reviews"
"""What *Viewer* may, and see the plugin's pages. No right to edit DAG runs: a reviewer needs none."""


@dataclass(frozen=True)
class Person:
    """Somebody who can sign in; the first password stands in `<NAME>_PASSWORD`."""

    name: str
    role: str
    title: str


PEOPLE = (
    Person("admin", "Admin", "administrator"),
    Person("rita", REVIEWS, "requester"),
    Person("max", REVIEWS, "ML manager"),
    Person("ana", REVIEWS, "reviewer, security"),
    Person("bo", REVIEWS, "reviewer, risk"),
    Person("olga", "Op", "operator"),
    Person("vera", REVIEWS, "viewer: in no committee, so she reads and cannot vote"),
)


def make_role(security: FabAirflowSecurityManagerOverride) -> None:
    """Make or update the role of reviewers."""
    rights = [*security.VIEWER_PERMISSIONS, (permissions.ACTION_CAN_READ, permissions.RESOURCE_PLUGIN)]
    security.bulk_sync_roles([{"role": REVIEWS, "perms": rights}])


def make_person(security: FabAirflowSecurityManagerOverride, person: Person, password: str) -> str:
    """Make a user unless there is one of that name; says which."""
    if security.find_user(username=person.name):
        return f"user {person.name}: is there"
    role = security.find_role(person.role)
    mail = f"{person.name}@example.invalid"
    security.add_user(person.name, person.name.title(), f"({person.title})", mail, role, password)
    if not security.find_user(username=person.name):
        raise SystemExit(f"user {person.name}: Airflow did not make it, see the log above")
    return f"user {person.name}: made, role {person.role}"


def main() -> None:
    """Make pool, role and users."""
    # One slot: two benchmarks would measure each other. Deferred tasks count, because their pods run meanwhile.
    Pool.create_or_update_pool(os.environ["MODEL_APPROVAL_GPU_POOL"], 1, "benchmarks, one at a time", True)
    with get_application_builder() as builder:
        security = builder.sm
        make_role(security)
        for person in PEOPLE:
            print(make_person(security, person, os.environ[f"{person.name.upper()}_PASSWORD"]))


if __name__ == "__main__":
    main()
