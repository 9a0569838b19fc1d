"""What every test shares.

Faked: nothing by patching. Unit tests get memory twins (`model_approval.adapters.memory`), which the contract tests
hold to the behaviour of the real adapters, and a clock that stands still (`tests.support.builders`).
Observed: real SeaweedFS, MLflow and Postgres processes (`tests.support.servers`, `tests.support.databases`), started
once per session.
Not touched: the reader's own environment. Our variables and cloud credentials are taken out of it, unit tests have
no sockets but Unix ones, and everything written goes to pytest's scratch folders.
"""

from __future__ import annotations

import os

import pytest
from pytest_socket import disable_socket, enable_socket

pytest_plugins = [
    "tests.support.databases",
    "tests.support.servers",
    "tests.support.cluster",
    "tests.support.airflow",
]

# Before anything of MLflow or Great Expectations is imported: neither may report home.
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "GX_ANALYTICS_ENABLED": "false"})
for _name in [name for name in os.environ if name.startswith(("MODEL_APPROVAL_", "AWS_", "MLFLOW_TRACKING_"))]:
    del os.environ[_name]


_FIRST_CLUSTER_TEST_S = 1200
"""The first one waits for images that are built for it: a few minutes, on a busy machine more."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give cluster tests the time that building images takes; all others keep the limit of pyproject.toml."""
    for item in items:
        if item.get_closest_marker("cluster") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_FIRST_CLUSTER_TEST_S))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Sockets off for unit tests, on for all others."""
    if item.get_closest_marker("unit"):
        disable_socket(allow_unix_socket=True)


def pytest_runtest_teardown() -> None:
    """Sockets on again, for session fixtures that end later."""
    enable_socket()
