"""Starts a validator over a folder before anything heavy is imported here, and takes its evidence.

The program that is started hashes the folder from its first moment; what this process still has to import costs no
time then. So a scan takes hardly longer than the hashing of the bytes.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Self

from model_approval.places import VALIDATORS_PYTHON

if TYPE_CHECKING:
    from pydantic import JsonValue

    from model_approval.domain.evidence import Evidence

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
_GRACE_S = 60
"""The program stops the validator itself; this is for one that hangs. Hashing may go on for as long as it takes."""
_CANNOT_BE_AN_ARTIFACT = 2


class Launch:
    """A validator under way; a context manager, at whose end neither it nor its folder is left."""

    def __init__(self, validator: str, artifact: Path, parameters: Mapping[str, JsonValue], timeout_s: int) -> None:
        """Start it. Whatever goes wrong is told by `evidence`."""
        self._folder = tempfile.TemporaryDirectory(prefix="model-validation-")
        self._python = os.environ.get("MODEL_APPROVAL_VALIDATORS_PYTHON") or str(VALIDATORS_PYTHON)
        self._timeout_s, self._error = timeout_s, ""
        work = Path(self._folder.name)
        (work / "order.json").write_text(json.dumps({"parameters": dict(parameters), "timeout_s": timeout_s}))
        command = [self._python, "-I", "-m", "model_approval.validators.unpinned", "--artifact", str(artifact)]
        command += ["--validator", validator, "--work", str(work), "--order", str(work / "order.json")]
        self._process: subprocess.Popen[str] | None = None
        try:
            self._process = subprocess.Popen(
                command,
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as err:
            self._error = err.strerror or str(err)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the program, when it still runs, and remove its folder."""
        if self._process is not None:
            if self._process.poll() is None:
                from model_approval.adapters.local_validators import stop

                stop(self._process)
            if self._process.stderr is not None:
                self._process.stderr.close()
        self._folder.cleanup()

    def evidence(self) -> Evidence:
        """Wait for it.

        Raises:
            ModelApprovalError: The folder cannot be an artifact; names the file.
            EvidenceError: The validator broke, in its own words.
        """
        from model_approval.domain.errors import EvidenceError, ModelApprovalError
        from model_approval.domain.evidence import Evidence
        from model_approval.settings import load_settings

        load_settings()  # a misspelled variable is told, whichever command comes first
        code, said = self._wait()
        if code == _CANNOT_BE_AN_ARTIFACT:
            raise ModelApprovalError(said, hint="rename or remove the file")
        if code != 0:
            raise EvidenceError(said or f"the validator ended with code {code} and said nothing")
        return Evidence.model_validate_json((Path(self._folder.name) / "evidence.json").read_bytes())

    def _wait(self) -> tuple[int, str]:
        from model_approval.domain.errors import EvidenceError

        if self._process is None:
            message = f"the validators' interpreter {self._python} cannot be started: {self._error}"
            raise EvidenceError(message, hint="run `make setup`, or set MODEL_APPROVAL_VALIDATORS_PYTHON")
        try:
            _, errors = self._process.communicate(timeout=self._timeout_s + _GRACE_S)
        except subprocess.TimeoutExpired as err:
            raise EvidenceError(
                f"the validator's supervisor did not end within {self._timeout_s + _GRACE_S} s"
            ) from err
        lines = [line for line in errors.strip().splitlines() if not line.startswith("progress: ")]
        return self._process.returncode, lines[-1] if lines else ""
