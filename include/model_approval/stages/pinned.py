"""Small files of a pinned artifact, as pinned: whoever may overwrite them may do so between hashing and reading."""

from __future__ import annotations

from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError
from model_approval.domain.manifest import ArtifactManifest
from model_approval.ports import Services


def read_pinned(services: Services, uri: str, manifest: ArtifactManifest, path: str, *, limit_bytes: int) -> bytes:
    """One file, whole, if its bytes are those of the manifest.

    Raises:
        NotFoundError: It is gone from the store.
        EvidenceError: It is larger than the limit.
        IntegrityError: The manifest does not name it, or its bytes are others; says both digests.
    """
    entry = manifest.file(path)
    data = services.artifacts.read(uri, path, limit_bytes=limit_bytes)
    found = sha256_of(data)
    if entry is None or found != f"sha256:{entry.sha256}":
        pinned = f"pinned as sha256:{entry.sha256}" if entry else "not among the pinned files"
        raise IntegrityError(
            f"{path}: {pinned}, now {found}", hint="register the changed bytes as a new version and request it"
        )
    return data
