"""Real outside systems for the contract and integration tests, each started once per session, on free loopback ports.

    s3_store        SeaweedFS with Object Lock, its buckets made
    mlflow_server   MLflow on SQLite, its artifacts in that store
    settings        our settings for both, with a fresh home folder

Nothing here is imitated. A test that wants an outage stops a server of its own, never these.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_approval.adapters.s3_client import ensure_buckets
from model_approval.embedded.seaweedfs import HOST, SeaweedFs
from model_approval.settings import Settings

MODELS_BUCKET = "models"
REGISTRY_BUCKET = "model-registry"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(condition, *, timeout_s: float, what: str) -> None:
    """Poll a condition until it holds; fails the test when the deadline passes."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {timeout_s:g} s")
        time.sleep(0.1)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and nobody asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def settings_for(store: SeaweedFs, **changes: object) -> Settings:
    """Settings that reach a store; anything else (`mlflow_tracking_uri=server.url`) by name."""
    fields = {
        **store.settings().model_dump(),
        "mlflow_artifact_root": f"s3://{MODELS_BUCKET}/",
        "s3_registry_bucket": REGISTRY_BUCKET,
        **changes,
    }
    return Settings.model_validate(fields)


def start_store(folder: Path, **changes: object) -> SeaweedFs:
    """A running store with its buckets; the caller stops it. `changes` go to the settings the buckets are made from."""
    store = SeaweedFs(folder, s3_port=free_port())
    store.start()
    admin = {"store_access_key": store.admin.access_key, "store_secret_key": store.admin.secret_key}
    ensure_buckets(settings_for(store, **admin, **changes))
    return store


class MlflowServer:
    """One MLflow server over a SQLite file; `stop` and `start` keep its state and port."""

    def __init__(self, folder: Path, store: SeaweedFs) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._store, self._port = folder, store, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"http://{HOST}:{self._port}"

    def start(self) -> None:
        """Start it and wait until its health page answers."""
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(self._port), "--workers", "1"),
            *("--backend-store-uri", f"sqlite:///{self._folder / 'mlflow.sqlite'}", "--no-serve-artifacts"),
            *("--default-artifact-root", f"s3://{MODELS_BUCKET}/"),
        ]
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_S3_ENDPOINT_URL": self._store.endpoint_url,
            "AWS_ACCESS_KEY_ID": self._store.reader.access_key,
            "AWS_SECRET_ACCESS_KEY": self._store.reader.secret_key,
        }
        with (self._folder / "mlflow.log").open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        wait_until(self._answers, timeout_s=90, what=f"MLflow on {self.url} (log in {self._folder})")

    def stop(self) -> None:
        """End it and the workers it started."""
        process, self._process = self._process, None
        if process is not None:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(3)  # it waits for idle connections, and a test has nothing to lose
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "mlflow.log").read_text()[-2000:]
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory) -> Iterator[SeaweedFs]:
    """A running SeaweedFS with the buckets of `settings_for`."""
    store = start_store(tmp_path_factory.mktemp("store"))
    yield store
    store.stop()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory, s3_store) -> Iterator[MlflowServer]:
    """A running MLflow server; tests share it, so they use model names of their own."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"), s3_store)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def settings(tmp_path, s3_store) -> Settings:
    """Settings for the session's store, with a fresh home; `settings_for` makes others."""
    return settings_for(s3_store, home=tmp_path)
