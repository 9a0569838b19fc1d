"""The registry: one MLflow server on SQLite. Clients read and write model bytes in S3 themselves, not through it."""

from __future__ import annotations

import sys

import httpx

from model_approval.embedded.layout import HOST, Layout
from model_approval.embedded.processes import Program
from model_approval.settings import Settings

MODEL_BUCKET = "models"


def mlflow_program(layout: Layout, store: Settings, *, port: int) -> Program:
    """The server's program.

    Args:
        layout: Where its database is.
        store: How it reads artifacts, to show them on its pages.
        port: To listen on, loopback only.
    """
    command = (
        sys.executable, "-m", "mlflow", "server", f"--backend-store-uri=sqlite:///{layout.mlflow_database}",
        f"--default-artifact-root=s3://{MODEL_BUCKET}", "--no-serve-artifacts",
        f"--host={HOST}", f"--port={port}", "--workers=1",
    )  # fmt: skip
    return Program("mlflow", command, layout.root, ready=lambda: _answers(port), environment=_environment(store))


def _environment(store: Settings) -> dict[str, str]:
    access, secret = store.store_access_key, store.store_secret_key
    return {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job workers would be further processes that nobody uses
        "MLFLOW_S3_ENDPOINT_URL": store.store_endpoint_url or "",
        "AWS_ACCESS_KEY_ID": access.get_secret_value() if access else "",
        "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else "",
        "AWS_DEFAULT_REGION": store.store_region,
    }


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/health", timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
