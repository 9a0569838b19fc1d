"""MLflow as registry: tags on model versions ask and answer, an alias names the champion.

| in MLflow | means |
|---|---|
| tag `promotion` = `requested` | somebody asks; afterwards the promotion's state |
| tag `promotion.payload` | the request's metadata, JSON |
| tags `promotion.request_id`, `promotion.reason` | what became of it |
| alias `champion-<environment>` | the version that serves there |

Rule: `promotion` is written last. Whatever is interrupted leaves the version `requested`, and the next poll finds it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pydantic import ValidationError

from model_approval.domain.errors import NotFoundError, OutsideSystemError
from model_approval.domain.request import RegisteredVersion
from model_approval.ports import RegistryStatus
from model_approval.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

log = logging.getLogger(__name__)

_CLIENT_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's own defaults wait 120 s and try 7 times with growing pauses: an outage would hold a poll for minutes.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0.2",
}
"""Read by the MLflow client at each call; an operator's own values stay."""

_REQUESTED = "requested"
_MISSING = frozenset({"RESOURCE_DOES_NOT_EXIST"})
_PERMANENT = frozenset({"INVALID_PARAMETER_VALUE", "PERMISSION_DENIED", "UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"})


class MlflowRegistry:
    """Model versions of one MLflow server."""

    name = "mlflow"

    def __init__(self, settings: Settings, *, page_size: int = 200) -> None:
        if not settings.mlflow_tracking_uri:
            raise OutsideSystemError(
                "MLflow", "no server is configured", retryable=False, hint="set MODEL_APPROVAL_MLFLOW_TRACKING_URI"
            )
        self._uri = settings.mlflow_tracking_uri.rstrip("/")
        self._page_size = page_size

    def find_requested(self) -> list[RegisteredVersion]:
        """All versions whose tag `promotion` is `requested`, oldest first; every page of them.

        A version that cannot be named here (a blank in the model's name) is refused on its entry and left out.
        """
        found = []
        with self._client() as client:
            owners: dict[str, str | None] = {}
            for version in self._search(client):
                try:
                    found.append(self._registered(client, version, owners))
                except ValidationError as err:
                    self._refuse(client, version, err)
        return found

    def get(self, model: str, version: str) -> RegisteredVersion:
        """One version.

        Raises:
            NotFoundError: MLflow knows no such model or version.
        """
        with self._client(f"{model} version {version}") as client:
            return self._registered(client, client.get_model_version(model, _number(version)), {})

    def payload_of(self, version: RegisteredVersion) -> str:
        """The raw JSON text of the metadata payload, read now; empty when there is none."""
        with self._client(f"{version.model} version {version.version}") as client:
            return str(client.get_model_version(version.model, version.version).tags.get("promotion.payload", ""))

    def request(self, model: str, version: str, payload: str) -> None:
        """Set payload and tag, as a person would."""
        with self._client(f"{model} version {version}") as client:
            client.set_model_version_tag(model, _number(version), "promotion.payload", payload)
            client.set_model_version_tag(model, version, "promotion", _REQUESTED)

    def set_status(self, model: str, version: str, status: RegistryStatus) -> None:
        """Write the tags that say what became of the request. Idempotent."""
        with self._client(f"{model} version {version}") as client:
            _write_status(client, model, _number(version), status)

    def champion(self, model: str, environment: str) -> RegisteredVersion | None:
        """The version that holds the alias `champion-<environment>`; None when nobody does."""
        try:
            with self._client(model) as client:
                number = client.get_registered_model(model).aliases.get(_alias(environment))
        except NotFoundError:
            return None
        return self.get(model, str(number)) if number else None

    def crown(self, model: str, version: str, environment: str, *, description: str) -> None:
        """Write the description and point the alias to this version. Idempotent."""
        with self._client(f"{model} version {version}") as client:
            client.update_model_version(model, _number(version), description=description)
            client.set_registered_model_alias(model, _alias(environment), version)

    def uncrown(self, model: str, environment: str) -> None:
        """Remove the alias `champion-<environment>`. Idempotent."""
        with self._client(model) as client:
            client.delete_registered_model_alias(model, _alias(environment))

    @contextmanager
    def _client(self, what: str = "search") -> Iterator[MlflowClient]:
        """A client whose errors are ours."""
        for name, value in _CLIENT_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            yield MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
        except MlflowException as err:
            if err.error_code in _MISSING:
                raise NotFoundError(f"MLflow has no {what}") from err
            raise OutsideSystemError(
                "MLflow", f"{self._uri}: {what}: {err.message[:500]}", retryable=err.error_code not in _PERMANENT
            ) from err

    def _search(self, client: MlflowClient) -> Iterator[ModelVersion]:
        token: str | None = None
        while True:
            page = client.search_model_versions(
                f"tags.promotion = '{_REQUESTED}'",
                max_results=self._page_size,
                order_by=["creation_timestamp ASC", "name ASC", "version_number ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def _registered(
        self, client: MlflowClient, version: ModelVersion, owners: dict[str, str | None]
    ) -> RegisteredVersion:
        """Put a model version into our words; `owners` remembers runs within one call."""
        if version.run_id and version.run_id not in owners:
            owners[version.run_id] = _run_owner(client, version.run_id)
        return RegisteredVersion(
            registry=self.name,
            model=version.name,
            version=str(version.version),
            artifact_uri=_location(client, version),
            ready=version.status == "READY",
            source_run=version.run_id or None,
            owner=owners.get(version.run_id) if version.run_id else None,
            tags=dict(version.tags),
            page_url=f"{self._uri}/#/models/{version.name}/versions/{version.version}",
        )

    def _refuse(self, client: MlflowClient, version: ModelVersion, err: ValidationError) -> None:
        first = err.errors()[0]
        reason = f"this entry cannot be promoted: {first['loc'][0]}: {first['msg']}"
        log.warning("MLflow model %r version %s refused: %s", version.name, version.version, reason)
        _write_status(client, version.name, str(version.version), RegistryStatus("refused", None, reason))


def _write_status(client: MlflowClient, model: str, version: str, status: RegistryStatus) -> None:
    client.set_model_version_tag(model, version, "promotion.reason", status.reason)
    if status.request_id is None:
        client.delete_model_version_tag(model, version, "promotion.request_id")
    else:
        client.set_model_version_tag(model, version, "promotion.request_id", status.request_id)
    client.set_model_version_tag(model, version, "promotion", status.state)


def _location(client: MlflowClient, version: ModelVersion) -> str:
    """Where the bytes lie; a `models:/` source only points at a logged model, which MLflow has to resolve."""
    if not str(version.source).startswith("models:/"):
        return str(version.source)
    return str(client.get_model_version_download_uri(version.name, version.version))


def _run_owner(client: MlflowClient, run_id: str) -> str | None:
    """Who ran it, as MLflow was told by the client; None when the run is gone."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as err:
        if err.error_code in _MISSING:
            return None
        raise
    return run.data.tags.get("mlflow.user") or run.info.user_id or None


def _number(version: str) -> str:
    if not version.isdecimal():
        raise NotFoundError(f"MLflow has no version {version!r}", hint="its versions are numbers")
    return version


def _alias(environment: str) -> str:
    return f"champion-{environment}"
