"""Fetches the bytes that a validator will see, and verifies each file on the way.

    python -m model_approval.validators.fetch --job FILE --work DIR --capability FILE

Runs as the pod's init container, the only process that knows the job's download URLs. It leaves behind read-only files,
`input.json`, and the one upload URL in a file (0600) that the supervisor takes and removes.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError, IntegrityError, ModelApprovalError, OutsideSystemError
from model_approval.domain.evidence import ValidatorJob
from model_approval.domain.manifest import ArtifactManifest, FileEntry
from model_approval.validators import contract
from model_approval.validators.contract import MAX_TASK_BYTES, Limits, parse_record, plain_line
from model_approval.validators.transfer import open_download, with_retries

log = logging.getLogger(__name__)

_BLOCK_BYTES = 1024 * 1024
_EXCESS_BYTES = 64 * 1024**2
"""How far beyond the pinned size a changed file is still read, so that its digest can be named."""


def read_job(path: Path) -> ValidatorJob:
    """Read `job.json`, gzip-compressed or not.

    Raises:
        EvidenceError: Missing, too large, malformed, or its parts do not belong together.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_TASK_BYTES + 1)
    except OSError as err:
        raise EvidenceError(f"{path}: {err.strerror or err}") from err
    job = parse_record(ValidatorJob, _plain(data, path), what=str(path))
    given = job.input
    if given.manifest.artifact_digest != given.artifact_digest:
        raise EvidenceError(f"{path}: the manifest is not the one of {given.artifact_digest}")
    _require_url_for_each(given.manifest, job.downloads, "downloads")
    if given.champion_manifest:
        _require_url_for_each(given.champion_manifest, job.champion_downloads, "champion_downloads")
    return job


def _plain(data: bytes, path: Path) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        try:
            data = zlib.decompressobj(wbits=31).decompress(data, MAX_TASK_BYTES + 1)
        except zlib.error as err:
            raise EvidenceError(f"{path}: damaged gzip: {err}") from err
    if len(data) > MAX_TASK_BYTES:
        raise EvidenceError(f"{path}: larger than {MAX_TASK_BYTES} bytes")
    return data


def _require_url_for_each(manifest: ArtifactManifest, urls: Mapping[str, str], field: str) -> None:
    missing = [entry.path for entry in manifest.files if entry.path not in urls]
    if missing:
        raise EvidenceError(f"{field}: no URL for {missing[0]!r} and {len(missing) - 1} more")


def fetch_files(manifest: ArtifactManifest, urls: Mapping[str, str], folder: Path) -> None:
    """Download every file of a manifest into a folder, emptied before, verifying size and digest while streaming.

    Raises:
        IntegrityError: A file is not the pinned one; names it with both digests.
        OutsideSystemError: The store does not deliver.
    """
    empty_folder(folder)
    for entry in manifest.files:
        with_retries(partial(_fetch_file, entry, urls[entry.path], folder))


def empty_folder(folder: Path) -> None:
    """Make a folder, or empty it: it may be a volume's mount point, which cannot be removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        else:
            item.unlink()


def _fetch_file(entry: FileEntry, url: str, folder: Path) -> None:
    path = folder / entry.path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    try:
        with open_download(url) as source, path.open("xb") as destination:
            size_bytes = write_verified(entry, source, destination, more_due=lambda: bool(source.length))
    except OSError as err:
        raise OutsideSystemError("object store", f"{entry.path}: {err}") from None
    log.debug("fetched %s (%d bytes)", entry.path, size_bytes)
    path.chmod(0o444)


def write_verified(
    entry: FileEntry, source: BinaryIO, destination: BinaryIO, *, more_due: Callable[[], bool] = lambda: False
) -> int:
    """Copy one file in constant memory and compare it with its manifest entry.

    Args:
        entry: What was pinned.
        source: Where the bytes come from; read to at most 64 MiB beyond the pinned size.
        destination: Where they go to.
        more_due: Whether the source announced more bytes than it delivered.

    Returns:
        The size in bytes.

    Raises:
        IntegrityError: Another size or digest; names the file and both digests.
        OutsideSystemError: The connection was cut; a retry may help.
    """
    hasher, size_bytes = hashlib.sha256(), 0
    while size_bytes <= entry.size_bytes + _EXCESS_BYTES and (block := source.read(_BLOCK_BYTES)):
        size_bytes += len(block)
        hasher.update(block)
        if size_bytes <= entry.size_bytes:
            destination.write(block)
    if size_bytes < entry.size_bytes and more_due():
        raise OutsideSystemError("object store", f"{entry.path}: the connection was lost after {size_bytes} bytes")
    if (hasher.hexdigest(), size_bytes) != (entry.sha256, entry.size_bytes):
        now = f"sha256:{hasher.hexdigest()}" if size_bytes <= entry.size_bytes + _EXCESS_BYTES else "far longer"
        raise IntegrityError(
            f"{entry.path}: pinned as sha256:{entry.sha256} ({entry.size_bytes} bytes), now {now} ({size_bytes} bytes)"
        )
    return size_bytes


def prepare_work(job: ValidatorJob, work: Path) -> None:
    """Fetch everything and write the work folder's files, `input.json` last: it says that the rest is there."""
    work.mkdir(parents=True, exist_ok=True)
    fetch_files(job.input.manifest, job.downloads, work / contract.ARTIFACT_DIR)
    if job.input.champion_manifest:
        fetch_files(job.input.champion_manifest, job.champion_downloads, work / contract.CHAMPION_DIR)
    (work / contract.LIMITS_FILE).write_bytes(canonical_json(Limits(timeout_s=job.timeout_s)))
    (work / contract.INPUT_FILE).write_bytes(canonical_json(job.input))


def hand_over(upload_url: str, path: Path) -> None:
    """Write the capability so that only this user can read it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(upload_url)


def main(argv: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="model_approval.validators.fetch", description=__doc__)
    parser.add_argument("--job", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--capability", type=Path, required=True)
    given = parser.parse_args(argv)
    try:
        job = read_job(given.job)
        prepare_work(job, given.work)
        hand_over(job.upload_url, given.capability)
    except (ModelApprovalError, OSError) as err:
        sys.stderr.write(f"fetch: {plain_line(str(err))}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
