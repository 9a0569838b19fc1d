"""Every setting, read from the environment once per process (`MODEL_APPROVAL_<FIELD>`).

Nothing here opens a connection or imports an SDK: DAG files may read settings while they are parsed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from model_approval.domain.errors import PolicyError
from model_approval.places import CONFIGURATION, VALIDATORS_PYTHON

PREFIX = "MODEL_APPROVAL_"


class Settings(BaseModel):
    """One field, one environment variable. Times in seconds unless the name says otherwise."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Path(".state")
    """Folder of this installation's own files: keys, the SQLite database, local deployments."""
    config_dir: Path = CONFIGURATION
    """Folder that holds `policies/`, `committees/` and `targets/`."""
    database_url: str | None = None
    """SQLAlchemy URL of the review database. Never Airflow's own: task processes see that one overwritten.
    Unset: SQLite in `home`."""
    store_endpoint_url: str | None = None
    """S3 endpoint; unset for AWS."""
    store_region: str = "us-east-1"
    """Region that requests are signed for."""
    store_access_key: SecretStr | None = None
    """Access key of an identity that may write evidence and audit entries and read models."""
    store_secret_key: SecretStr | None = None
    """Unset: the SDK's own credential chain (instance role, web identity)."""
    evidence_bucket: str = "model-evidence"
    """Bucket with Object Lock that validators' reports go to."""
    audit_bucket: str = "model-audit"
    """Bucket with Object Lock that holds the audit log."""
    audit_lock_mode: Literal["COMPLIANCE", "GOVERNANCE"] = "COMPLIANCE"
    """GOVERNANCE only for trials: an administrator can lift it."""
    evidence_retention_days: Annotated[int, Field(ge=1, le=36_500)] = 365
    """How long the evidence bucket locks each object from its first byte; policies lock audit entries themselves."""
    mlflow_tracking_uri: str | None = None
    """Unset: no MLflow registry is watched."""
    mlflow_artifact_root: str | None = None
    """S3 URI behind `mlflow-artifacts:/`, for servers that proxy artifacts."""
    s3_registry_bucket: str | None = None
    """Bucket whose object tags are watched as a registry; unset: none."""
    signing_key_file: Path | None = None
    """Ed25519 private key (PEM). Unset: `home/keys/signing.pem`, made by `model-approval init`."""
    trusted_keys_dir: Path | None = None
    """Folder of public keys (PEM) that signatures are checked against. Unset: `home/keys/trusted`."""
    validators_python: Path | None = None
    """Interpreter of the validators' environment (local runtime, `scan`, `benchmark`). Unset: the one that `make setup`
    makes, `.venv-validators` beside `include/`."""
    osv_database: Path | None = None
    """Known vulnerabilities, made by `model-approval vulnerabilities import`. Unset: models that declare packages are
    *inconclusive*, unless the validators' image holds a database. Validator pods read their image's own."""
    serving_dir: Path | None = None
    """Where the local target keeps desired and observed state. Unset: `home/serving`."""
    kubeconfig: Path | None = None
    """Clusters that Kubernetes targets deploy to; with several contexts, the one named like the target's
    `connection_id` is used. Unset: the pod's own service account, else `KUBECONFIG`. Validator pods use the Airflow
    connection instead."""
    intake_poll_s: Annotated[float, Field(ge=0.5, le=3600)] = 5.0
    """How often a registry is asked for tags. Five seconds: a person who tags is still looking."""
    review_poll_s: Annotated[float, Field(ge=0.5, le=300)] = 5.0
    """How often waiting triggers ask for decisions; the plugin wakes them earlier."""
    gpu_pool: str = "default_pool"
    """Airflow pool of the benchmarks (made with `include_deferred`), so that two never measure each other."""

    @property
    def registry_names(self) -> tuple[str, ...]:
        """The registries that are watched."""
        watched = {"mlflow": self.mlflow_tracking_uri, "s3": self.s3_registry_bucket}
        return tuple(name for name, where in watched.items() if where)

    @property
    def review_database_url(self) -> str:
        """The database URL with its default filled in."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'reviews.sqlite'}"

    @property
    def signing_key(self) -> Path:
        """The private key's path with its default filled in."""
        return self.signing_key_file or self.home / "keys" / "signing.pem"

    @property
    def trusted_keys(self) -> Path:
        """The public keys' folder with its default filled in."""
        return self.trusted_keys_dir or self.home / "keys" / "trusted"

    @property
    def validators_interpreter(self) -> Path:
        """The validators' interpreter with its default filled in."""
        return self.validators_python or VALIDATORS_PYTHON

    @property
    def serving_root(self) -> Path:
        """The local target's folder with its default filled in."""
        return self.serving_dir or self.home / "serving"


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        PolicyError: A variable is unknown or unreadable; names it and says what is wrong.
    """
    source = os.environ if environment is None else environment
    given = {key.removeprefix(PREFIX).lower(): value for key, value in source.items() if key.startswith(PREFIX)}
    try:
        return Settings.model_validate(given)
    except ValidationError as err:
        first = err.errors()[0]
        name = PREFIX + "_".join(str(part) for part in first["loc"]).upper()
        raise PolicyError(first["msg"], field=name, hint="see include/docs/settings.md") from err
