"""Validators as child processes of ours: the `local` runtime and the CLI's `scan` and `benchmark`.

The same programs as in the pods, in the same order (fetch, supervise, upload), started with the validators'
interpreter and an empty environment. Their confinement is their own and does not depend on a container.
"""

from __future__ import annotations

import logging
import subprocess
import tempfile
import threading
from functools import cached_property
from pathlib import Path

from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence, ValidatorInput, ValidatorJob

log = logging.getLogger(__name__)

_PROGRESS = "progress: "
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}
"""Nothing of this process's own: it holds the store's credentials and the signing key's path."""
_GRACE_S = 60
"""The supervisor stops the validator itself; this is for a supervisor that hangs."""
_FETCH_TIMEOUT_S = 3600
_STOP_S = 5.0
"""How long a supervisor may take to end its validator when it is told to stop."""


class LocalValidatorRunner:
    """`ports.ValidatorRunner` on the validators' interpreter."""

    def __init__(self, python: Path, *, osv_database: Path | None = None) -> None:
        known = {"MODEL_APPROVAL_OSV_DATABASE": str(osv_database.resolve())} if osv_database else {}
        self._python, self._environment = python, {**_ENVIRONMENT, **known}

    @cached_property
    def image_digest(self) -> str:
        """Names the environment as an image digest names an image: interpreter, every package's version, our own code.

        Raises:
            EvidenceError: The interpreter is missing or broken.
        """
        return self._run_module("environment", [], timeout_s=_GRACE_S)

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

    def _run_module(self, module: str, arguments: list[str], *, timeout_s: int) -> str:
        """Run one of the validators' programs; what it printed."""
        command = [str(self._python), "-I", "-m", f"model_approval.validators.{module}", *arguments]
        try:
            process = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        except OSError as err:
            message = f"the validators' interpreter {self._python} cannot be started: {err.strerror}"
            raise EvidenceError(message, hint="run `make setup`, or set MODEL_APPROVAL_VALIDATORS_PYTHON") from err
        with process:
            said, printed = _Listening(process), _Draining(process)
            try:
                process.wait(timeout=timeout_s)
            except subprocess.TimeoutExpired as err:
                raise EvidenceError(f"the validator's supervisor did not end within {timeout_s} s") from err
            finally:
                stop(process)
            said.join()
            printed.join()
        if process.returncode != 0:
            raise EvidenceError(said.last or f"the validator ended with code {process.returncode} and said nothing")
        return printed.text


def stop(process: subprocess.Popen[str]) -> None:
    """End a supervisor, when it has not ended: asked first, so that it ends the validator's session with it."""
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class _Draining(threading.Thread):
    """Takes all that a program prints while it runs: a full pipe would stop it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.text, self._stdout = "", process.stdout
        self.start()

    def run(self) -> None:
        if self._stdout is not None:
            self.text = self._stdout.read()


class _Listening(threading.Thread):
    """Copies a program's progress to the log, and keeps its last other line."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.last, self._stderr = "", process.stderr
        self.start()

    def run(self) -> None:
        for line in self._stderr or ():
            if line.startswith(_PROGRESS):
                log.info("%s", line.strip())
            else:
                self.last = line.strip() or self.last
