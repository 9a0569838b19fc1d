"""Makes the buckets: model bytes in a plain one, evidence and audit log in ones with Object Lock."""

from __future__ import annotations

from model_approval.adapters.s3_client import s3_client, s3_errors
from model_approval.domain.errors import NotFoundError
from model_approval.settings import Settings


def make_buckets(admin: Settings, *, plain: tuple[str, ...], locked: tuple[str, ...]) -> None:
    """Create those that do not exist.

    Args:
        admin: Store and an identity that may make buckets.
        plain: Names of buckets whose objects may be changed.
        locked: Names of buckets with Object Lock, which can only be chosen now.

    Raises:
        OutsideSystemError: The store refused.
    """
    for name in (*plain, *locked):
        client = s3_client(admin)
        try:
            with s3_errors(f"bucket {name}"):
                client.head_bucket(Bucket=name)
        except NotFoundError:
            with s3_errors(f"bucket {name}"):
                client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=name in locked)
