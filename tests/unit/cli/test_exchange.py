"""`scan` with documents of other tools, through the real command and the real validator."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.support.advisories import an_advisory, write_export
from tests.support.models import write_folder
from tests.support.signed_models import make_keys, sign
from tests.unit.cli.test_commands import run

pytestmark = pytest.mark.unit


class _Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("true",)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "prep.pkl").write_bytes(pickle.dumps(_Runs()))
    (folder / "notes.txt").write_text("hello\n")
    return folder


def scan(artifact: Path, *options: object) -> tuple[int, dict[str, Any]]:
    done = run("scan", str(artifact), "--json", *map(str, options))
    assert done.returncode in (0, 1, 3), done.stderr
    return done.returncode, json.loads(done.stdout)


def statements_for(artifact: Path, folder: Path, **changes: object) -> Path:
    """What a reviewer makes of the file that `--vex-output` wrote."""
    draft = folder / "draft.json"
    scan(artifact, "--vex-output", draft)
    document = json.loads(draft.read_text())
    for statement in document["statements"]:
        statement.pop("status_notes")
        statement |= {"status": "not_affected", "impact_statement": "only read, never loaded", **changes}
    reviewed = folder / "reviewed.json"
    reviewed.write_text(json.dumps(document | {"author": "ana@example.org"}))
    return reviewed


def test_findings_written_as_vex_and_answered_by_a_reviewer_no_longer_fail_the_scan(artifact, tmp_path):
    code, found = scan(artifact, "--vex", statements_for(artifact, tmp_path))
    assert (code, found["verdict"]) == (0, "passed")
    assert {one["author"] for one in found["accepted"]} == {"ana@example.org"}
    assert {one["fingerprint"] for one in found["accepted"]} == set(found["fingerprints"])
    assert found["evidence"]["findings"]


def test_statements_still_under_investigation_change_nothing(artifact, tmp_path):
    code, found = scan(artifact, "--vex", statements_for(artifact, tmp_path, status="under_investigation"))
    assert (code, found["accepted"]) == (1, [])


def test_statements_about_other_bytes_change_nothing(artifact, tmp_path):
    reviewed = statements_for(artifact, tmp_path)
    (artifact / "notes.txt").write_text("changed\n")
    assert scan(artifact, "--vex", reviewed)[0] == 1


def test_statements_that_came_inside_the_artifact_are_never_honoured(artifact, tmp_path):
    inside = artifact / "model.openvex.json"
    inside.write_text("{}")
    # Written about the fingerprints alone would need the digest of itself; the model's name does not.
    reviewed = statements_for(artifact, tmp_path, products=[{"@id": "pkg:generic/fraud-scorer"}])
    inside.write_text(reviewed.read_text())
    code, found = scan(artifact, "--model", "fraud-scorer")
    assert (code, found["accepted"]) == (1, [])
    refused = run("scan", str(artifact), "--model", "fraud-scorer", "--vex", str(inside))
    assert refused.returncode == 2
    assert "lies inside of what is scanned" in refused.stderr
    inside.unlink()
    assert scan(artifact, "--model", "fraud-scorer", "--vex", reviewed)[0] == 0


@pytest.mark.parametrize("option", ["--sarif", "--vex-output", "--sbom"])
def test_no_document_is_written_over_what_is_read(artifact, tmp_path, option):
    reviewed = tmp_path / "reviewed.json"
    reviewed.write_text("the reviewer's work")
    for output in (reviewed, artifact / "notes.txt", artifact / "new.json"):
        refused = run("scan", str(artifact), "--vex", str(reviewed), option, str(output))
        assert refused.returncode == 2
        assert f"{output} would overwrite what is read" in refused.stderr
    assert reviewed.read_text() == "the reviewer's work"
    assert sorted(path.name for path in artifact.iterdir()) == ["notes.txt", "prep.pkl"]


def test_two_documents_do_not_go_to_one_file(artifact, tmp_path):
    refused = run("scan", str(artifact), "--sarif", str(tmp_path / "out"), "--sbom", str(tmp_path / "out"))
    assert (refused.returncode, "same file" in refused.stderr) == (2, True)


def test_malformed_statements_are_bad_input(artifact, tmp_path):
    wrong = tmp_path / "wrong.json"
    wrong.write_text("{}")
    done = run("scan", str(artifact), "--vex", str(wrong))
    assert done.returncode == 2
    assert "wrong.json" in done.stderr


def test_sarif_is_written_beside_the_document_on_standard_output(artifact, tmp_path):
    code, found = scan(artifact, "--sarif", tmp_path / "out.sarif")
    log = json.loads((tmp_path / "out.sarif").read_text())
    results = log["runs"][0]["results"]
    assert code == 1
    assert [one["partialFingerprints"]["modelApproval/mf1"] for one in results] == found["fingerprints"]


def test_a_scan_that_cannot_start_leaves_no_older_documents(artifact, tmp_path):
    log, vex = tmp_path / "out.sarif", tmp_path / "out.vex.json"
    log.write_text("from an earlier scan")
    vex.write_text("from an earlier scan")
    done = run(
        *("scan", str(artifact), "--sarif", str(log), "--vex-output", str(vex)),
        MODEL_APPROVAL_VALIDATORS_PYTHON="/nowhere/python",
    )
    assert done.returncode == 3
    assert json.loads(log.read_text())["runs"][0]["invocations"][0]["executionSuccessful"] is False
    assert not vex.exists()


def test_the_log_of_a_scan_that_broke_says_so(artifact, tmp_path):
    log = tmp_path / "out.sarif"
    code, found = scan(artifact, "--sarif", log, "--timeout-s", 0)
    assert (code, found["verdict"]) == (3, "errored")
    assert json.loads(log.read_text())["runs"][0]["invocations"][0]["executionSuccessful"] is False


def test_an_imported_database_makes_declared_packages_a_matter_of_yes_or_no(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model/requirements.txt").write_text("left-pad==1.3\n")
    assert scan(tmp_path / "model")[1]["verdict"] == "inconclusive"
    export, index = write_export(tmp_path / "all.zip", an_advisory()), tmp_path / "pypi.sqlite"
    done = run("vulnerabilities", "import", str(export), str(index), "--json")
    assert (done.returncode, json.loads(done.stdout)["advisories"]) == (0, 1)
    assert scan(tmp_path / "model", "--osv", index)[1]["verdict"] == "passed"
    done = run("scan", str(tmp_path / "model"), MODEL_APPROVAL_OSV_DATABASE=str(index))
    assert done.returncode == 0


def test_a_broken_export_is_not_imported(tmp_path):
    (tmp_path / "all.zip").write_bytes(b"no zip")
    done = run("vulnerabilities", "import", str(tmp_path / "all.zip"), str(tmp_path / "index"))
    assert (done.returncode, (tmp_path / "index").exists()) == (3, False)
    assert "neither a folder, a zip nor an index" in done.stderr


def test_a_model_must_be_signed_by_the_key_that_is_named(tmp_path):
    model = write_folder(tmp_path / "model", {"weights.json": b"[1]"})
    keys = make_keys(tmp_path)
    public = tmp_path / "signer.pem"
    public.write_text(keys.public)
    assert scan(model, "--signed-by", public)[1]["verdict"] == "failed"
    sign(model, keys)
    code, found = scan(model, "--signed-by", public)
    assert (code, found["evidence"]["environment"]["signature"][:21]) == (0, "verified: key sha256:")
