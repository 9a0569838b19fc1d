"""The command line as programs meet it: exit codes, one JSON document, errors in words on standard error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("MODEL_APPROVAL_")}
    return subprocess.run(
        [sys.executable, "-c", "from model_approval.cli import main; main()", *arguments],
        env={**clean, "MODEL_APPROVAL_VALIDATORS_PYTHON": str(ROOT / ".venv-validators/bin/python"), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "model_card.md").write_text("# Model card\n")
    (folder / "weights.json").write_text('{"w": [1, 2]}')
    return folder


def test_digest_names_the_bytes_and_changes_with_a_file_name(artifact: Path) -> None:
    first = run("digest", str(artifact))
    (artifact / "weights.json").rename(artifact / "other.json")
    second = run("digest", str(artifact))
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout.startswith("sha256:")
    assert first.stdout != second.stdout


def test_digest_as_json_holds_the_manifest(artifact: Path) -> None:
    found = json.loads(run("digest", str(artifact), "--json").stdout)
    assert [entry["path"] for entry in found["manifest"]["files"]] == ["docs/model_card.md", "weights.json"]


def test_a_link_in_an_artifact_is_named_and_refused(artifact: Path) -> None:
    (artifact / "passwd").symlink_to("/etc/passwd")
    done = run("digest", str(artifact))
    assert done.returncode == 2
    assert "passwd is a link" in done.stderr


def test_scan_of_harmless_files_passes(artifact: Path) -> None:
    done = run("scan", str(artifact), "--json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "passed"), done.stdout


def test_scan_of_a_dangerous_pickle_fails_and_names_it(artifact: Path) -> None:
    (artifact / "weights.json").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    done = run("scan", str(artifact), "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["verdict"]) == (1, "failed")
    assert {finding["file"] for finding in found["evidence"]["findings"]} == {"weights.json"}


def test_scan_of_bytes_that_nobody_can_read_is_inconclusive(artifact: Path) -> None:
    (artifact / "blob.bin").write_bytes(bytes(range(256)) * 64)
    done = run("scan", str(artifact), "--json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (3, "inconclusive"), done.stdout


def test_scan_without_its_interpreter_is_errored_in_words(artifact: Path) -> None:
    done = run("scan", str(artifact), "--json", MODEL_APPROVAL_VALIDATORS_PYTHON="/nowhere/python")
    assert done.returncode == 3
    assert "/nowhere/python" in done.stdout + done.stderr


def test_a_benchmark_without_a_model_cannot_tell(artifact: Path) -> None:
    done = run("benchmark", str(artifact), "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["verdict"] in ("inconclusive", "errored")


def test_policy_check_accepts_what_is_shipped() -> None:
    done = run("policy", "check", "--json")
    found = json.loads(done.stdout)
    assert (done.returncode, found["problems"]) == (0, [])
    assert "fraud-scoring" in found["policies"]


def test_policy_check_names_file_line_and_field_of_a_mistake(tmp_path: Path) -> None:
    for name in ("policies", "committees", "targets"):
        shutil.copytree(ROOT / "include" / name, tmp_path / name)
    path = tmp_path / "policies" / "fraud-scoring.yaml"
    path.write_text(path.read_text().replace("timeout_s: 600", "timeout: 600", 1))
    done = run("policy", "check", str(tmp_path))
    assert done.returncode == 2
    assert "fraud-scoring.yaml:" in done.stderr
    assert "timeout" in done.stderr


def test_policy_show_prints_the_rules_with_their_digest() -> None:
    shown = json.loads(run("policy", "show", "fraud-scoring").stdout)
    assert shown["digest"].startswith("sha256:")
    assert shown["committee"]["name"] == "model-risk"


def test_an_unknown_policy_is_answered_with_the_known_ones() -> None:
    done = run("policy", "show", "nothing")
    assert done.returncode == 2
    assert "fraud-scoring" in done.stderr


@pytest.mark.parametrize("arguments", [("queue", "--json"), ("status", "pr-nothing")])
def test_without_a_database_the_remedy_is_named(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(*arguments, MODEL_APPROVAL_HOME=str(tmp_path))
    assert done.returncode == 3
    assert "model-approval db upgrade" in done.stderr


def test_an_empty_queue_is_an_empty_list_and_an_unknown_request_bad_input(tmp_path: Path) -> None:
    assert run("db", "upgrade", MODEL_APPROVAL_HOME=str(tmp_path)).returncode == 0
    assert json.loads(run("queue", "--json", MODEL_APPROVAL_HOME=str(tmp_path)).stdout) == []
    unknown = run("status", "pr-nothing", MODEL_APPROVAL_HOME=str(tmp_path))
    assert unknown.returncode == 2
    assert "pr-nothing" in unknown.stderr


def test_a_mistyped_setting_is_named(tmp_path: Path) -> None:
    done = run("queue", MODEL_APPROVAL_DATABSE_URL="sqlite://")
    assert done.returncode == 2
    assert "MODEL_APPROVAL_DATABSE_URL" in done.stderr


def test_a_payload_file_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "payload.json").write_text("semantic_version: 1.4.0")
    ask = ("request", "m", "1", "--environment", "production", "--reason", "because")
    done = run(*ask, "--payload", str(tmp_path / "payload.json"))
    assert done.returncode == 2
    assert "payload.json is not JSON" in done.stderr


def test_a_file_that_cannot_be_used_is_bad_input_and_never_a_clear_no(tmp_path: Path) -> None:
    (tmp_path / "bundle.jsonl").write_bytes(b"")
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "one.pem").write_text("no key")
    bundle = ("--bundle", str(tmp_path / "bundle.jsonl"))
    for arguments in (("--key", str(tmp_path / "keys" / "one.pem")), ("--heads", str(tmp_path / "bundle.jsonl"))):
        done = run("audit", "verify", *bundle, *arguments)
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr


def test_policy_check_warns_of_two_policies_that_govern_the_same_model(tmp_path: Path) -> None:
    for name in ("policies", "committees", "targets"):
        shutil.copytree(ROOT / "include" / name, tmp_path / name)
    text = (tmp_path / "policies" / "fraud-scoring.yaml").read_text()
    (tmp_path / "policies" / "other.yaml").write_text(text.replace("name: fraud-scoring", "name: other", 1))
    done = run("policy", "check", str(tmp_path))
    assert done.returncode == 0
    assert "warning: policies fraud-scoring and other can govern the same model" in done.stderr


def test_no_traceback_reaches_the_person(tmp_path: Path) -> None:
    for arguments in (("status",), ("scan", str(tmp_path / "missing")), ("audit", "verify", "--bundle", "/nowhere")):
        done = run(*arguments)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
