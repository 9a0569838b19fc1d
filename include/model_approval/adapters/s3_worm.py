"""Does a bucket keep its promises? Six probes for start-up; a store that breaks one cannot hold the audit log.

Stores differ: some accept Object Lock headers and enforce nothing. Each probe does what an attacker or a careless
program would do, and expects to be refused.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta

from model_approval.adapters.s3_client import S3Client, s3_errors
from model_approval.domain.errors import ModelApprovalError, OutsideSystemError
from model_approval.ports import Clock

_BODY = b"a probe of this bucket's promises"
_LOCKED_FOR = timedelta(minutes=10)
"""Short, since nobody can remove the probe before; long enough that no clock skew ends it during the probe."""


def require_worm(client: S3Client, bucket: str, *, mode: str, clock: Clock) -> None:
    """Stop a start-up on a bucket that would not keep the audit log. Leaves one small locked object below `probe/`.

    Cost: about ten requests.

    Args:
        client: With the identity that will write the log.
        bucket: The audit bucket.
        mode: `COMPLIANCE` or `GOVERNANCE`.
        clock: Tells until when the probe is to be locked.

    Raises:
        OutsideSystemError: Names every promise that the store breaks; or it cannot be reached.
    """
    broken = WormProbe(client, bucket, mode=mode, clock=clock).broken_promises()
    if broken:
        raise OutsideSystemError(
            "object store",
            f"bucket {bucket} cannot hold an audit log: {'; '.join(broken)}",
            retryable=False,
            hint="use a store with S3 Object Lock, and a bucket that was made with it",
        )


class WormProbe:
    """The probes, over one object of their own."""

    def __init__(self, client: S3Client, bucket: str, *, mode: str, clock: Clock) -> None:
        self._client, self._bucket, self._mode = client, bucket, mode
        self._key = f"probe/{secrets.token_hex(8)}"
        self._until = clock().replace(microsecond=0) + _LOCKED_FOR
        self._version = ""

    def broken_promises(self) -> list[str]:
        """What the store does otherwise than it must, in words; empty when all is well.

        Raises:
            OutsideSystemError: The store cannot be reached, or refuses even the probe's own object.
        """
        with s3_errors(f"probe of bucket {self._bucket}"):
            versioning = self._client.get_bucket_versioning(Bucket=self._bucket).get("Status")
            wrong_sum_taken = not self._refused(lambda: self._put(body=b"other bytes than the checksum's"))
            if not wrong_sum_taken:
                self._version = self._put().get("VersionId", "")
        if wrong_sum_taken or not self._version:
            return ["a body with a wrong checksum is stored" if wrong_sum_taken else "objects have no versions"]
        found = {
            "versioning is off": versioning != "Enabled",
            "an existing key can be written with If-None-Match": not self._refused(self._put),
            # Before its retention is touched: on a store that forgot the lock, touching would set one.
            "a locked version can be deleted": not self._refused(self._delete),
            "a retention can be shortened": not self._refused(self._shorten),
            "an overwritten key loses its old version": not self._keeps_old_version(),
        }
        return [promise for promise, is_broken in found.items() if is_broken]

    def _refused(self, call: Callable[[], object]) -> bool:
        from botocore.exceptions import ClientError

        with s3_errors(f"probe of bucket {self._bucket}"):
            try:
                call()
            except ClientError as err:
                # A server's own trouble (5xx) is no refusal: the promise is then unproven.
                if err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500) >= 500:
                    raise
                return True
        return False

    def _put(self, body: bytes = _BODY) -> dict[str, str]:
        answer: dict[str, str] = self._client.put_object(
            Bucket=self._bucket,
            Key=self._key,
            Body=body,
            IfNoneMatch="*",
            ChecksumSHA256=base64.b64encode(hashlib.sha256(_BODY).digest()).decode(),
            ObjectLockMode=self._mode,
            ObjectLockRetainUntilDate=self._until,
        )
        return answer

    def _shorten(self) -> object:
        retention = {"Mode": self._mode, "RetainUntilDate": self._until - _LOCKED_FOR / 2}
        return self._client.put_object_retention(
            Bucket=self._bucket, Key=self._key, VersionId=self._version, Retention=retention
        )

    def _delete(self) -> object:
        return self._client.delete_object(Bucket=self._bucket, Key=self._key, VersionId=self._version)

    def _keeps_old_version(self) -> bool:
        try:
            with s3_errors(f"probe of bucket {self._bucket}"):
                self._client.put_object(Bucket=self._bucket, Key=self._key, Body=b"written over")
                old = self._client.get_object(Bucket=self._bucket, Key=self._key, VersionId=self._version)
                return bool(old["Body"].read() == _BODY)
        except ModelApprovalError as err:
            if err.retryable:
                raise
            return False
