"""What an artifact store promises, held on the twin, on SeaweedFS and on a folder."""

from __future__ import annotations

import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pytest

from model_approval.adapters.memory.artifacts import MemoryArtifactStore
from model_approval.adapters.s3_artifacts import S3ArtifactStore
from model_approval.adapters.s3_client import s3_client
from model_approval.domain.errors import EvidenceError, IntegrityError, NotFoundError, OutsideSystemError
from model_approval.domain.manifest import require_same_bytes
from model_approval.ports import ArtifactStore

pytestmark = pytest.mark.contract
FILES = {"model.onnx": b"\x08\x07weights", "docs/model_card.md": b"# card\n", "empty.csv": b""}


@dataclass
class Subject:
    """A store, an artifact's URI, and how files get there."""

    store: ArtifactStore
    uri: str
    put: Callable[[Mapping[str, bytes]], None]


def _in_memory(request) -> Subject:
    store, uri = MemoryArtifactStore(), "memory://fraud/1"
    return Subject(store, uri, lambda files: store.put(uri, files))


def _in_s3(request) -> Subject:
    settings, prefix = request.getfixturevalue("settings"), uuid.uuid4().hex

    def put(files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            s3_client(settings).put_object(Bucket="models", Key=f"{prefix}/{path}", Body=data)

    return Subject(S3ArtifactStore(settings), f"s3://models/{prefix}", put)


def _in_folder(request) -> Subject:
    root = request.getfixturevalue("tmp_path")
    settings = request.getfixturevalue("settings")

    def put(files: Mapping[str, bytes]) -> None:
        for path, data in files.items():
            target = root / "artifact" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    return Subject(S3ArtifactStore(settings, local_root=root), (root / "artifact").as_uri(), put)


@pytest.fixture(params=[_in_memory, _in_s3, _in_folder], ids=["memory", "s3", "folder"])
def subject(request) -> Subject:
    made: Subject = request.param(request)
    return made


def test_manifest_names_every_file_with_its_size(subject):
    subject.put(FILES)
    manifest = subject.store.manifest(subject.uri)
    assert {entry.path: entry.size_bytes for entry in manifest.files} == {
        path: len(data) for path, data in FILES.items()
    }


def test_same_bytes_have_the_same_digest_wherever_they_lie(subject):
    subject.put(FILES)
    twin = MemoryArtifactStore()
    twin.put("memory://same", FILES)
    assert subject.store.manifest(subject.uri).artifact_digest == twin.manifest("memory://same").artifact_digest


def test_one_changed_byte_changes_the_digest_and_names_the_file(subject):
    subject.put(FILES)
    pinned = subject.store.manifest(subject.uri)
    subject.put({"model.onnx": b"\x08\x07weightz"})
    with pytest.raises(IntegrityError, match=r"model\.onnx: pinned as sha256:"):
        require_same_bytes(pinned, subject.store.manifest(subject.uri), where="deployment")


def test_added_file_changes_the_digest(subject):
    subject.put(FILES)
    pinned = subject.store.manifest(subject.uri)
    subject.put({"late.txt": b"x"})
    assert subject.store.manifest(subject.uri).artifact_digest != pinned.artifact_digest


def test_nothing_there_is_not_found(subject):
    with pytest.raises(NotFoundError):
        subject.store.manifest(subject.uri)


def test_names_that_differ_only_in_case_are_refused(subject):
    subject.put({"Model.bin": b"a", "model.bin": b"b"})
    with pytest.raises(IntegrityError, match=r"[Mm]odel\.bin"):
        subject.store.manifest(subject.uri)


def test_small_file_is_read_whole_and_a_larger_one_refused(subject):
    subject.put(FILES)
    assert subject.store.read(subject.uri, "docs/model_card.md", limit_bytes=7) == b"# card\n"
    with pytest.raises(EvidenceError, match="larger than 6 bytes"):
        subject.store.read(subject.uri, "docs/model_card.md", limit_bytes=6)


def test_missing_file_is_not_found(subject):
    subject.put(FILES)
    with pytest.raises(NotFoundError):
        subject.store.read(subject.uri, "nothing.txt", limit_bytes=10)


def test_head_of_a_file_can_be_read_alone(subject):
    subject.put({"big.bin": b"MAGIC" + bytes(3_000_000)})
    with subject.store.open(subject.uri, "big.bin") as stream:
        assert stream.read(5) == b"MAGIC"


def test_path_that_climbs_out_of_the_artifact_is_refused(subject):
    subject.put(FILES)
    with pytest.raises(IntegrityError, match=r"'\.\.' parts"):
        subject.store.read(subject.uri, "../secret", limit_bytes=10)


def test_download_urls_give_the_pinned_bytes_without_credentials(subject):
    subject.put(FILES)
    urls = subject.store.download_urls(subject.uri, subject.store.manifest(subject.uri), valid_s=60)
    fetched = {}
    for path, url in urls.items():
        with urllib.request.urlopen(url, timeout=10) as answer:
            fetched[path] = answer.read()
    assert fetched == FILES


# What only the real store can show.


def test_large_object_is_hashed_like_its_parts_together(settings):
    data = bytes(range(256)) * 50_000
    s3_client(settings).put_object(Bucket="models", Key="large/a.bin", Body=data)
    twin = MemoryArtifactStore()
    twin.put("memory://large", {"a.bin": data})
    assert S3ArtifactStore(settings).manifest("s3://models/large") == twin.manifest("memory://large")


def test_more_objects_than_one_listing_page_are_all_in_the_manifest(settings):
    prefix = uuid.uuid4().hex
    for number in range(1005):
        s3_client(settings).put_object(Bucket="models", Key=f"{prefix}/{number:04}", Body=b"x")
    assert len(S3ArtifactStore(settings).manifest(f"s3://models/{prefix}").files) == 1005


def test_directory_markers_are_no_files(settings):
    prefix = uuid.uuid4().hex
    client = s3_client(settings)
    client.put_object(Bucket="models", Key=f"{prefix}/docs/", Body=b"")
    client.put_object(Bucket="models", Key=f"{prefix}/docs/card.md", Body=b"x")
    manifest = S3ArtifactStore(settings).manifest(f"s3://models/{prefix}/")
    assert [entry.path for entry in manifest.files] == ["docs/card.md"]


def test_neighbour_whose_name_begins_alike_is_not_part_of_the_artifact(settings):
    prefix = uuid.uuid4().hex
    for key in (f"{prefix}/v1/a", f"{prefix}/v10/b"):
        s3_client(settings).put_object(Bucket="models", Key=key, Body=b"x")
    assert [entry.path for entry in S3ArtifactStore(settings).manifest(f"s3://models/{prefix}/v1").files] == ["a"]


@pytest.mark.parametrize("name", ["bell\ahere", "tab\there", "cafe\u0301.txt"])
def test_key_that_is_no_plain_path_is_refused_by_name(settings, name):
    prefix = uuid.uuid4().hex
    s3_client(settings).put_object(Bucket="models", Key=f"{prefix}/{name}", Body=b"x")
    with pytest.raises(IntegrityError, match="is no name for a file") as refusal:
        S3ArtifactStore(settings).manifest(f"s3://models/{prefix}")
    assert repr(f"{prefix}/{name}") in str(refusal.value)


def test_mlflow_proxy_uri_is_read_below_the_configured_root(settings):
    s3_client(settings).put_object(Bucket="models", Key="proxied/1/a.txt", Body=b"x")
    proxied = settings.model_copy(update={"mlflow_artifact_root": "s3://models/proxied"})
    assert S3ArtifactStore(proxied).manifest("mlflow-artifacts:/1").file("a.txt") is not None
    with pytest.raises(IntegrityError, match="MLFLOW_ARTIFACT_ROOT"):
        S3ArtifactStore(settings.model_copy(update={"mlflow_artifact_root": None})).manifest("mlflow-artifacts:/1")
    with pytest.raises(IntegrityError, match=r"'\.\.' parts"):
        S3ArtifactStore(proxied).manifest("mlflow-artifacts:/../other")


@pytest.mark.parametrize(
    "uri", ["file:///etc", "s3://model-evidence/pr-1", "s3://model-audit/log", "http://example.org/x", "s3://", "/etc"]
)
def test_uri_that_would_lend_our_rights_to_its_author_is_refused(settings, tmp_path, uri):
    with pytest.raises(IntegrityError):
        S3ArtifactStore(settings, local_root=tmp_path).manifest(uri)


def test_link_inside_a_folder_is_refused(settings, tmp_path):
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "model.onnx").symlink_to("/etc/hostname")
    uri = (tmp_path / "artifact").as_uri()
    store = S3ArtifactStore(settings, local_root=tmp_path)
    with pytest.raises(IntegrityError, match=r"model\.onnx is a link"):
        store.manifest(uri)
    with pytest.raises(NotFoundError):
        store.read(uri, "model.onnx", limit_bytes=10)


def test_bucket_that_does_not_exist_is_not_found(settings):
    with pytest.raises(NotFoundError, match="no-such-bucket"):
        S3ArtifactStore(settings).manifest("s3://no-such-bucket/x")


def test_wrong_credentials_are_not_worth_a_retry(settings):
    wrong = settings.model_copy(update={"store_secret_key": type(settings.store_secret_key)("wrong")})
    with pytest.raises(OutsideSystemError) as refused:
        S3ArtifactStore(wrong).manifest("s3://models/x")
    assert not refused.value.retryable
