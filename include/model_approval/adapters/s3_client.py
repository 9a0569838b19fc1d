"""The one place where an S3 client is made and its errors are put into our words.

Clients are thread-safe and kept per process and settings; credentials come from the settings or, when they name none,
from the SDK's own chain. Works with AWS S3 and with any store that takes path-style requests and signature v4.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from model_approval.domain.errors import NotFoundError, OutsideSystemError
from model_approval.settings import Settings

if TYPE_CHECKING:
    from botocore.client import BaseClient

S3Client = Any
"""boto3 makes its clients at run time and ships no types; the name says what is meant."""

_MISSING = frozenset({"404", "NoSuchKey", "NoSuchBucket", "NotFound", "NoSuchVersion"})
_PERMANENT = frozenset(
    {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidBucketState", "InvalidRequest"}
)


def s3_client(
    settings: Settings, *, endpoint_url: str | None = None, timeout_s: float = 20.0, attempts: int = 4
) -> S3Client:
    """A client for the store of the settings.

    Args:
        settings: Names endpoint, region and credentials.
        endpoint_url: Another address of the same store, for presigned URLs that somebody else will use
            (signature v4 covers the host).
        timeout_s: For each read; connecting has a quarter of it.
        attempts: How often a call is tried in all.
    """
    return _client(
        endpoint_url or settings.store_endpoint_url,
        settings.store_region,
        settings.store_access_key.get_secret_value() if settings.store_access_key else None,
        settings.store_secret_key.get_secret_value() if settings.store_secret_key else None,
        (timeout_s, attempts),
        os.getpid(),
    )


@lru_cache(maxsize=32)
def _client(
    endpoint_url: str | None,
    region: str,
    access_key: str | None,
    secret_key: str | None,
    patience: tuple[float, int],
    pid: int,
) -> BaseClient:
    """`pid` is part of the cache's key: a forked child must not speak over its parent's connections."""
    import boto3
    from botocore.config import Config

    timeout_s, attempts = patience
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        config=Config(
            signature_version="s3v4",
            # Virtual-hosted addressing needs DNS names per bucket, which only AWS has.
            s3={"addressing_style": "path" if endpoint_url else "auto"},
            connect_timeout=max(1.0, timeout_s / 4),
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": attempts},
            max_pool_connections=16,
            # The SDK's default trailing checksum turns a body into a stream that other stores do not all take; we name
            # SHA-256 ourselves wherever a checksum matters.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def s3_errors(what: str) -> Iterator[None]:
    """Turn the SDK's errors into ours.

    Args:
        what: The subject in words, for example `s3://bucket/key`.

    Raises:
        NotFoundError: No such bucket, key or version.
        OutsideSystemError: Everything else; not retryable when the store refused us.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as err:
        code = error_code(err)
        if code in _MISSING:
            raise NotFoundError(f"{what} does not exist in the object store") from err
        message = err.response.get("Error", {}).get("Message") or "no message"
        raise OutsideSystemError(
            "object store", f"{what}: {code}: {message}", retryable=code not in _PERMANENT
        ) from err
    except BotoCoreError as err:
        raise OutsideSystemError("object store", f"{what}: {err}") from err


def error_code(err: Exception) -> str:
    """The store's error code in a botocore `ClientError`; empty for other errors."""
    response = getattr(err, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def ensure_buckets(settings: Settings) -> None:
    """Make the buckets that the settings name, those for evidence and audit with Object Lock. Idempotent.

    Making a bucket or setting its retention needs an administrator's identity; finding all in order does not.
    Evidence is locked from its first byte by the bucket's default retention, since the validating pod writes it with a
    URL that can carry no lock of its own.

    Raises:
        OutsideSystemError: The store refuses, or a bucket is there without Object Lock (it cannot be added later).
    """
    client = s3_client(settings)
    for bucket in sorted(_model_buckets(settings)):
        _ensure_bucket(client, bucket, locked=False)
    for bucket in (settings.evidence_bucket, settings.audit_bucket):
        _ensure_bucket(client, bucket, locked=True)
    _ensure_default_retention(
        client, settings.evidence_bucket, settings.audit_lock_mode, settings.evidence_retention_days
    )


def _model_buckets(settings: Settings) -> set[str]:
    root = settings.mlflow_artifact_root or ""
    named = {settings.s3_registry_bucket, split_uri(root)[0] if root.startswith("s3://") else None}
    return {bucket for bucket in named if bucket}


def _ensure_bucket(client: S3Client, bucket: str, *, locked: bool) -> None:
    with s3_errors(f"bucket {bucket}"):
        if not _exists(client, bucket):
            client.create_bucket(Bucket=bucket, **({"ObjectLockEnabledForBucket": True} if locked else {}))
        if locked and _lock_of(client, bucket).get("ObjectLockEnabled") != "Enabled":
            raise OutsideSystemError(
                "object store",
                f"bucket {bucket} has no Object Lock, so its records could be changed",
                retryable=False,
                hint="name a new bucket: Object Lock is chosen when a bucket is made",
            )


def _ensure_default_retention(client: S3Client, bucket: str, mode: str, days: int) -> None:
    wanted = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": days}}}
    with s3_errors(f"default retention of bucket {bucket}"):
        if _lock_of(client, bucket) != wanted:
            client.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=wanted)


def _exists(client: S3Client, bucket: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        client.head_bucket(Bucket=bucket)
    except ClientError as err:
        if error_code(err) in _MISSING:
            return False
        raise
    return True


def _lock_of(client: S3Client, bucket: str) -> dict[str, Any]:
    """The bucket's Object Lock configuration; empty when it has none."""
    from botocore.exceptions import ClientError

    try:
        answer: dict[str, Any] = client.get_object_lock_configuration(Bucket=bucket)
    except ClientError as err:
        if error_code(err) == "ObjectLockConfigurationNotFoundError":
            return {}
        raise
    return dict(answer.get("ObjectLockConfiguration", {}))


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key prefix (without slashes at its ends) of `s3://bucket/prefix`.

    Raises:
        ValueError: Not such a URI.
    """
    bucket, _, prefix = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not bucket:
        raise ValueError(f"{uri!r} is not s3://bucket/prefix")
    return bucket, prefix.strip("/")
