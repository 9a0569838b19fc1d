"""Validators as child processes of ours: the `local` runtime and the CLI's `scan` and `benchmark`.

The same programs as in the pods, in the same order (fetch, supervise, upload), started with the validators'
interpreter and an empty environment. Their confinement is their own and does not depend on a container.
"""

from __future__ import annotations

import subprocess
import tempfile
from functools import cached_property
from pathlib import Path

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence, ValidatorInput, ValidatorJob

_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""Nothing of this process's own: it holds the store's credentials and the signing key's path."""
_GRACE_S = 60
"""The supervisor stops the validator itself; this is for a supervisor that hangs."""
_FETCH_TIMEOUT_S = 3600


class LocalValidatorRunner:
    """`ports.ValidatorRunner` on the validators' interpreter."""

    def __init__(self, python: Path) -> None:
        self._python = python

    @cached_property
    def image_digest(self) -> str:
        """Names the environment as an image digest names an image: interpreter, every package's version, our own code.

        Raises:
            EvidenceError: The interpreter is missing or broken.
        """
        return self._run_module("environment", [], timeout_s=_GRACE_S).stdout

    def run_job(self, job: ValidatorJob) -> None:
        """Fetch, verify, run, upload, in a folder that is gone afterwards.

        Raises:
            EvidenceError: Any of these broke, in the program's own words.
        """
        with tempfile.TemporaryDirectory(prefix="model-validation-") as folder:
            work, capability = Path(folder, "work"), Path(folder, "upload_url")
            job_file = Path(folder, "job.json")
            job_file.touch(mode=0o600)
            job_file.write_bytes(canonical_json(job))
            arguments = ["--job", str(job_file), "--work", str(work), "--capability", str(capability)]
            self._run_module("fetch", arguments, timeout_s=_FETCH_TIMEOUT_S)
            job_file.unlink()  # it holds every URL; the validator starts with none of them on disk
            self._supervise(work, job.validator, job.timeout_s, "--upload-url-file", str(capability))

    def run_on_folder(
        self, request: ValidatorInput, validator: str, artifact: Path, *, champion: Path | None, timeout_s: int
    ) -> Evidence:
        """Run over bytes that are here already; nothing is copied.

        Raises:
            EvidenceError: The validator broke, in its own words.
        """
        with tempfile.TemporaryDirectory(prefix="model-validation-") as folder:
            work = Path(folder)
            (work / "artifact").symlink_to(artifact.resolve())
            if champion:
                (work / "champion").symlink_to(champion.resolve())
            (work / "input.json").write_bytes(canonical_json(request))
            self._supervise(work, validator, timeout_s)
            return Evidence.model_validate_json((work / "evidence.json").read_bytes())

    def _supervise(self, work: Path, validator: str, timeout_s: int, *more: str) -> None:
        arguments = ["--work", str(work), "--validator", validator, "--timeout-s", str(timeout_s), *more]
        self._run_module("supervisor", arguments, timeout_s=timeout_s + _GRACE_S)

    def _run_module(self, module: str, arguments: list[str], *, timeout_s: int) -> subprocess.CompletedProcess[str]:
        return self._start(["-I", "-m", f"model_approval.validators.{module}", *arguments], timeout_s=timeout_s)

    def _start(self, arguments: list[str], *, timeout_s: int) -> subprocess.CompletedProcess[str]:
        try:
            result = subprocess.run(
                [str(self._python), *arguments],
                env=_ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as err:
            raise EvidenceError(f"the validator's supervisor did not end within {timeout_s} s") from err
        except OSError as err:
            message = f"the validators' interpreter {self._python} cannot be started: {err.strerror}"
            raise EvidenceError(message, hint="run `make setup`, or set MODEL_APPROVAL_VALIDATORS_PYTHON") from err
        if result.returncode != 0:
            said = result.stderr.strip().splitlines()
            raise EvidenceError(
                said[-1] if said else f"the validator ended with code {result.returncode} and said nothing"
            )
        return result
