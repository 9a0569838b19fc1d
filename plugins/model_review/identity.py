"""Who Airflow says is asking: one adapter per auth manager.

Committee files, requests and registries name people by user name, so that is the subject; the numeric id of FAB or
the UUID of Keycloak would never match a requester's name, and segregation of duties would silently not hold. In
Keycloak leave the realm's *Edit username* off (its default): whoever may rename themselves could take another's vote.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from model_review.auth import Identity


class AirflowUser(Protocol):
    """What every auth manager's user offers (Airflow's `BaseUser`); the rest differs."""

    def get_id(self) -> str:
        """The manager's own identifier."""
        ...

    def get_name(self) -> str:
        """A name to show."""
        ...


Described = tuple[str, str, str | None]
"""Subject, name, e-mail."""


def _simple(user: object) -> Described:
    username = _text(user, "username")
    return username, username, None


def _fab(user: object) -> Described:
    username = _text(user, "username")
    name = " ".join(filter(None, (_text(user, "first_name"), _text(user, "last_name"))))
    return username, name or username, _text(user, "email") or None


def _keycloak(user: object) -> Described:
    username = _text(user, "name")
    return username, username, _text(user, "email") or None


_ADAPTERS: dict[str, Callable[[object], Described]] = {
    "airflow.api_fastapi.auth.managers.simple": _simple,
    "airflow.providers.fab": _fab,
    "airflow.providers.keycloak": _keycloak,
}


def describe(user: AirflowUser, *, authentication: str) -> Identity:
    """What an auth manager's user object says, in our words; any other manager's `get_id` is taken as it is.

    Raises:
        ValueError: The auth manager names the user by nothing, so nobody could be held to anything.
    """
    module = type(user).__module__
    adapter = next((adapt for prefix, adapt in _ADAPTERS.items() if module.startswith(f"{prefix}.")), None)
    subject, name, email = adapter(user) if adapter else (user.get_id(), user.get_name(), None)
    if not subject:
        raise ValueError(f"the auth manager ({module}) gives this user no name")
    return Identity(subject=subject, name=name, email=email, authentication=authentication)


def _text(user: object, attribute: str) -> str:
    value = getattr(user, attribute, None)
    return value if isinstance(value, str) else ""
