"""The files of a folder and their SHA-256, by several threads; the standard library alone, so that it starts at once.

Hashing takes most of the time of a scan: it begins before anything else is imported, and goes on beside the scan.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

_BLOCK_BYTES = 2 * 1024**2
"""Large enough to wait rarely for a turn in the interpreter, small enough for the processor's cache."""


class FolderError(Exception):
    """The folder cannot be an artifact; the message names the file."""


@dataclass(frozen=True)
class ListedFile:
    """A file as the folder shows it."""

    path: str
    """Relative POSIX path."""
    size_bytes: int
    stamp: tuple[int, int, int]
    """Inode, time of the last change in nanoseconds, device: unchanged as long as nobody wrote."""


def list_folder(root: Path) -> tuple[ListedFile, ...]:
    """Every file below a folder (or the file itself, by its base name), sorted by path.

    Raises:
        FolderError: A link or special file is inside: it could point elsewhere at the next look.
    """
    paths = [root] if root.is_file() else sorted(root.rglob("*"))
    base = root.parent if root.is_file() else root
    files = []
    for path in paths:
        name = path.relative_to(base).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise FolderError(f"{name} is a link or special file")
        if path.is_file():
            status = path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_dev)
            files.append(ListedFile(name, status.st_size, stamp))
    if not files:
        raise FolderError("it holds no file")
    return tuple(sorted(files, key=lambda file: file.path))


def hash_file(path: Path) -> tuple[str, int]:
    """SHA-256 in hexadecimal and size in bytes, in constant memory. Lets other threads run meanwhile."""
    hasher, size_bytes = hashlib.sha256(), 0
    block = bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(block):
            hasher.update(view[:count])
            size_bytes += count
    return hasher.hexdigest(), size_bytes


class FolderHashing:
    """The hashing of all files of a folder, under way since it was made."""

    def __init__(self, root: Path) -> None:
        """List the folder and start. Raises FolderError."""
        self.root, self.files = root, list_folder(root)
        base = root.parent if root.is_file() else root
        # The largest first, so that no thread is left alone with it at the end.
        order = sorted(self.files, key=lambda file: -file.size_bytes)
        pool = ThreadPoolExecutor(max_workers=max(1, min(4, os.cpu_count() or 1)))
        self._futures: dict[str, Future[tuple[str, int]]] = {
            file.path: pool.submit(hash_file, base / file.path) for file in order
        }
        pool.shutdown(wait=False)

    def results(self) -> Sequence[tuple[str, int, str]]:
        """Path, size and SHA-256 of every file, once all are there.

        Raises:
            FolderError: Something was written, added or removed meanwhile.
        """
        hashed = [(file.path, *self._futures[file.path].result()) for file in self.files]
        self.require_unchanged()
        return [(path, size, sha256) for path, sha256, size in hashed]

    def require_unchanged(self) -> None:
        """Raise FolderError when the folder does not look as it did at the beginning."""
        now = {file.path: file for file in list_folder(self.root)}
        then = {file.path: file for file in self.files}
        for path in sorted(now.keys() | then.keys()):
            if now.get(path) != then.get(path):
                raise FolderError(f"{path} was changed while it was being read; try again when nobody writes to it")
