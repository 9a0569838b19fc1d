"""What a start is given, and where an embedded installation keeps its files.

Everything lies below one folder (`.state`, git-ignored): remove the folder and nothing is left of it.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from model_approval.domain.errors import OutsideSystemError

REPOSITORY = Path(__file__).resolve().parents[3]
"""Root of the checkout: `dags/`, `plugins/` and the virtual environments lie there."""

HOST = "127.0.0.1"
"""Where our own programs bind and call each other; people are shown `localhost`, which passkeys need."""


@dataclass(frozen=True)
class StackOptions:
    """How to start. A port of 0 takes any free one."""

    state_dir: Path = Path(".state")
    """Folder of this installation; a second start finds everything again."""
    airflow_port: int = 8080
    mlflow_port: int = 5000
    store_port: int = 8333
    fresh: bool = False
    """Whether to begin with an empty folder, removing what an earlier start left in it."""
    config_dir: Path | None = None
    """Folder of policies, committees and targets; unset: the ones that come with the package."""
    kubeconfig: Path | None = None
    """Login to the cluster behind Kubernetes targets; unset: only the local target works."""
    sample: bool = True
    """Whether `run` submits the sample promotion, once per state folder."""
    keep: bool = False
    """Whether `demo` leaves the stack running until Ctrl-C."""


@dataclass(frozen=True)
class Layout:
    """Paths of one installation."""

    root: Path

    @property
    def airflow(self) -> Path:
        """AIRFLOW_HOME: metadata database and task logs."""
        return self.root / "airflow"

    @property
    def mlflow_database(self) -> Path:
        """The registry's own SQLite file."""
        return self.root / "mlflow.sqlite"

    @property
    def store(self) -> Path:
        """The object store's folder."""
        return self.root / "store"

    @property
    def logs(self) -> Path:
        """One log per program."""
        return self.root / "logs"

    @property
    def lock(self) -> Path:
        """Held by the one start that uses this folder; names its stack."""
        return self.root / "stack.lock"

    @property
    def secrets(self) -> Path:
        """Generated keys and passwords, readable by the owner alone."""
        return self.root / "secrets.json"

    @property
    def passwords(self) -> Path:
        """The people's passwords in the form that Airflow's simple auth manager reads."""
        return self.root / "passwords.json"

    @property
    def shell(self) -> Path:
        """`source` this to use the CLI against the running stack."""
        return self.root / "environment.sh"

    @property
    def sample_id(self) -> Path:
        """Names the sample model version once it was submitted."""
        return self.root / "sample.json"

    def require_ours(self) -> None:
        """Refuse to empty a folder that is not an installation's.

        Raises:
            OutsideSystemError: Something else is in it.
        """
        if self.root.exists() and not self.lock.exists() and any(self.root.iterdir()):
            raise OutsideSystemError(
                "stack",
                f"{self.root} holds something else and would be emptied",
                retryable=False,
                hint="name an empty folder with --state-dir",
            )

    def clear(self) -> None:
        """Remove everything but the lock, which is being held."""
        for path in self.root.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path != self.lock:
                path.unlink()

    def make(self) -> None:
        """Create the folders; they hold secrets, so nobody else may look."""
        for folder in (self.root, self.airflow, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
