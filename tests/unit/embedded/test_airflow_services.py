"""What Airflow's programs are told of the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_approval.domain.deployment import KubernetesTarget
from model_approval.embedded.airflow_services import airflow_environment, cluster_environment
from model_approval.embedded.credentials import load_secrets
from model_approval.embedded.layout import Layout

pytestmark = pytest.mark.unit

_PRELOAD = "AIRFLOW__SCHEDULER__MP_FORKSERVER_PRELOAD"


def test_login_becomes_the_connection_that_targets_name_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = KubernetesTarget.model_fields["connection_id"].default

    given = cluster_environment(Path("kubeconfig"))

    connection = json.loads(given[f"AIRFLOW_CONN_{name.upper()}"])
    assert connection == {"conn_type": "kubernetes", "extra": {"kube_config_path": str(tmp_path / "kubeconfig")}}


def test_tasks_on_a_cluster_are_forked_with_its_library_beside_all_others(tmp_path):
    layout = Layout(tmp_path)
    layout.make()
    plain = airflow_environment(layout, load_secrets(layout), port=1)[_PRELOAD].split(",")

    assert cluster_environment(tmp_path)[_PRELOAD].split(",") == [
        *plain,
        "airflow.providers.cncf.kubernetes.operators.pod",
    ]


def test_without_a_login_nothing_is_said_of_a_cluster():
    assert cluster_environment(None) == {}
