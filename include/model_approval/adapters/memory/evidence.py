"""Evidence in memory; twin of `adapters/s3_evidence.py`.

url = store.upload_url("pr-7", "security_scan", 1, valid_s=60)
assert store.upload(url, b"{}") == 200
assert store.upload(url, b"{}") == 412
"""

from __future__ import annotations

import secrets

from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError, NotFoundError
from model_approval.domain.manifest import check_path

_SCHEME = "memory-evidence://"


class MemoryEvidenceStore:
    """Versions by key, and the capabilities that were handed out."""

    def __init__(self) -> None:
        self._objects: dict[str, list[bytes]] = {}
        self._grants: dict[str, str] = {}

    def upload_url(
        self, request_id: str, check: str, run: int, *, valid_s: int, endpoint_url: str | None = None
    ) -> str:
        """A capability for one key; `upload` honours it once."""
        grant = secrets.token_urlsafe(16)
        self._grants[grant] = _evidence_key(request_id, check, run)
        return f"{_SCHEME}{self._grants[grant]}?grant={grant}"

    def upload(self, url: str, data: bytes) -> int:
        """PUT through a capability: 200, 403 for a key that was not granted, 412 when something is there."""
        key, _, grant = url.removeprefix(_SCHEME).partition("?grant=")
        if self._grants.get(grant) != key:
            return 403
        if key in self._objects:
            return 412
        self._objects[key] = [data]
        return 200

    def overwrite(self, request_id: str, check: str, run: int, data: bytes) -> None:
        """What somebody with the store's credentials can do: lay a version on top."""
        self._objects.setdefault(_evidence_key(request_id, check, run), []).append(data)

    def read(self, request_id: str, check: str, run: int) -> bytes | None:
        """The object's bytes, or None when the validator left none."""
        return self._read_once_written(_evidence_key(request_id, check, run))

    def put_document(self, request_id: str, name: str, data: bytes, *, content_type: str) -> str:
        """Keep a document; the same bytes again change nothing, others are refused."""
        key = _document_key(request_id, name)
        if self._objects.setdefault(key, [data])[0] != data:
            raise IntegrityError(f"document {name} of {request_id} is kept already with other bytes")
        return sha256_of(data)

    def get_document(self, request_id: str, name: str) -> bytes:
        """A document's bytes."""
        data = self._read_once_written(_document_key(request_id, name))
        if data is None:
            raise NotFoundError(f"{request_id} has no document {name}")
        return data

    def _read_once_written(self, key: str) -> bytes | None:
        versions = self._objects.get(key, [])
        if len(versions) > 1:
            raise IntegrityError(f"{key} has {len(versions)} versions; evidence is written once")
        return versions[0] if versions else None


def _evidence_key(request_id: str, check: str, run: int) -> str:
    return _safe(f"{request_id}/{check}/{run}/evidence.json")


def _document_key(request_id: str, name: str) -> str:
    return _safe(f"{request_id}/_documents/{name}")


def _safe(key: str) -> str:
    check_path(key)
    return key
