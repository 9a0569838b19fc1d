"""Keeps evidence: one object a run, written once by the validating pod, locked from its first byte.

    <request>/<check>/<run>/evidence.json    by the pod, through a presigned URL for exactly this key
    <request>/_documents/<name>              by us

The bucket's default retention locks both (`s3_client.ensure_buckets`). `If-None-Match: *` is part of the URL's
signature, so a second upload is refused. Whoever holds our credentials could still add a version on top: reading
refuses a key with more than one version, or a delete marker.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from model_approval.adapters.s3_client import S3Client, error_code, s3_client, s3_errors
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError
from model_approval.domain.manifest import check_path
from model_approval.settings import Settings

MAX_EVIDENCE_BYTES = 64 * 1024 * 1024
"""100 000 coverage lines of 500 bytes each; a presigned URL cannot bound what a pod sends."""


class S3EvidenceStore:
    """Evidence in a bucket with Object Lock."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bucket = settings.evidence_bucket

    def upload_url(
        self, request_id: str, check: str, run: int, *, valid_s: int, endpoint_url: str | None = None
    ) -> str:
        """A write-once presigned PUT URL for exactly one key.

        The uploader sends `If-None-Match: *` (it is signed) and, for AWS, `Content-MD5` (a locked bucket asks for it).
        """
        return str(
            s3_client(self._settings, endpoint_url=endpoint_url).generate_presigned_url(
                "put_object",
                Params={"Bucket": self._bucket, "Key": _evidence_key(request_id, check, run), "IfNoneMatch": "*"},
                ExpiresIn=valid_s,
            )
        )

    def read(self, request_id: str, check: str, run: int) -> bytes | None:
        """The object's bytes, or None when the validator left none.

        Raises:
            IntegrityError: The key was written over, deleted, or is not locked.
            EvidenceError: Larger than `MAX_EVIDENCE_BYTES`.
        """
        return self._read_once_written(_evidence_key(request_id, check, run))

    def put_document(self, request_id: str, name: str, data: bytes, *, content_type: str) -> str:
        """Keep a document of ours with the evidence; returns its digest. Putting the same bytes again changes nothing.

        Raises:
            IntegrityError: Other bytes are kept under this name.
        """
        from botocore.exceptions import ClientError

        key = _document_key(request_id, name)
        with s3_errors(f"s3://{self._bucket}/{key}"):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=data,
                    ContentType=content_type,
                    ChecksumSHA256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
                    IfNoneMatch="*",
                )
            except ClientError as err:
                if error_code(err) not in ("PreconditionFailed", "ConditionalRequestConflict"):
                    raise
        if self._read_once_written(key) != data:
            raise IntegrityError(f"document {name} of {request_id} is kept already with other bytes")
        return sha256_of(data)

    def get_document(self, request_id: str, name: str) -> bytes:
        """A document's bytes.

        Raises:
            NotFoundError: No such document.
            IntegrityError: It was written over, deleted, or is not locked.
        """
        data = self._read_once_written(_document_key(request_id, name))
        if data is None:
            raise NotFoundError(f"{request_id} has no document {name}")
        return data

    @property
    def _client(self) -> S3Client:
        return s3_client(self._settings)

    def _read_once_written(self, key: str) -> bytes | None:
        where = f"s3://{self._bucket}/{key}"
        with s3_errors(where):
            versions, markers = self._history(key)
            if not versions and not markers:
                return None
            if markers or len(versions) != 1:
                raise IntegrityError(
                    f"{where} has {len(versions)} versions and {len(markers)} delete markers; evidence is written once",
                    hint="somebody with the store's credentials changed it: look at its versions, re-run the check",
                )
            answer = self._client.get_object(Bucket=self._bucket, Key=key, VersionId=versions[0]["VersionId"])
            with answer["Body"] as body:
                _require_locked(answer, where)
                return _bounded(body, where)

    def _history(self, key: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        versions: list[dict[str, Any]] = []
        markers: list[dict[str, Any]] = []
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self._bucket, Prefix=key):
            versions += [item for item in page.get("Versions", ()) if item["Key"] == key]
            markers += [item for item in page.get("DeleteMarkers", ()) if item["Key"] == key]
        return versions, markers


def _evidence_key(request_id: str, check: str, run: int) -> str:
    return _safe(f"{request_id}/{check}/{run}/evidence.json")


def _document_key(request_id: str, name: str) -> str:
    # No check can be called `_documents`: their names begin with a letter.
    return _safe(f"{request_id}/_documents/{name}")


def _safe(key: str) -> str:
    check_path(key)
    return key


def _require_locked(answer: dict[str, Any], where: str) -> None:
    if not answer.get("ObjectLockMode") or not answer.get("ObjectLockRetainUntilDate"):
        raise IntegrityError(
            f"{where} is not locked, so it could be replaced", hint="give the evidence bucket a default retention"
        )


def _bounded(body: Any, where: str) -> bytes:  # noqa: ANN401  # the SDK's stream has no type
    data = bytes(body.read(MAX_EVIDENCE_BYTES + 1))
    if len(data) > MAX_EVIDENCE_BYTES:
        raise EvidenceError(f"{where} is larger than {MAX_EVIDENCE_BYTES} bytes")
    return data
