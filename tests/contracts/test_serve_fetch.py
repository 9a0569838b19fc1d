"""The serving pod's init container against a real S3 store."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from model_approval.adapters.s3_client import s3_client
from model_approval.domain.digests import canonical_json
from model_approval.domain.manifest import manifest_of_folder
from model_approval.settings import Settings
from tests.support.models import an_onnx_model, write_folder
from tests.support.servers import MODELS_BUCKET
from tests.support.validation import PYTHON

pytestmark = pytest.mark.contract

_FILES = {"model.onnx": an_onnx_model(), "docs/model card.md": b"# Card\n"}


@pytest.fixture
def prefix(settings: Settings, tmp_path: Path) -> str:
    """Where a model's files lie in the store; their manifest is in the scratch folder."""
    manifest = manifest_of_folder(write_folder(tmp_path / "pinned", _FILES))
    (tmp_path / "manifest.json").write_bytes(canonical_json(manifest))
    prefix = f"serve-fetch/{tmp_path.name}"
    for path, data in _FILES.items():
        s3_client(settings).put_object(Bucket=MODELS_BUCKET, Key=f"{prefix}/{path}", Body=data)
    return prefix


def _fetch(settings: Settings, folder: Path, prefix: str, **environment: str) -> subprocess.CompletedProcess[str]:
    assert settings.store_access_key is not None
    assert settings.store_secret_key is not None
    assert settings.store_endpoint_url is not None
    credentials = {
        "AWS_ACCESS_KEY_ID": settings.store_access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": settings.store_secret_key.get_secret_value(),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    arguments = ["--uri", f"s3://{MODELS_BUCKET}/{prefix}", "--endpoint-url", settings.store_endpoint_url]
    folders = ["--manifest", str(folder / "manifest.json"), "--folder", str(folder / "model")]
    command = [str(PYTHON), "-I", "-m", "model_approval.validators.serve_fetch", *folders, *arguments]
    return subprocess.run(
        command, env=credentials | environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_exactly_the_pinned_files_arrive(settings: Settings, tmp_path: Path, prefix: str) -> None:
    write_folder(tmp_path / "model", {"left-over.py": b"x"})
    fetched = _fetch(settings, tmp_path, prefix)
    assert fetched.returncode == 0, fetched.stderr
    assert manifest_of_folder(tmp_path / "model") == manifest_of_folder(tmp_path / "pinned")


def test_a_changed_file_is_named_with_both_digests(settings: Settings, tmp_path: Path, prefix: str) -> None:
    s3_client(settings).put_object(Bucket=MODELS_BUCKET, Key=f"{prefix}/model.onnx", Body=b"changed")
    fetched = _fetch(settings, tmp_path, prefix)
    assert fetched.returncode == 1
    assert "serve_fetch: model.onnx: pinned as sha256:" in fetched.stderr
    assert ", now sha256:" in fetched.stderr


def test_a_missing_file_is_named(settings: Settings, tmp_path: Path, prefix: str) -> None:
    s3_client(settings).delete_object(Bucket=MODELS_BUCKET, Key=f"{prefix}/model.onnx")
    fetched = _fetch(settings, tmp_path, prefix)
    assert fetched.returncode == 1
    assert f"model.onnx: s3://{MODELS_BUCKET}/{prefix}/model.onnx does not exist" in fetched.stderr


def test_wrong_credentials_end_at_once(settings: Settings, tmp_path: Path, prefix: str) -> None:
    fetched = _fetch(settings, tmp_path, prefix, AWS_SECRET_ACCESS_KEY="wrong")
    assert fetched.returncode == 1
    assert "SignatureDoesNotMatch" in fetched.stderr
