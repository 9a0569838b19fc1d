"""docker-compose.yaml and what it leans on, read as files: what must agree, agrees; nothing secret is written down."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path

import pytest
import yaml

from model_approval.policy.catalog import FileCatalog
from model_approval.settings import load_settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docker-compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]
CONFIG = ROOT / "include" / "images" / "compose" / "config"
EXAMPLE = (ROOT / ".env.example").read_text()


def names_of(text: str) -> set[str]:
    return set(re.findall(r"^([A-Z_]+)=", text, re.MULTILINE))


def make_env(target: Path) -> subprocess.CompletedProcess[str]:
    command = ["include/environments/make-env", str(target)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)


def test_every_variable_of_the_file_is_in_the_example_and_the_other_way_round():
    used = set(re.findall(r"\$\{([A-Z_]+)", TEXT))

    assert used == names_of(EXAMPLE)


def test_nothing_secret_stands_in_the_example():
    filled = dict(re.findall(r"^([A-Z_]+)=(.+)$", EXAMPLE, re.MULTILINE))

    assert filled == {"AIRFLOW_PORT": "8080", "MLFLOW_PORT": "5000", "STORE_PORT": "8333"}


def test_made_secrets_fill_every_name_differ_and_are_for_the_owner_alone(tmp_path):
    assert make_env(tmp_path / "one").returncode == 0
    assert make_env(tmp_path / "two").returncode == 0

    one, two = (
        dict(re.findall(r"^([A-Z_]+)=(.+)$", (tmp_path / name).read_text(), re.MULTILINE)) for name in ("one", "two")
    )
    assert one.keys() == two.keys() == names_of(EXAMPLE)
    made = [value for values in (one, two) for name, value in values.items() if not name.endswith("_PORT")]
    assert len(set(made)) == len(made)
    assert min(map(len, made)) >= 20
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600


def test_secrets_that_exist_are_never_replaced(tmp_path):
    target = tmp_path / "env"
    target.write_text("AIRFLOW_PORT=1\n")

    done = make_env(target)

    assert done.returncode == 1
    assert "stays as it is" in done.stderr
    assert target.read_text() == "AIRFLOW_PORT=1\n"


def test_file_has_no_top_level_name_so_that_compose_1_reads_it():
    assert "name" not in COMPOSE
    assert "version" not in COMPOSE


def test_ports_are_published_on_loopback_alone():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published), published


def test_pods_are_told_the_address_that_the_store_has():
    address = SERVICES["seaweedfs"]["networks"]["cluster"]["ipv4_address"]
    target = yaml.safe_load((CONFIG / "targets" / "cluster.yaml").read_text())

    assert target["kubernetes"]["store_endpoint_url"] == f"http://{address}:8333"
    assert SERVICES["cluster-init"]["environment"]["STORE_CIDR"] == f"{address}/32"


def test_every_policy_of_the_compose_installation_can_be_used():
    catalog = FileCatalog(CONFIG)

    assert catalog.problems() == []
    assert [frozen.policy.name for frozen in catalog.all()] == ["fraud-scoring-kubernetes"]


def test_our_settings_in_the_file_are_settings_that_exist():
    environment = {name: str(value) for name, value in COMPOSE["x-airflow-environment"].items()}

    assert load_settings(environment).registry_names == ("mlflow",)


def test_only_the_set_up_job_holds_the_stores_administrator_and_peoples_passwords():
    holders = {
        service
        for service, found in SERVICES.items()
        if re.search(r"STORE_ADMIN|ANA_PASSWORD", str(found.get("environment")))
    }

    assert holders == {"airflow-init", "seaweedfs"}


def test_long_running_services_have_a_health_check_and_start_again():
    for name, service in SERVICES.items():
        if not name.endswith("-init"):
            assert "healthcheck" in service, name
            assert service["restart"] == "unless-stopped", name


def test_every_service_of_ours_runs_without_linux_capabilities_as_an_unprivileged_user():
    for name, service in SERVICES.items():
        if service["image"].startswith("localhost/model-approval-airflow"):
            assert service["cap_drop"] == ["ALL"], name
            assert "user" not in service, name


def test_no_image_is_taken_by_a_moving_tag():
    for name, service in SERVICES.items():
        assert re.search(r":(dev|v?\d[\w.-]*)$", service["image"]), name
