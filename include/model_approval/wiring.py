"""Puts adapters behind ports: the one place that knows which outside system is which.

Every import of an adapter happens inside a function, when its service is first needed.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from model_approval.domain.audit import StreamHead
from model_approval.domain.deployment import Runtime, Target
from model_approval.domain.errors import PolicyError
from model_approval.policy.catalog import FileCatalog
from model_approval.ports import Deployer, ModelRegistry, Services, ValidatorRunner, Verifier
from model_approval.settings import Settings, load_settings
from model_approval.stages.audit import AuditReport, export_stream, read_heads, verify_bundle, verify_log


def utc_now() -> datetime:
    """The real clock."""
    return datetime.now(UTC)


@cache
def services() -> Services:
    """This process's services, from its environment. Opens no connection yet."""
    return make_services(load_settings())


def make_services(settings: Settings) -> Services:
    """Services over the real systems that the settings name."""
    from model_approval.adapters.expectations import GreatExpectationsProfiler
    from model_approval.adapters.s3_artifacts import S3ArtifactStore
    from model_approval.adapters.s3_audit import S3AuditLog
    from model_approval.adapters.s3_evidence import S3EvidenceStore
    from model_approval.adapters.signing import FileSigner, TrustedKeys
    from model_approval.adapters.sql.reviews import SqlReviewStore

    signer, verifier = FileSigner(settings.signing_key), TrustedKeys(settings.trusted_keys)
    return Services(
        registries={name: _registry(name, settings) for name in settings.registry_names},
        artifacts=S3ArtifactStore(settings),
        evidence=S3EvidenceStore(settings),
        reviews=SqlReviewStore(settings.review_database_url),
        audit=S3AuditLog(settings, signer, verifier, utc_now),
        signer=signer,
        verifier=verifier,
        deployer_for=lambda target: _deployer(target, settings),
        profiler=GreatExpectationsProfiler(),
        policies=FileCatalog(settings.config_dir),
        clock=utc_now,
    )


@cache
def validator_runner() -> ValidatorRunner:
    """Runs validators as child processes on this machine."""
    from model_approval.adapters.local_validators import LocalValidatorRunner

    settings = load_settings()
    return LocalValidatorRunner(settings.validators_interpreter, osv_database=settings.osv_database)


def initialise(settings: Settings) -> list[str]:
    """Make keys, database and buckets where they are missing; says what was done, a line each.

    Raises:
        OutsideSystemError: The store breaks a promise that the audit log leans on, or cannot be reached.
    """
    from model_approval.adapters.s3_client import ensure_buckets, s3_client
    from model_approval.adapters.s3_worm import require_worm
    from model_approval.adapters.signing import create_key

    lines = []
    if settings.signing_key.exists():
        lines.append(f"signing key: {settings.signing_key} is there")
    else:
        key_id = create_key(settings.signing_key, settings.trusted_keys)
        lines.append(f"signing key: made {settings.signing_key} (key id {key_id[:12]})")
    lines.append(upgrade_reviews(settings))
    ensure_buckets(settings)
    require_worm(s3_client(settings), settings.audit_bucket, mode=settings.audit_lock_mode, clock=utc_now)
    lines.append(f"buckets: {settings.evidence_bucket} and {settings.audit_bucket} lock what is written")
    return lines


def upgrade_reviews(settings: Settings) -> str:
    """Bring the review database up to date; says to which revision."""
    from model_approval.adapters.sql.migrations import upgrade_database

    return f"review database: at revision {upgrade_database(settings.review_database_url)}"


def verify_whole_log(keys: Path | None, heads: Path | None = None) -> AuditReport:
    """Verify the audit log where it lies, against the trusted keys and, if given, heads kept outside the store."""
    return verify_log(services().audit, _trusted(keys), _pinned(heads))


def verify_bundle_file(bundle: Path, keys: Path | None, heads: Path | None = None) -> AuditReport:
    """Verify an exported file with nothing but public keys."""
    return verify_bundle(bundle.read_bytes(), _trusted(keys), _pinned(heads))


def export_record(request_id: str) -> bytes:
    """One promotion's audit stream as a bundle."""
    services().reviews.get(request_id)
    return export_stream(services().audit, request_id)


def _trusted(keys: Path | None) -> Verifier:
    from model_approval.adapters.signing import TrustedKeys

    return TrustedKeys(keys or load_settings().trusted_keys)


def _pinned(heads: Path | None) -> dict[str, StreamHead] | None:
    return read_heads(heads.read_bytes()) if heads else None


def _registry(name: str, settings: Settings) -> ModelRegistry:
    if name == "mlflow":
        from model_approval.adapters.mlflow_registry import MlflowRegistry

        return MlflowRegistry(settings)
    from model_approval.adapters.s3_registry import S3Registry

    return S3Registry(settings)


def _deployer(target: Target, settings: Settings) -> Deployer:
    if target.runtime is Runtime.LOCAL:
        from model_approval.adapters.local_serving import LocalDeployer
        from model_approval.adapters.s3_artifacts import S3ArtifactStore

        return LocalDeployer(settings, S3ArtifactStore(settings))
    if target.kubernetes is None:
        raise PolicyError(f"target {target.name} has no block `kubernetes`", file=f"targets/{target.name}.yaml")
    from model_approval.adapters.kubernetes.deployer import KubernetesDeployer

    return KubernetesDeployer(settings, target.kubernetes)
