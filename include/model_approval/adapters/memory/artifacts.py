"""Artifacts in memory, `memory://name`; twin of `adapters/s3_artifacts.py`.

store = MemoryArtifactStore()
store.put("memory://fraud/18", {"model.onnx": b"..."})
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO

from pydantic import ValidationError

from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError
from model_approval.domain.manifest import ArtifactManifest, FileEntry, check_path


class MemoryArtifactStore:
    """Files by URI and path. Anybody may change them at any time, as in a bucket."""

    def __init__(self) -> None:
        self._artifacts: dict[str, dict[str, bytes]] = {}

    def put(self, uri: str, files: Mapping[str, bytes]) -> None:
        """Add files to an artifact, or replace them."""
        self._artifacts.setdefault(uri.rstrip("/"), {}).update(files)

    def forget(self, uri: str) -> None:
        """Lose an artifact, as somebody who tidies a bucket would."""
        del self._artifacts[uri.rstrip("/")]

    def manifest(self, uri: str) -> ArtifactManifest:
        """Hash every file below the URI, now."""
        files = self._artifacts.get(uri.rstrip("/"))
        if not files:
            raise NotFoundError(f"{uri} holds no file")
        try:
            return ArtifactManifest(
                files=tuple(
                    FileEntry(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
                    for path, data in files.items()
                )
            )
        except ValidationError as err:
            raise IntegrityError(f"{uri}: {err.errors()[0]['msg']}", hint="rename the file and register anew") from err

    def open(self, uri: str, path: str) -> AbstractContextManager[BinaryIO]:
        """A stream of one file's bytes."""
        try:
            check_path(path)
        except ValueError as err:
            raise IntegrityError(f"{path!r} is no name for a file: {err}") from err
        try:
            return io.BytesIO(self._artifacts[uri.rstrip("/")][path])
        except KeyError:
            raise NotFoundError(f"{uri}/{path} does not exist") from None

    def read(self, uri: str, path: str, *, limit_bytes: int) -> bytes:
        """A small file, whole."""
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
        """`data:` URLs, which `urllib` opens like any other."""
        files = self._artifacts[uri.rstrip("/")]
        return {
            entry.path: f"data:application/octet-stream;base64,{base64.b64encode(files[entry.path]).decode()}"
            for entry in manifest.files
        }
