"""Airflow's four processes, configured by environment variables alone.

`airflow standalone` would be one command, but hides which part failed and leaves children behind when it is stopped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from model_approval.embedded.airflow_api import AirflowHealth
from model_approval.embedded.credentials import StackSecrets
from model_approval.embedded.layout import HOST, REPOSITORY, Layout
from model_approval.embedded.people import PEOPLE
from model_approval.embedded.processes import Program

_PRELOAD = (
    "airflow.executors.local_executor",
    "airflow.sdk.execution_time.task_runner",
    "model_approval.embedded.preload",
)
_POD_OPERATOR = "airflow.providers.cncf.kubernetes.operators.pod"
"""Takes each task process on a cluster three seconds of computing to import, and twice a check."""
PARALLEL_TASKS = 4
"""Tasks at the same time. More would only wait for each other on two cores, and each worker holds 50 to 100 MB."""


def airflow_environment(layout: Layout, secrets: StackSecrets, *, port: int) -> dict[str, str]:
    """Every setting in which the embedded Airflow differs from its defaults.

    Args:
        layout: Where its files are.
        secrets: Shared by the processes; the same at each start, so that sessions live on.
        port: Of the API server.
    """
    users = ",".join(f"{person.name}:{person.airflow_role}" for person in PEOPLE)
    return {
        "AIRFLOW_HOME": str(layout.airflow),
        "AIRFLOW__CORE__DAGS_FOLDER": str(REPOSITORY / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(REPOSITORY / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(PARALLEL_TASKS),
        "AIRFLOW__CORE__FERNET_KEY": secrets.fernet_key,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(layout.passwords),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{HOST}:{port}/execution/",
        # The default asks DNS for our full name, which takes seconds on a laptop without a network.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        # SQLite lets one write at a time; by default the others give up after 5 s, which a busy laptop exceeds.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{layout.airflow / 'airflow.db'}?timeout=60",
        "AIRFLOW__API__HOST": HOST,
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": f"http://localhost:{port}",
        "AIRFLOW__API__SECRET_KEY": secrets.api_secret_key,
        "AIRFLOW__API__WORKERS": "1",
        # Also the time that a stopping server grants open connections; an open browser tab keeps one.
        "AIRFLOW__API__WORKER_TIMEOUT": "5",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.jwt_secret,
        # Files are looked for every 5 s (default 300), so that an edited policy shows while its author still looks.
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "15",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        # A waiting review is a running DAG run. With the default of 20 per loop, 400 of them slowed all others to 20 s.
        "AIRFLOW__SCHEDULER__MAX_DAGRUNS_PER_LOOP_TO_SCHEDULE": "200",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        # Tasks are forked from processes that have these imported already: 10 s of processor time less for each intake.
        "AIRFLOW__SCHEDULER__MP_START_METHOD": "forkserver",
        "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join(_PRELOAD),
        "GX_ANALYTICS_ENABLED": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
    }


def cluster_environment(kubeconfig: Path | None) -> dict[str, str]:
    """What tasks on a cluster need, beside `airflow_environment`; nothing without a kubeconfig.

    The connection is the one that Kubernetes targets name unless told otherwise (`kubernetes_default`).
    """
    if kubeconfig is None:
        return {}
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig.resolve())}}
    return {
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD": ",".join((*_PRELOAD, _POD_OPERATOR)),
    }


def migrate_command() -> tuple[str, ...]:
    """Brings the metadata database up to date."""
    return (*_airflow(), "db", "migrate")


def airflow_programs(environment: Mapping[str, str], health: AirflowHealth, cwd: Path) -> list[Program]:
    """API server, scheduler, dag-processor and triggerer. Task logs are read from disk, so none serves them by HTTP."""
    commands = {
        "api-server": ("api-server",),
        "scheduler": ("scheduler", "--skip-serve-logs"),
        "dag-processor": ("dag-processor",),
        "triggerer": ("triggerer", "--skip-serve-logs"),
    }
    return [
        Program(
            name=f"airflow-{name}",
            command=(*_airflow(), *command),
            cwd=cwd,
            ready=health.check(name),
            environment=environment,
        )
        for name, command in commands.items()
    ]


def _airflow() -> tuple[str, ...]:
    return (sys.executable, "-m", "airflow")
