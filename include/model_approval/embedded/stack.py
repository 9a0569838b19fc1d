"""The whole system from child processes: object store, registry, Airflow, model servers.

with Stack(StackOptions(), Progress()) as stack:
    stack.start()
    stack.user("ana").review("GET", "/requests")
"""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from functools import cached_property, partial
from types import TracebackType

from pydantic import SecretStr

from model_approval.embedded.airflow_api import AirflowHealth, AirflowUser, Json, wait_until
from model_approval.embedded.airflow_services import (
    airflow_environment,
    airflow_programs,
    cluster_environment,
    migrate_command,
)
from model_approval.embedded.credentials import load_secrets, write_private
from model_approval.embedded.interrupts import deaf
from model_approval.embedded.layout import HOST, REPOSITORY, Layout, StackOptions
from model_approval.embedded.lock import hold
from model_approval.embedded.mlflow_server import MODEL_BUCKET, mlflow_program
from model_approval.embedded.ports import claim, wait_free
from model_approval.embedded.processes import Program, Supervisor
from model_approval.embedded.seaweedfs import SeaweedFs
from model_approval.embedded.steps import Progress, Step, run_steps
from model_approval.settings import PREFIX, Settings

GPU_POOL = "gpu"
"""Airflow pool of the benchmarks; one slot, so that two never measure each other."""
REGISTRY_READY = ("registry (MLflow)", "buckets")
"""Steps after which model versions can be registered."""
_BEFORE_AIRFLOW = ("Airflow database", "signing key", "review database")


class Stack:
    """One running installation. Enter it to claim folder and ports, `start` it, leave it to stop everything."""

    def __init__(self, options: StackOptions, progress: Progress) -> None:
        self.layout = Layout(options.state_dir.resolve())
        self.progress = progress
        self._options = options
        self._exit = ExitStack()
        self._users: dict[str, AirflowUser] = {}

    def __enter__(self) -> Stack:
        if self._options.fresh:
            self.layout.require_ours()
        self.layout.make()
        self.stack_id = self._exit.enter_context(hold(self.layout.lock))
        try:
            if self._options.fresh:
                self.layout.clear()
                self.layout.make()
            self._secrets = load_secrets(self.layout)
            self._claim_ports()
            self._supervisor = Supervisor(self.stack_id, self.layout.logs)
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        with deaf():
            try:
                self.progress.say("stopping")
            finally:  # whoever was told may be gone: `make demo | head`
                outcome = self._stop()
        self.progress.say(outcome)

    def _stop(self) -> str:
        left = self._supervisor.stop()
        self.store.stop()
        taken = wait_free([self.airflow_port, self.mlflow_port, self.store_port], timeout_s=10.0)
        self._exit.close()
        would_not = f"; would not go: {left}" if left else ""
        return f"stopped{would_not}{f'; ports in use: {taken}' if taken else ''}"

    @property
    def airflow_url(self) -> str:
        """For people; passkeys work on `localhost` and not on an address."""
        return f"http://localhost:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        """The registry's page."""
        return f"http://localhost:{self.mlflow_port}"

    @property
    def passwords(self) -> dict[str, str]:
        """Everybody's password."""
        return self._secrets.passwords

    @cached_property
    def settings(self) -> Settings:
        """What our own code needs to reach everything."""
        return Settings(
            config_dir=self._options.config_dir or Settings().config_dir,
            home=self.layout.root,
            store_endpoint_url=self.store.endpoint_url,
            store_access_key=SecretStr(self.store.writer.access_key),
            store_secret_key=SecretStr(self.store.writer.secret_key),
            mlflow_artifact_root=f"s3://{MODEL_BUCKET}/",
            mlflow_tracking_uri=f"http://{HOST}:{self.mlflow_port}",
            validators_python=REPOSITORY / ".venv-validators" / "bin" / "python",
            intake_poll_s=2.0,
            review_poll_s=2.0,
            gpu_pool=GPU_POOL,
            kubeconfig=self._options.kubeconfig and self._options.kubeconfig.resolve(),
        )

    @cached_property
    def environment(self) -> dict[str, str]:
        """What every program of ours and of Airflow's is started with."""
        airflow = airflow_environment(self.layout, self._secrets, port=self.airflow_port)
        return {**airflow, **cluster_environment(self._options.kubeconfig), **settings_environment(self.settings)}

    def start(self, *more: Step) -> None:
        """Start everything, as much of it at once as is safe.

        Args:
            more: Steps of the caller, which may wait for ours by name (`REGISTRY_READY`).

        Raises:
            ModelApprovalError: A part did not start; holds the end of its log and what to do.
        """
        write_private(self.layout.shell, _shell(settings_environment(self.settings)))
        airflow = airflow_programs(self.environment, AirflowHealth(self.airflow_port), self.layout.root)
        registry = mlflow_program(self.layout, self.store.settings(self.store.reader), port=self.mlflow_port)
        steps = [
            Step("signing key", self._make_key),
            Step("object store", self._start_store),
            Step("buckets", self._make_buckets, after=("object store",)),
            Step("registry (MLflow)", partial(self._supervisor.start, registry)),
            Step("review database", self._upgrade_reviews),
            Step("Airflow database", self._migrate_airflow),
            *(Step(program.name, partial(self._supervisor.start, program), _BEFORE_AIRFLOW) for program in airflow),
            Step("model servers", partial(self._supervisor.start, self._serving_program())),
            Step("pool", self._make_pool, after=("airflow-api-server",)),
            *more,
        ]
        run_steps(steps, self.progress, stop=self._supervisor.stop)

    def user(self, name: str) -> AirflowUser:
        """One of the people, signed in; the same session each time."""
        if name not in self._users:
            self._users[name] = AirflowUser(self.airflow_port, name, self.passwords[name])
            self._exit.callback(self._users[name].close)
        return self._users[name]

    def wait_for_dags(self, wanted: set[str], *, deadline_s: float = 90.0) -> None:
        """Wait until the scheduler knows these DAGs.

        Raises:
            OutsideSystemError: One is still missing; names it and what failed to import.
        """
        admin = self.user("admin")

        def known() -> bool:
            found: Json = admin.call("GET", "/api/v2/dags?limit=100")
            return wanted <= {dag["dag_id"] for dag in found["dags"]}

        errors: Json = admin.call("GET", "/api/v2/importErrors")
        failed = ", ".join(str(error["filename"]) for error in errors["import_errors"])
        wait_until(
            known,
            what=f"the DAGs {sorted(wanted)}{f' (failed to import: {failed})' if failed else ''}",
            deadline_s=deadline_s,
        )

    def pid_of(self, program: str) -> int:
        """The process id of a program, for example `airflow-scheduler`; another one after it was started again."""
        return self._supervisor.pid_of(program)

    def tend(self) -> None:
        """Start programs again that died; call it now and then."""
        for line in self._supervisor.restart_dead():
            self.progress.say(line, style="yellow")

    def _claim_ports(self) -> None:
        options = self._options
        self.airflow_port = claim(options.airflow_port, program="Airflow", flag="--airflow-port")
        self.mlflow_port = claim(options.mlflow_port, program="MLflow", flag="--mlflow-port")
        self.store_port = claim(options.store_port, program="object store", flag="--store-port")
        self.store = SeaweedFs(self.layout.store, s3_port=self.store_port)

    def _start_store(self) -> None:
        self.store.start()
        if self.store.pid is not None:
            self._supervisor.adopt(self.store.pid)

    def _make_buckets(self) -> None:
        from model_approval.adapters.s3_client import ensure_buckets

        admin = {
            "store_access_key": SecretStr(self.store.admin.access_key),
            "store_secret_key": SecretStr(self.store.admin.secret_key),
        }
        ensure_buckets(self.settings.model_copy(update=admin))

    def _make_key(self) -> None:
        from model_approval.adapters.signing import create_key

        if not self.settings.signing_key.exists():
            create_key(self.settings.signing_key, self.settings.trusted_keys)

    def _upgrade_reviews(self) -> None:
        from model_approval.adapters.sql.migrations import upgrade_database

        upgrade_database(self.settings.review_database_url)

    def _migrate_airflow(self) -> None:
        stamp = self.layout.airflow / "migrated-to"
        current = _airflow_version()
        if stamp.exists() and stamp.read_text() == current:
            return
        self._supervisor.run("airflow-migrate", migrate_command(), self.environment)
        stamp.write_text(current)

    def _serving_program(self) -> Program:
        command = (sys.executable, "-m", "model_approval.embedded.serving")
        environment = settings_environment(self.settings)
        # Nothing waits for it: a deployment does, and it is started again when it dies.
        return Program("serving", command, self.layout.root, ready=lambda: True, environment=environment)

    def _make_pool(self) -> None:
        admin = self.user("admin")
        status, _ = admin.attempt("GET", f"/api/v2/pools/{GPU_POOL}")
        if status == 404:
            body = {"name": GPU_POOL, "slots": 1, "description": "benchmarks, one at a time", "include_deferred": True}
            admin.call("POST", "/api/v2/pools", body)


def settings_environment(settings: Settings) -> dict[str, str]:
    """The environment variables from which another process reads these same settings."""
    given = {}
    for name in Settings.model_fields:
        value = getattr(settings, name)
        if value is not None:
            given[PREFIX + name.upper()] = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
    return given


def _shell(environment: dict[str, str]) -> str:
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sorted(environment.items())]
    return "\n".join(["# source this to use model-approval against the running stack; holds secrets", *lines, ""])


def _airflow_version() -> str:
    from importlib.metadata import version

    return version("apache-airflow-core")
