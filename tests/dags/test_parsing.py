"""DAG files as Airflow's dag processor sees them: quick, light, and unharmed by a bad policy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.dags

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("mlflow", "boto3", "botocore", "kubernetes", "great_expectations", "onnxruntime", "onnx", "sklearn")
LIMIT_S = 2.0
"""The issue's limit for all DAG files together, once Airflow itself is imported."""

PROBE = """
import json, runpy, sys, time
import airflow.sdk
import airflow.models  # what the dag processor has loaded before it meets our files
before, started = set(sys.modules), time.process_time()
dags = {}
for path in sys.argv[1:]:
    for value in runpy.run_path(path).values():
        if type(value).__name__ == "DAG":
            dags[value.dag_id] = sorted(value.task_ids)
new = sorted(set(sys.modules) - before)
print(json.dumps({"dags": dags, "seconds": time.process_time() - started, "modules": new}))
"""


def parse(tmp_path: Path, config_dir: Path | None = None) -> dict[str, Any]:
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "MODEL_APPROVAL_MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
        "MODEL_APPROVAL_S3_REGISTRY_BUCKET": "registry",
        **({"MODEL_APPROVAL_CONFIG_DIR": str(config_dir)} if config_dir else {}),
    }
    files = [str(path) for path in sorted((ROOT / "dags").glob("*.py"))]
    done = subprocess.run(
        [sys.executable, "-c", PROBE, *files], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parsed


def a_config(tmp_path: Path) -> Path:
    config = tmp_path / "config"
    for folder in ("policies", "committees", "targets"):
        shutil.copytree(ROOT / "include" / folder, config / folder)
    return config


def test_every_policy_and_registry_has_its_dag(tmp_path: Path) -> None:
    dags = parse(tmp_path)["dags"]
    assert dags["promote__fraud_scoring"] == sorted(
        ["intake", "security_scan", "gpu_benchmark", "evaluate", "review", "deploy", "record"]
    )
    assert {"promotion_intake__mlflow", "promotion_intake__s3", "promotion_roll_back"} <= set(dags)


def test_parsing_imports_no_heavy_library_and_stays_under_the_limit(tmp_path: Path) -> None:
    parsed = parse(tmp_path)
    loaded = {name.partition(".")[0] for name in parsed["modules"]}
    assert not loaded & set(HEAVY)
    # Processor time, not wall time: other tests may share the machine.
    assert parsed["seconds"] < LIMIT_S


def test_a_bad_policy_takes_down_only_itself_and_is_named_in_the_dag_list(tmp_path: Path) -> None:
    config = a_config(tmp_path)
    (config / "policies" / "broken.yaml").write_text("schema: model-approval/policy/v1\nname: broken\nchecks: 7\n")
    dags = parse(tmp_path, config)["dags"]
    assert "promote__fraud_scoring" in dags
    assert "promote__broken" not in dags
    assert dags["policy_problems"] == []


def test_without_any_problem_there_is_no_problem_dag(tmp_path: Path) -> None:
    assert "policy_problems" not in parse(tmp_path, a_config(tmp_path))["dags"]
