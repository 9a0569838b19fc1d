"""Reads model bytes where registries say they lie. Never writes, never loads.

| URI | where it is read |
|---|---|
| `s3://bucket/prefix` | every object below the prefix; directory markers are no files |
| `mlflow-artifacts:/path` | below `settings.mlflow_artifact_root` |
| `file:///folder` | only below the `local_root` given by the caller |

A registry entry is written by people who cannot read our store: so a URI that points at the evidence or audit bucket,
or at a file of this machine outside `local_root`, is refused instead of being read with our credentials.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, cast
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from model_approval.adapters.s3_client import S3Client, s3_client, s3_errors, split_uri
from model_approval.domain.digests import sha256_of_stream
from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError
from model_approval.domain.manifest import MAX_FILES, ArtifactManifest, FileEntry, check_path, manifest_of_folder
from model_approval.settings import Settings

_PARALLEL_READS = 4
"""Hashing keeps one core busy at about 1.5 GB/s; four streams hide the store's latency on many small files."""


class S3ArtifactStore:
    """Artifacts in S3, and folders below `local_root` for tests and the command line."""

    def __init__(self, settings: Settings, *, local_root: Path | None = None) -> None:
        self._settings = settings
        self._local_root = local_root.resolve() if local_root else None

    def manifest(self, uri: str) -> ArtifactManifest:
        """Hash every file below the URI, now. Time proportional to the artifact's size, constant memory.

        Raises:
            NotFoundError: Nothing is there.
            IntegrityError: A key that no manifest can hold (names it), or a URI that must not be read.
            OutsideSystemError: The store cannot be reached, or broke off.
        """
        where = self._resolve(uri)
        if isinstance(where, Path):
            return _manifest_of_path(where)
        bucket, prefix = where
        paths = self._list(bucket, prefix)
        with ThreadPoolExecutor(min(_PARALLEL_READS, len(paths))) as pool:
            files = tuple(pool.map(lambda path: self._entry(bucket, prefix, path), paths))
        try:
            return ArtifactManifest(files=files)
        except ValidationError as err:
            raise IntegrityError(f"{uri}: {err.errors()[0]['msg']}", hint="rename the file and register anew") from err

    def open(self, uri: str, path: str) -> AbstractContextManager[BinaryIO]:
        """A stream of one file's bytes, read from its start.

        Raises:
            NotFoundError: No such file.
            OutsideSystemError: The store cannot be reached, or broke off while the caller was reading.
        """
        _checked(path, path)
        where = self._resolve(uri)
        if isinstance(where, Path):
            return _open_file(_below(where, path))
        bucket, prefix = where
        return self._open_object(bucket, _join(prefix, path))

    def read(self, uri: str, path: str, *, limit_bytes: int) -> bytes:
        """A small file, whole.

        Raises:
            NotFoundError: No such file.
            EvidenceError: It is larger than the limit; not read further.
        """
        with self.open(uri, path) as stream:
            data = stream.read(limit_bytes + 1)
        if len(data) > limit_bytes:
            raise EvidenceError(
                f"{path} is larger than {limit_bytes} bytes", hint="register a version with a smaller file"
            )
        return data

    def download_urls(
        self, uri: str, manifest: ArtifactManifest, *, valid_s: int, endpoint_url: str | None = None
    ) -> dict[str, str]:
        """A presigned GET URL for each path of the manifest, signed for the endpoint the reader will use."""
        where = self._resolve(uri)
        if isinstance(where, Path):
            return {entry.path: _below(where, entry.path).as_uri() for entry in manifest.files}
        bucket, prefix = where
        client = s3_client(self._settings, endpoint_url=endpoint_url)
        return {
            entry.path: client.generate_presigned_url(
                "get_object", Params={"Bucket": bucket, "Key": _join(prefix, entry.path)}, ExpiresIn=valid_s
            )
            for entry in manifest.files
        }

    @property
    def _client(self) -> S3Client:
        return s3_client(self._settings)

    def _resolve(self, uri: str) -> Path | tuple[str, str]:
        """A folder of this machine, or bucket and prefix."""
        scheme = urlsplit(uri).scheme
        if scheme == "file":
            return self._local(uri)
        if scheme == "mlflow-artifacts":
            uri = _behind_proxy(uri, self._settings.mlflow_artifact_root)
        try:
            bucket, prefix = split_uri(uri)
        except ValueError as err:
            raise IntegrityError(f"{uri!r} is no address of an artifact", hint="use s3://bucket/prefix") from err
        if bucket in (self._settings.evidence_bucket, self._settings.audit_bucket):
            raise IntegrityError(f"{uri} lies in a bucket of our own records, not of models")
        return bucket, prefix

    def _local(self, uri: str) -> Path:
        folder = Path(unquote(urlsplit(uri).path)).resolve()
        if self._local_root is None or not folder.is_relative_to(self._local_root):
            raise IntegrityError(
                f"{uri} is a folder of this machine, not of the object store", hint="register artifacts in S3"
            )
        if not folder.exists():
            raise NotFoundError(f"{uri} does not exist")
        return folder

    def _list(self, bucket: str, prefix: str) -> list[str]:
        """Paths below a prefix; raises NotFoundError when there are none, IntegrityError for a name that is no path."""
        base = f"{prefix}/" if prefix else ""
        paths: list[str] = []
        with s3_errors(f"s3://{bucket}/{prefix}"):
            for page in self._client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=base):
                for item in page.get("Contents", ()):
                    key = str(item["Key"])
                    if not (key.endswith("/") and item["Size"] == 0):
                        paths.append(_checked(key, key.removeprefix(base)))
                if len(paths) > MAX_FILES:
                    raise IntegrityError(f"s3://{bucket}/{prefix} holds more than {MAX_FILES} files", hint="pack them")
        if not paths:
            raise NotFoundError(f"s3://{bucket}/{prefix} holds no file")
        return paths

    def _entry(self, bucket: str, prefix: str, path: str) -> FileEntry:
        with self._open_object(bucket, _join(prefix, path)) as stream:
            sha256, size_bytes = sha256_of_stream(stream)
        return FileEntry(path=path, size_bytes=size_bytes, sha256=sha256)

    @contextmanager
    def _open_object(self, bucket: str, key: str) -> Iterator[BinaryIO]:
        # The error scope spans the caller's reading: the SDK also raises its own errors out of the stream.
        with s3_errors(f"s3://{bucket}/{key}"):
            body = self._client.get_object(Bucket=bucket, Key=key)["Body"]
            try:
                yield cast(BinaryIO, body)
            finally:
                body.close()


def _behind_proxy(uri: str, root: str | None) -> str:
    """Where MLflow's artifact proxy keeps `mlflow-artifacts:/path`."""
    if not root:
        raise IntegrityError(f"{uri} is behind MLflow's proxy", hint="set MODEL_APPROVAL_MLFLOW_ARTIFACT_ROOT")
    path = unquote(urlsplit(uri).path).strip("/")
    _checked(uri, path)
    return f"{root.rstrip('/')}/{path}"


def _checked(key: str, path: str) -> str:
    try:
        check_path(path)
    except ValueError as err:
        raise IntegrityError(f"{key!r} is no name for a file: {err}", hint="rename it and register anew") from err
    return path


def _join(prefix: str, path: str) -> str:
    return f"{prefix}/{path}" if prefix else path


def _below(folder: Path, path: str) -> Path:
    """A file of a folder, or the folder itself where the artifact is that single file."""
    return folder if folder.is_file() and folder.name == path else folder / path


def _manifest_of_path(folder: Path) -> ArtifactManifest:
    try:
        return manifest_of_folder(folder)
    except ValidationError as err:
        raise IntegrityError(f"{folder}: {err.errors()[0]['msg']}", hint="rename the file") from err


@contextmanager
def _open_file(path: Path) -> Iterator[BinaryIO]:
    if path.is_symlink() or not path.is_file():
        raise NotFoundError(f"{path} is no file")
    with path.open("rb") as stream:
        yield stream
