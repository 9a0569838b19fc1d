"""What Airflow's programs are told of the cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from model_approval.domain.deployment import KubernetesTarget
from model_approval.embedded.airflow_services import cluster_connection

pytestmark = pytest.mark.unit


def test_login_becomes_the_connection_that_targets_name_unless_told_otherwise(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = KubernetesTarget.model_fields["connection_id"].default

    given = cluster_connection(Path("kubeconfig"))

    connection = json.loads(given[f"AIRFLOW_CONN_{name.upper()}"])
    assert connection == {"conn_type": "kubernetes", "extra": {"kube_config_path": str(tmp_path / "kubeconfig")}}


def test_without_a_login_there_is_no_connection():
    assert cluster_connection(None) == {}
