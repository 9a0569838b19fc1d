"""The plugin module inside a real Airflow: found, thin, and its users known by name."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.contract

THIN = """
import json, sys
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
ours = next(plugin for plugin in plugins if plugin.name == "model_review")
heavy = sorted(name for name in sys.modules if name.split(".")[0] in ("model_approval", "model_review"))
print(json.dumps({"errors": errors, "modules": heavy, "views": ours.external_views}))
"""

USERS = """
import json
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.providers.fab.auth_manager.models import User
from model_review.identity import describe
users = [SimpleAuthManagerUser(username="ana", role="user"),
         User(id=7, username="bo", first_name="Bo", last_name="Berg", email="bo@bank.example")]
print(json.dumps([describe(user, authentication="airflow-session").subject for user in users]))
"""


def test_every_airflow_process_imports_only_the_registration(airflow_home) -> None:
    found = json.loads(airflow_home.python(THIN))
    assert found["errors"] == {}
    assert found["modules"] == [], "a task process would pay for the whole room"


def test_views_are_relative_so_that_a_prefix_works(airflow_home) -> None:
    views = json.loads(airflow_home.python(THIN))["views"]
    assert {view["destination"] for view in views} == {"nav", "dag_run"}
    assert all(view["href"].startswith("model-review/") for view in views)


def test_real_users_of_the_auth_managers_are_known_by_name(airflow_home) -> None:
    assert json.loads(airflow_home.python(USERS)) == ["ana", "bo"]
