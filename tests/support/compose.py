"""docker-compose.yaml brought up on a real engine, its hub images replaced by stand-ins.

    with running_project(folder) as system:
        system.user("ana").review("GET", "/requests")
        system.run("airflow-scheduler", "model-approval", "queue")

Needs an engine (`DOCKER_HOST`), Debian's `docker-compose`, and the cluster of the cluster tests (`KUBECONFIG`), which
stands in for k3s. Everything is removed at the end, volumes and networks too; images stay, so that the next start is
quick.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import SecretStr

from model_approval.adapters.kubernetes.client import connect
from model_approval.embedded.airflow_api import AirflowUser, Json
from model_approval.settings import Settings
from tests.support.cluster import image_on_cluster
from tests.support.servers import free_port, wait_until

ROOT = Path(__file__).resolve().parents[2]
FILES = ("docker-compose.yaml", "tests/integration/compose.standin.yaml")
TARGETS = ROOT / "include" / "images" / "compose" / "config" / "targets"
HOST_FOR_CONTAINERS = os.environ.get("TEST_HOST_FOR_PODS", "10.99.0.1")
BUILD_S, UP_S, HEALTHY_S, COMMAND_S = 900, 600, 300, 240
"""Deadlines in seconds, for a machine that does much else: images from nothing, services started in order, all of them
healthy, any other command. Seen on two cores beside other work: 170, 25 to 60, 20 and 12."""


@dataclass(frozen=True)
class ComposeProject:
    """One start of the compose file under a name of its own."""

    name: str
    env_file: Path
    environment: Mapping[str, str]

    @property
    def secrets(self) -> dict[str, str]:
        """What `.env` holds."""
        lines = [line for line in self.env_file.read_text().splitlines() if "=" in line and not line.startswith("#")]
        return dict(line.split("=", 1) for line in lines)

    def compose(self, *arguments: str, timeout_s: float = COMMAND_S) -> str:
        """What docker-compose printed; its own words when it failed."""
        files = [part for file in FILES for part in ("--file", file)]
        command = ["docker-compose", "--project-name", self.name, "--env-file", str(self.env_file), *files, *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=dict(self.environment),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, (
            f"docker-compose {' '.join(arguments)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        )
        return done.stdout

    def run(self, service: str, *command: str) -> str:
        """Output of a command inside a service's container."""
        return self.compose("exec", "-T", service, *command)

    def user(self, name: str) -> AirflowUser:
        """One of the people, signed in through FAB."""
        return AirflowUser(int(self.secrets["AIRFLOW_PORT"]), name, self.secrets[f"{name.upper()}_PASSWORD"])

    def settings(self, identity: str) -> Settings:
        """Settings with which this machine reaches registry and store, as one of the store's identities."""
        given = self.secrets
        return Settings(
            store_endpoint_url=f"http://127.0.0.1:{given['STORE_PORT']}",
            store_access_key=SecretStr(given[f"STORE_{identity.upper()}_ACCESS_KEY"]),
            store_secret_key=SecretStr(given[f"STORE_{identity.upper()}_SECRET_KEY"]),
            mlflow_tracking_uri=f"http://127.0.0.1:{given['MLFLOW_PORT']}",
        )

    def containers(self) -> dict[str, Json]:
        """What the engine knows of each service's container."""
        ids = self.compose("ps", "--quiet").split()
        done = subprocess.run(
            ["docker", "inspect", *ids], env=dict(self.environment), capture_output=True, check=True, timeout=60
        )
        label = "com.docker.compose.service"
        return {found["Config"]["Labels"][label]: found for found in json.loads(done.stdout)}

    def unhealthy(self) -> dict[str, str]:
        """Services that are not as they should be: running ones not healthy, jobs not ended well."""
        wrong = {}
        for service, found in self.containers().items():
            state = found["State"]
            health = state.get("Health", {}).get("Status")
            ended_well = state["Status"] == "exited" and state["ExitCode"] == 0
            if health != "healthy" and not (health is None and ended_well):
                wrong[service] = f"{state['Status']}, {health or state['ExitCode']}"
        return wrong


@contextmanager
def running_project(folder: Path) -> Iterator[ComposeProject]:
    """The system, every service healthy; what its services said is left in `services.log` of the folder."""
    images = {"validator_image": image_on_cluster("validator"), "server_image": image_on_cluster("server")}
    project = _project(folder, images)
    _build(project)
    try:
        project.compose("up", "--detach", "--no-build", timeout_s=UP_S)
        wait_until(lambda: not project.unhealthy(), timeout_s=HEALTHY_S, what="all services healthy")
        yield project
    finally:
        (folder / "services.log").write_text(project.compose("logs", "--no-color"))
        project.compose("down", "--volumes", "--remove-orphans", "--timeout=5")
        _forget_on_cluster()


def missing() -> str:
    """What this machine lacks, in words; empty when nothing."""
    for variable, what in (("DOCKER_HOST", "a Docker engine"), ("KUBECONFIG", "a cluster in the place of k3s")):
        if not os.environ.get(variable):
            return f"no {variable}: docker-compose.yaml needs {what}"
    return "" if shutil.which("docker-compose") else "docker-compose is not installed"


def _project(folder: Path, images: Mapping[str, str]) -> ComposeProject:
    env_file, targets = folder / "env", folder / "targets"
    subprocess.run(["include/environments/make-env", str(env_file)], cwd=ROOT, check=True, capture_output=True)
    ports = "".join(f"{name}_PORT={free_port()}\n" for name in ("AIRFLOW", "MLFLOW", "STORE"))
    env_file.write_text(env_file.read_text() + ports)  # the last one counts
    _write_target(targets, images)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("COMPOSE_")},
        "STANDIN_KUBECONFIG": str(Path(os.environ["KUBECONFIG"]).resolve()),
        "STANDIN_CLUSTER_SERVER": f"https://{HOST_FOR_CONTAINERS}:6443",
        "STANDIN_TARGETS": str(targets),
    }
    return ComposeProject(f"compose-test-{secrets.token_hex(3)}", env_file, environment)


def _forget_on_cluster() -> None:
    """Remove the credentials that `cluster-init` left; namespaces and rights are those of the cluster tests too."""
    cluster = connect(Path(os.environ["KUBECONFIG"]))
    cluster.delete("Secret", "model-serving", "model-store-reader")
    cluster.delete("Secret", "model-validation", "model-approval-token")


def _write_target(folder: Path, images: Mapping[str, str]) -> None:
    """The compose file's own target, but for the images' tags. Containers read it as another user."""
    target = yaml.safe_load((TARGETS / "cluster.yaml").read_text())
    target["kubernetes"].update(images)
    folder.mkdir()
    (folder / "cluster.yaml").write_text(yaml.safe_dump(target))
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)


def _build(project: ComposeProject) -> None:
    """Side by side what does not wait for each other. All of our services share the image of `airflow-init`."""

    def build(*services: str) -> None:
        for service in services:
            project.compose("build", service, timeout_s=BUILD_S)

    with ThreadPoolExecutor() as pool:
        chains = (("airflow-init",), ("postgres",), ("seaweedfs-base", "seaweedfs"))
        for done in [pool.submit(build, *chain) for chain in chains]:
            done.result()
