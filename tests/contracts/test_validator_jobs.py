"""A validator's whole way: fetched and verified bytes, confined run, evidence written home exactly once."""

from __future__ import annotations

import gzip
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_approval.adapters.local_validators import LocalValidatorRunner
from model_approval.domain.digests import canonical_json
from model_approval.domain.errors import EvidenceError
from model_approval.domain.evidence import Evidence, ValidatorJob
from model_approval.domain.manifest import manifest_of_folder
from tests.support.models import an_onnx_model, write_folder
from tests.support.validation import PYTHON, RUNNER, OneWriteStore, a_validator_input, one_write_store

pytestmark = pytest.mark.contract

_FILES = {"model.onnx": an_onnx_model(), "docs/card.md": b"# Card\n"}


@pytest.fixture
def store() -> Iterator[OneWriteStore]:
    """A store that takes each object once."""
    with one_write_store() as running:
        yield running


@pytest.fixture
def job(store: OneWriteStore, tmp_path: Path) -> ValidatorJob:
    """A security scan of two files that lie in the store."""
    manifest = manifest_of_folder(write_folder(tmp_path / "pinned", _FILES))
    store.objects.update({f"candidate/{path}": data for path, data in _FILES.items()})
    return ValidatorJob(
        input=a_validator_input(manifest, image_digest=RUNNER.image_digest),
        validator="security_scan",
        downloads=store.urls("candidate", manifest),
        upload_url=f"{store.url}/evidence.json?signature=secret",
        timeout_s=60,
    )


def _fetch(job: ValidatorJob, folder: Path) -> subprocess.CompletedProcess[str]:
    """The init container's program."""
    (folder / "job.json.gz").write_bytes(gzip.compress(canonical_json(job)))
    job_file, work, capability = (str(folder / name) for name in ("job.json.gz", "work", "upload_url"))
    return _run("fetch", "--job", job_file, "--work", work, "--capability", capability)


def _supervise(folder: Path) -> subprocess.CompletedProcess[str]:
    """The main container's program."""
    work, capability = (str(folder / name) for name in ("work", "upload_url"))
    return _run("supervisor", "--work", work, "--validator", "security_scan", "--upload-url-file", capability)


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PYTHON), "-I", "-m", f"model_approval.validators.{module}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_evidence_comes_home_and_names_request_bytes_and_image(job: ValidatorJob, store: OneWriteStore) -> None:
    RUNNER.run_job(job)
    evidence = Evidence.model_validate_json(store.written["evidence.json"])
    assert (evidence.request_id, evidence.artifact_digest) == (job.input.request_id, job.input.artifact_digest)
    assert evidence.image_digest == RUNNER.image_digest
    assert {item.path for item in evidence.coverage if item.covered} == set(_FILES)


def test_evidence_is_never_written_over(job: ValidatorJob, store: OneWriteStore) -> None:
    store.written["evidence.json"] = b"somebody was first"
    with pytest.raises(EvidenceError, match="refused, the object exists already"):
        RUNNER.run_job(job)
    assert store.written["evidence.json"] == b"somebody was first"


def test_a_store_that_stumbles_is_asked_again(job: ValidatorJob, store: OneWriteStore) -> None:
    store.failures, store.cut = 2, 1
    RUNNER.run_job(job)
    assert "evidence.json" in store.written


def test_a_file_that_changed_stops_everything_and_is_named_with_both_digests(
    job: ValidatorJob, store: OneWriteStore
) -> None:
    store.objects["candidate/docs/card.md"] = b"# Another card\n"
    with pytest.raises(EvidenceError, match=r"docs/card\.md: pinned as sha256:[0-9a-f]{64} .* now sha256:[0-9a-f]{64}"):
        RUNNER.run_job(job)
    assert store.written == {}


def test_a_file_that_is_gone_is_an_error_in_words(job: ValidatorJob, store: OneWriteStore) -> None:
    del store.objects["candidate/model.onnx"]
    with pytest.raises(EvidenceError, match=r"GET /candidate/model\.onnx: HTTP 404"):
        RUNNER.run_job(job)


def test_no_redirect_is_followed(job: ValidatorJob, store: OneWriteStore) -> None:
    store.redirect_to = f"{store.url}/elsewhere"
    with pytest.raises(EvidenceError, match="answered with a redirect"):
        RUNNER.run_job(job)
    assert not any("elsewhere" in request for request in store.requests)


def test_no_message_holds_a_presigned_url(job: ValidatorJob, store: OneWriteStore) -> None:
    store.objects.clear()
    with pytest.raises(EvidenceError) as caught:
        RUNNER.run_job(job)
    assert "secret" not in str(caught.value)


def test_a_manifest_that_is_not_the_pinned_one_is_refused_before_any_download(
    job: ValidatorJob, store: OneWriteStore
) -> None:
    other = job.input.model_copy(update={"artifact_digest": "sha256:" + "0" * 64})
    with pytest.raises(EvidenceError, match="the manifest is not the one of sha256:0000"):
        RUNNER.run_job(job.model_copy(update={"input": other}))
    assert store.requests == []


def test_an_unknown_validator_is_named(job: ValidatorJob) -> None:
    with pytest.raises(EvidenceError, match="there is no validator 'sorcery'"):
        RUNNER.run_job(job.model_copy(update={"validator": "sorcery"}))


def test_the_pods_programs_leave_no_capability_behind(job: ValidatorJob, store: OneWriteStore, tmp_path: Path) -> None:
    fetched = _fetch(job, tmp_path)
    assert fetched.returncode == 0, fetched.stderr
    assert (tmp_path / "upload_url").stat().st_mode & 0o777 == 0o600
    assert "secret" not in (tmp_path / "work/input.json").read_text()
    model = tmp_path / "work/artifact/model.onnx"
    assert model.read_bytes() == _FILES["model.onnx"]
    assert model.stat().st_mode & 0o222 == 0
    ran = _supervise(tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert not (tmp_path / "upload_url").exists()
    assert "evidence.json" in store.written


def test_fetching_again_after_a_restart_starts_from_a_clean_folder(job: ValidatorJob, tmp_path: Path) -> None:
    assert _fetch(job, tmp_path).returncode == 0
    (tmp_path / "work/artifact/left-over.py").write_bytes(b"x")
    again = _fetch(job, tmp_path)
    assert again.returncode == 0, again.stderr
    assert {path.name for path in (tmp_path / "work/artifact").iterdir()} == {"docs", "model.onnx"}


def test_a_supervisor_without_its_capability_says_so(job: ValidatorJob, tmp_path: Path) -> None:
    assert _fetch(job, tmp_path).returncode == 0
    (tmp_path / "upload_url").unlink()
    ran = _supervise(tmp_path)
    assert ran.returncode == 1
    assert "the upload URL cannot be taken" in ran.stderr


def test_a_missing_interpreter_says_what_to_do(job: ValidatorJob, tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="make setup"):
        LocalValidatorRunner(tmp_path / "python").run_job(job)


def test_the_environment_has_the_same_name_each_time() -> None:
    assert LocalValidatorRunner(PYTHON).image_digest == RUNNER.image_digest
