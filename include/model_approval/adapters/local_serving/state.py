"""The folder that deployer and supervisor share.

desired/<name>.json     what shall serve (deployer writes)
observed/<name>.json    what serves, and what is wrong (supervisor writes)
artifacts/<hex>/        verified bytes, by artifact digest
tokens/<name>           bearer token (0600)
logs/<name>.log         the server's own words
run/                    the supervisor's own notes
supervisor.lock         held while a supervisor runs
"""

from __future__ import annotations

import fcntl
import os
import secrets
from pathlib import Path
from typing import IO, TypeVar

from pydantic import ValidationError

from model_approval.domain.base import Record, Sha256, Text, UtcTime
from model_approval.domain.deployment import DeploymentSpec
from model_approval.domain.digests import canonical_json, digest_of
from model_approval.domain.errors import IntegrityError

RecordT = TypeVar("RecordT", bound=Record)


class Desired(Record):
    """What shall serve under a name."""

    spec: DeploymentSpec
    folder: str
    """Where the verified bytes lie."""

    @property
    def spec_digest(self) -> str:
        """Names this wish: another request, version or configuration is another wish."""
        return digest_of(self.spec)


class ServingNow(Record):
    """A server that answers."""

    spec_digest: Sha256
    spec: DeploymentSpec
    endpoint: str
    pid: int


class Observed(Record):
    """What the supervisor found and did."""

    name: str
    wanted: Sha256
    """Digest of the spec that it last acted upon."""
    serving: ServingNow | None = None
    """What answers now: while a new version starts, or fails to, the one before."""
    error: Text = ""
    """Why the wanted one does not serve, in its own words."""
    attempts: int = 0
    """How often the wanted one was started and ended."""
    observed_at: UtcTime


class ServingState:
    """Reads and writes the shared folder; every write replaces a whole file at once."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def prepare(self) -> None:
        """Make the folders; only this user may look inside."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)
        for name in ("desired", "observed", "artifacts", "tokens", "logs", "run"):
            (self.root / name).mkdir(exist_ok=True)

    def desired_names(self) -> list[str]:
        """Names under which something shall serve."""
        return sorted(path.stem for path in (self.root / "desired").glob("*.json"))

    def desired(self, name: str) -> Desired | None:
        """The wish under a name. Raises IntegrityError when the file is damaged."""
        return _read(Desired, self.root / "desired" / f"{name}.json")

    def observed(self, name: str) -> Observed | None:
        """What the supervisor last said about a name. Raises IntegrityError when the file is damaged."""
        return _read(Observed, self.root / "observed" / f"{name}.json")

    def want(self, desired: Desired) -> None:
        """Wish for this version, and only this, under its name."""
        _write(desired, self.root / "desired" / f"{desired.spec.name}.json")

    def unwant(self, name: str) -> None:
        """Wish for nothing under a name."""
        (self.root / "desired" / f"{name}.json").unlink(missing_ok=True)

    def report(self, observed: Observed) -> None:
        """Tell what serves under a name."""
        _write(observed, self.root / "observed" / f"{observed.name}.json")

    def forget(self, name: str) -> None:
        """Nothing serves under this name any more."""
        (self.root / "observed" / f"{name}.json").unlink(missing_ok=True)

    def artifact_folder(self, artifact_digest: str) -> Path:
        """Where an artifact's bytes belong."""
        return self.root / "artifacts" / artifact_digest.removeprefix("sha256:")

    def log_path(self, name: str) -> Path:
        """The log of a name's servers."""
        return self.root / "logs" / f"{name}.log"

    def token_path(self, name: str) -> Path:
        """The bearer token's file."""
        return self.root / "tokens" / name

    def ensure_token(self, name: str) -> None:
        """Make a token where there is none; only this user can read it."""
        try:
            descriptor = os.open(self.token_path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            stream.write(secrets.token_urlsafe(32))

    def token(self, name: str) -> str:
        """The bearer token of a name's endpoint."""
        return self.token_path(name).read_text(encoding="ascii").strip()

    def lock_supervisor(self) -> IO[str] | None:
        """Become the one supervisor: an open file to keep, or None when another holds it."""
        stream = (self.root / "supervisor.lock").open("w", encoding="ascii")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        return stream

    def is_supervised(self) -> bool:
        """Whether a supervisor is running."""
        if not self.root.exists():
            return False
        held = self.lock_supervisor()
        if held is None:
            return True
        held.close()
        return False


def _read(kind: type[RecordT], path: Path) -> RecordT | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as err:
        raise IntegrityError(f"{path} is damaged: {err.errors()[0]['msg']}", hint="remove it and deploy again") from err


def _write(record: Record, path: Path) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    partial.write_bytes(canonical_json(record))
    partial.replace(path)
