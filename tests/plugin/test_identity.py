"""Each auth manager's user becomes the name that committees and requests use."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from model_review.identity import describe

pytestmark = pytest.mark.unit


@dataclass
class User:
    """A user as its auth manager makes it; `manager` is the module its class lives in."""

    fields: dict[str, object]

    def get_id(self) -> str:
        return str(self.fields.get("id", ""))

    def get_name(self) -> str:
        return str(self.fields.get("shown", ""))

    def __getattr__(self, name: str) -> object:
        try:
            return self.__dict__["fields"][name]
        except KeyError:
            raise AttributeError(name) from None


def a_user(manager: str, **fields: object) -> User:
    kind: type[User] = type("User", (User,), {"__module__": manager})
    return kind(fields)


SIMPLE = "airflow.api_fastapi.auth.managers.simple.user"
FAB = "airflow.providers.fab.auth_manager.models"
KEYCLOAK = "airflow.providers.keycloak.auth_manager.user"


def test_simple_auth_manager_names_by_user_name() -> None:
    found = describe(a_user(SIMPLE, id="ana", username="ana"), authentication="airflow-session")
    assert (found.subject, found.name, found.email) == ("ana", "ana", None)


def test_fab_names_by_user_name_and_never_by_its_row_number() -> None:
    user = a_user(FAB, id="7", username="ana", first_name="Ana", last_name="Silva", email="ana@bank.example")
    found = describe(user, authentication="airflow-session")
    assert (found.subject, found.name, found.email) == ("ana", "Ana Silva", "ana@bank.example")


def test_keycloak_names_by_user_name_and_never_by_its_uuid() -> None:
    user = a_user(KEYCLOAK, id="0b9c", user_id="0b9c", name="ana")
    assert describe(user, authentication="airflow-token").subject == "ana"


def test_another_auth_manager_is_taken_by_its_word() -> None:
    assert describe(a_user("acme.auth", id="ana@bank"), authentication="airflow-session").subject == "ana@bank"


@pytest.mark.parametrize("manager", [SIMPLE, FAB, KEYCLOAK, "acme.auth"])
def test_a_user_without_a_name_is_nobody(manager: str) -> None:
    with pytest.raises(ValueError, match="gives this user no name"):
        describe(a_user(manager), authentication="airflow-session")


def test_a_class_that_only_looks_like_a_manager_is_not_taken_for_it() -> None:
    user = a_user("airflow.providers.fabulous.models", id="7", username="admin")
    assert describe(user, authentication="airflow-session").subject == "7"
