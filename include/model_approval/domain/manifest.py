"""The artifact manifest: which bytes a model version is.

`artifact_digest = sha256(RFC 8785 JSON of the manifest)`. File names are inside the digest: an OpenSSF
model-signing root digest leaves them out, so two trees with swapped names would collide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, field_validator

from model_approval.domain.base import Record
from model_approval.domain.digests import digest_of, sha256_of_stream
from model_approval.domain.errors import IntegrityError

MAX_FILES = 100_000
_SCHEMA: Final = "model-approval/artifact-manifest/v1"


class FileEntry(Record):
    """One file of an artifact."""

    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    """Relative POSIX path, NFC-normalised, without `.` or `..` parts."""
    size_bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]

    @field_validator("path")
    @classmethod
    def _plain_relative_path(cls, path: str) -> str:
        check_path(path)
        return path


class ArtifactManifest(Record):
    """Every file of an artifact, sorted by path."""

    schema_id: Literal["model-approval/artifact-manifest/v1"] = _SCHEMA
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1, max_length=MAX_FILES)]

    @field_validator("files")
    @classmethod
    def _sorted_and_unambiguous(cls, files: tuple[FileEntry, ...]) -> tuple[FileEntry, ...]:
        seen: dict[str, str] = {}
        for entry in files:
            # A case-insensitive file system would let the second file replace the first after it was checked.
            folded = entry.path.casefold()
            if folded in seen:
                raise ValueError(f"{entry.path!r} and {seen[folded]!r} are the same file on some file systems")
            seen[folded] = entry.path
        for entry in files:
            for parent in PurePosixPath(entry.path.casefold()).parents:
                if str(parent) in seen:
                    raise ValueError(f"{entry.path!r} lies below the file {seen[str(parent)]!r}")
        return tuple(sorted(files, key=lambda entry: entry.path))

    @property
    def artifact_digest(self) -> str:
        """The one name of these bytes: `sha256:<hex>` over the canonical manifest."""
        return digest_of(self)

    @property
    def size_bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.size_bytes for entry in self.files)

    def file(self, path: str) -> FileEntry | None:
        """The entry of one path, or None."""
        return next((entry for entry in self.files if entry.path == path), None)

    def differences(self, other: ArtifactManifest) -> tuple[str, ...]:
        """What another manifest has otherwise, in words, each naming the file and both digests."""
        mine = {entry.path: entry for entry in self.files}
        theirs = {entry.path: entry for entry in other.files}
        lines = []
        for path in sorted(mine.keys() | theirs.keys()):
            if path not in theirs:
                lines.append(f"{path}: missing (pinned as sha256:{mine[path].sha256})")
            elif path not in mine:
                lines.append(f"{path}: was not there when the bytes were pinned (now sha256:{theirs[path].sha256})")
            elif mine[path] != theirs[path]:
                lines.append(f"{path}: pinned as sha256:{mine[path].sha256}, now sha256:{theirs[path].sha256}")
        return tuple(lines)


def check_path(path: str) -> None:
    """Refuse a path that could escape its folder or be read in two ways.

    Raises:
        ValueError: Absolute, with `.` or `..` parts, a backslash, a control character, or not NFC.
    """
    parts = path.split("/")
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise ValueError(f"{path!r} must be relative, without empty, '.' or '..' parts")
    if "\\" in path or any(ord(char) < 32 or ord(char) == 127 for char in path):
        raise ValueError(f"{path!r} holds a backslash or control character")
    if unicodedata.normalize("NFC", path) != path:
        raise ValueError(f"{path!r} is not NFC-normalised Unicode")


def require_same_bytes(pinned: ArtifactManifest, found: ArtifactManifest, *, where: str) -> None:
    """Stop when bytes are not the pinned ones.

    Raises:
        IntegrityError: Names each differing file (the first five) with both digests.
    """
    if pinned.artifact_digest == found.artifact_digest:
        return
    lines = pinned.differences(found)
    rest = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
    raise IntegrityError(
        f"{where}: the artifact is not the pinned {pinned.artifact_digest}: {'; '.join(lines[:5])}{rest}",
        hint="register the changed bytes as a new version and request its promotion",
    )


def manifest_of_folder(root: Path) -> ArtifactManifest:
    """Hash a folder (or a single file, named by its base name). Reads each byte once.

    Raises:
        IntegrityError: A link or special file is inside: it could point elsewhere at the next look.
        ValueError: No file, or a name that a manifest cannot hold.
    """
    paths: Iterable[Path] = [root] if root.is_file() else sorted(root.rglob("*"))
    base = root.parent if root.is_file() else root
    files = []
    for path in paths:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{path.relative_to(base)} is a link or special file", hint="copy its content")
        if path.is_file():
            with path.open("rb") as stream:
                sha256, size_bytes = sha256_of_stream(stream)
            files.append(FileEntry(path=path.relative_to(base).as_posix(), size_bytes=size_bytes, sha256=sha256))
    return ArtifactManifest(files=tuple(files))
