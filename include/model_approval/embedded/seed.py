"""Registers model versions as a data scientist's tools would: a run with metrics, bytes in S3, a version, tags.

Speaks MLflow's REST interface, so that a start need not import MLflow (300 MB, several seconds).
"""

from __future__ import annotations

import time
from typing import cast

import httpx

from model_approval.adapters.s3_client import s3_client, s3_errors
from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.airflow_api import Json
from model_approval.embedded.sample_models import OWNER, SampleModel
from model_approval.settings import Settings

_EXPERIMENT = "fraud"


class RegistrySeed:
    """A data scientist at work."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = httpx.Client(
            base_url=f"{settings.mlflow_tracking_uri}/api/2.0/mlflow/", timeout=30, trust_env=False
        )

    def __enter__(self) -> RegistrySeed:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def register(self, model: SampleModel) -> str:
        """Run, upload, register. Returns the new version's number; tags nothing."""
        run = self._run(model)
        for path, data in model.files.items():
            self.write(f"{run['info']['artifact_uri']}/model", path, data)
        self._create_model(model.name)
        body = {
            "name": model.name,
            "source": f"{run['info']['artifact_uri']}/model",
            "run_id": run["info"]["run_id"],
            "tags": [{"key": "semantic_version", "value": str(model.payload["semantic_version"])}],
        }
        return cast(str, self._post("model-versions/create", body)["model_version"]["version"])

    def request(self, model: SampleModel, version: str) -> None:
        """Tag a version, the payload first: the tag `promotion` is what the sensor looks for."""
        for key, value in (("promotion.payload", model.payload_json), ("promotion", "requested")):
            self._post("model-versions/set-tag", {"name": model.name, "version": version, "key": key, "value": value})

    def tags(self, name: str, version: str) -> dict[str, str]:
        """A version's tags: what the registry shows of its promotion."""
        return {tag["key"]: tag["value"] for tag in self._version(name, version).get("tags", [])}

    def artifact_uri(self, name: str, version: str) -> str:
        """Where a version's bytes lie."""
        return cast(str, self._version(name, version)["source"])

    def alias(self, name: str, alias: str) -> str | None:
        """The version that holds an alias, or None."""
        found = self._get("registered-models/get", {"name": name})["registered_model"].get("aliases", [])
        return next((entry["version"] for entry in found if entry["alias"] == alias), None)

    def write(self, uri: str, path: str, data: bytes) -> None:
        """Put a file of an artifact, over what is there: model buckets are not locked, hence the pinned digest."""
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        with s3_errors(f"{uri}/{path}"):
            s3_client(self._settings).put_object(Bucket=bucket, Key=f"{prefix}/{path}", Body=data)

    def _run(self, model: SampleModel) -> Json:
        now = int(time.time() * 1000)
        body = {
            "experiment_id": self._experiment(),
            "run_name": model.name,
            "start_time": now,
            "tags": [
                {"key": "mlflow.user", "value": OWNER},
                {"key": "mlflow.source.name", "value": "sample_models.py"},
            ],
        }
        run = self._post("runs/create", body)["run"]
        metrics = [{"key": key, "value": value, "timestamp": now, "step": 0} for key, value in model.metrics.items()]
        run_id = run["info"]["run_id"]
        self._post("runs/log-batch", {"run_id": run_id, "metrics": metrics})
        self._post("runs/update", {"run_id": run_id, "status": "FINISHED", "end_time": int(time.time() * 1000)})
        return run

    def _experiment(self) -> str:
        answer = self._client.get("experiments/get-by-name", params={"experiment_name": _EXPERIMENT})
        if answer.status_code == 200:
            return cast(str, answer.json()["experiment"]["experiment_id"])
        return cast(str, self._post("experiments/create", {"name": _EXPERIMENT})["experiment_id"])

    def _create_model(self, name: str) -> None:
        if self._client.get("registered-models/get", params={"name": name}).status_code == 404:
            self._post("registered-models/create", {"name": name})

    def _version(self, name: str, version: str) -> Json:
        return self._get("model-versions/get", {"name": name, "version": version})["model_version"]

    def _get(self, path: str, params: dict[str, str]) -> Json:
        return self._answer(path, self._client.get(path, params=params))

    def _post(self, path: str, body: object) -> Json:
        return self._answer(path, self._client.post(path, json=body))

    @staticmethod
    def _answer(path: str, answer: httpx.Response) -> Json:
        if answer.is_error:
            raise OutsideSystemError("MLflow", f"{path}: {answer.status_code} {answer.text[:300]}", retryable=False)
        return answer.json()
