"""Fetches a model's files for serving and verifies each one: the serving pod's init container.

    python -m model_approval.validators.serve_fetch --manifest FILE --uri s3://bucket/prefix --folder DIR \
        [--endpoint-url URL] [--region NAME]

Credentials come from the environment as the AWS SDK reads them (`AWS_ACCESS_KEY_ID`, a web identity, ...), and only
this container has them: the server starts from the files and knows no store.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from model_approval.domain.errors import EvidenceError, ModelApprovalError, NotFoundError, OutsideSystemError
from model_approval.domain.manifest import ArtifactManifest, FileEntry
from model_approval.validators.contract import plain_line, read_record
from model_approval.validators.fetch import empty_folder, write_verified
from model_approval.validators.transfer import with_retries

_PERMANENT = frozenset(
    {"NoSuchKey", "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "404", "403"}
)


def fetch_from_store(client: Any, uri: str, manifest: ArtifactManifest, folder: Path) -> None:  # noqa: ANN401
    """Download every file of a manifest from below an S3 URI into a folder, emptied before.

    Raises:
        IntegrityError: A file is not the pinned one; names it with both digests.
        NotFoundError: A file is not there.
        OutsideSystemError: The store does not deliver.
    """
    bucket, prefix = _parts(uri)
    empty_folder(folder)
    for entry in manifest.files:
        key = f"{prefix}/{entry.path}" if prefix else entry.path
        with_retries(partial(_fetch_object, client, bucket, key, entry, folder / entry.path))


def _parts(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
        raise EvidenceError(f"{uri!r} is no s3://bucket/prefix")
    return parts.netloc, parts.path.strip("/")


def _fetch_object(client: Any, bucket: str, key: str, entry: FileEntry, path: Path) -> None:  # noqa: ANN401
    from botocore.exceptions import BotoCoreError, ClientError

    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        with client.get_object(Bucket=bucket, Key=key)["Body"] as body, path.open("xb") as destination:
            write_verified(entry, cast("BinaryIO", body), destination)
    except ClientError as err:
        code = str(err.response.get("Error", {}).get("Code", ""))
        if code in ("NoSuchKey", "404"):
            raise NotFoundError(f"{entry.path}: s3://{bucket}/{key} does not exist") from err
        raise OutsideSystemError("object store", f"{entry.path}: {err}", retryable=code not in _PERMANENT) from err
    except (BotoCoreError, OSError) as err:
        raise OutsideSystemError("object store", f"{entry.path}: {err}") from err
    path.chmod(0o444)


def _client(endpoint_url: str | None, region: str) -> Any:  # noqa: ANN401  # botocore makes its clients at run time
    import botocore.session
    from botocore.config import Config

    config = Config(connect_timeout=10, read_timeout=60, retries={"max_attempts": 3, "mode": "standard"})
    return botocore.session.get_session().create_client(
        "s3", endpoint_url=endpoint_url, region_name=region, config=config
    )


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.serve_fetch", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--uri", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--endpoint-url")
    parser.add_argument("--region", default="us-east-1")
    given = parser.parse_args(argv)
    try:
        manifest = read_record(ArtifactManifest, given.manifest)
        fetch_from_store(_client(given.endpoint_url, given.region), given.uri, manifest, given.folder)
    except (ModelApprovalError, OSError) as err:
        sys.stderr.write(f"serve_fetch: {plain_line(str(err))}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
