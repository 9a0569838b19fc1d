"""The part of `unpinned` that needs libraries: starts the validator, then hands it the manifest when it is made."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError, ModelApprovalError
from model_approval.domain.evidence import ValidatorInput
from model_approval.domain.folders import FolderError, FolderHashing
from model_approval.domain.manifest import ArtifactManifest, FileEntry
from model_approval.validators import contract
from model_approval.validators.confinement import forbid_tracing
from model_approval.validators.contract import Report, Task, UnpinnedOrder, parse_record, plain_line, read_record
from model_approval.validators.environment import environment_digest
from model_approval.validators.process import end_on_sigterm, run_child
from model_approval.validators.registry import entry_of
from model_approval.validators.supervisor import CHILD_COMMAND, evidence_of

_NO_DIGEST = "0" * 64
EXIT_BAD_INPUT = 2
"""The folder cannot be an artifact; a validator that broke ends with 1."""
_LOCAL = "local"


def run_unpinned(hashing: FolderHashing, validator: str, work: Path, order: Path) -> int:
    """Run the validator over the folder that is being hashed; returns the program's exit code.

    0: `evidence.json` is in the work folder. 2: the folder cannot be an artifact. 1: the validator broke, in words.
    """
    end_on_sigterm()
    forbid_tracing()
    os.umask(0o077)
    try:
        evidence = _run(hashing, validator, work, read_record(UnpinnedOrder, order))
        (work / contract.EVIDENCE_FILE).write_bytes(evidence)
    except FolderError as err:
        sys.stderr.write(f"{hashing.root} cannot be an artifact: {plain_line(str(err))}\n")
        return EXIT_BAD_INPUT
    except ModelApprovalError as err:
        sys.stderr.write(f"{validator}: {plain_line(str(err))}\n")
        return 1
    except Exception as err:  # noqa: BLE001  # outer edge: a broken validator is reported in one line, not a traceback
        sys.stderr.write(f"{validator}: {plain_line(f'{type(err).__name__}: {err}')}\n")
        return 1
    return 0


def _run(hashing: FolderHashing, validator: str, work: Path, order: UnpinnedOrder) -> bytes:
    entry, started_at = entry_of(validator), datetime.now(UTC)
    provisional = _manifest([(file.path, file.size_bytes, _NO_DIGEST) for file in hashing.files])
    scratch = work / contract.SCRATCH_DIR
    scratch.mkdir(mode=0o700)
    task = Task(
        validator=validator,
        input=_input(validator, provisional, order, image_digest=f"sha256:{_NO_DIGEST}"),
        artifact=str(hashing.root),
        scratch=str(scratch.resolve()),
        timeout_s=order.timeout_s,
    )
    pinning = _Pinning(hashing)
    try:
        data = run_child(CHILD_COMMAND, task, again=entry.covers_every_file, offer=pinning.offer)
    except EvidenceError:
        pinning.raise_if_failed()  # then the validator broke for want of the manifest
        raise
    given = _input(validator, pinning.result(), order, image_digest=environment_digest())
    report = parse_record(Report, data, what=f"report of {validator}")
    hashing.require_unchanged()
    return canonical_json(evidence_of(entry, task.model_copy(update={"input": given}), report, started_at))


def _input(validator: str, manifest: ArtifactManifest, order: UnpinnedOrder, *, image_digest: str) -> ValidatorInput:
    return ValidatorInput(
        request_id=_LOCAL,
        check=validator,
        artifact_digest=manifest.artifact_digest,
        manifest=manifest,
        image_digest=image_digest,
        parameters=order.parameters,
        allow_cpu=True,
    )


class _Pinning(threading.Thread):
    """Waits for the digests and hands them to the validator's process, which reads them when it wants."""

    def __init__(self, hashing: FolderHashing) -> None:
        super().__init__(daemon=True)
        self._hashing = hashing
        self._manifest: ArtifactManifest | None = None
        self._error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._manifest = _manifest(self._hashing.results())
        except Exception as err:  # noqa: BLE001  # kept for `result`, whatever it is: else it would be lost
            self._error = err

    def offer(self) -> int:
        """A descriptor from which the manifest can be read once it is made; closed without a byte if it never is."""
        reading, writing = os.pipe()
        threading.Thread(target=self._hand_over, args=(writing,), daemon=True).start()
        return reading

    def _hand_over(self, writing: int) -> None:
        self.join()
        # Without a reader any more it ended without asking, which is its right.
        with contextlib.suppress(BrokenPipeError), os.fdopen(writing, "wb") as pipe:
            if self._manifest is not None:
                pipe.write(self._manifest.model_dump_json().encode())

    def raise_if_failed(self) -> None:
        """Raise when there will be no manifest, as is known by now: FolderError, or EvidenceError for our mistake."""
        if isinstance(self._error, FolderError | OSError):
            raise FolderError(str(self._error)) from self._error
        if self._error is not None:
            raise EvidenceError(f"the bytes could not be pinned: {self._error}") from self._error

    def result(self) -> ArtifactManifest:
        """The manifest. Raises as `raise_if_failed`."""
        self.join()
        self.raise_if_failed()
        assert self._manifest is not None
        return self._manifest


def _manifest(files: Sequence[tuple[str, int, str]]) -> ArtifactManifest:
    try:
        entries = tuple(FileEntry(path=path, size_bytes=size, sha256=sha256) for path, size, sha256 in files)
        return ArtifactManifest(files=entries)
    except ValidationError as err:
        first = err.errors(include_url=False, include_input=False)[0]
        raise FolderError(str(first["msg"]).removeprefix("Value error, ")) from err
