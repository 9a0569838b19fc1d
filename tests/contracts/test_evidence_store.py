"""What an evidence store promises, held on the twin and on SeaweedFS with Object Lock."""

from __future__ import annotations

import base64
import hashlib
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from model_approval.adapters.memory.evidence import MemoryEvidenceStore
from model_approval.adapters.s3_client import s3_client, s3_errors
from model_approval.adapters.s3_evidence import S3EvidenceStore
from model_approval.domain.digests import sha256_of
from model_approval.domain.errors import IntegrityError, NotFoundError, OutsideSystemError
from model_approval.ports import EvidenceStore
from tests.support.servers import settings_for

pytestmark = pytest.mark.contract
CHECK = "security_scan"


@dataclass
class Subject:
    """A store, how a pod uploads, and how a person with the store's credentials writes over."""

    store: EvidenceStore
    put: Callable[[str, bytes], int]
    overwrite: Callable[[str, bytes], None]
    request_id: str


def put_over_http(url: str, data: bytes, **headers: str) -> int:
    """PUT as a validating pod does; the HTTP status."""
    sent = {"If-None-Match": "*", "Content-MD5": base64.b64encode(hashlib.md5(data).digest()).decode(), **headers}
    request = urllib.request.Request(url, data=data, method="PUT", headers=sent)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as err:
        return err.code


@pytest.fixture(params=["memory", "s3"])
def subject(request) -> Subject:
    request_id = f"pr-{uuid.uuid4().hex[:12]}"
    if request.param == "memory":
        twin = MemoryEvidenceStore()
        return Subject(twin, twin.upload, lambda check, data: twin.overwrite(request_id, check, 1, data), request_id)
    settings = request.getfixturevalue("settings")

    def overwrite(check: str, data: bytes) -> None:
        key = f"{request_id}/{check}/1/evidence.json"
        s3_client(settings).put_object(Bucket=settings.evidence_bucket, Key=key, Body=data)

    return Subject(S3EvidenceStore(settings), put_over_http, overwrite, request_id)


def test_evidence_comes_home_through_its_url(subject):
    url = subject.store.upload_url(subject.request_id, CHECK, 1, valid_s=60)
    assert subject.put(url, b'{"a": 1}') == 200
    assert subject.store.read(subject.request_id, CHECK, 1) == b'{"a": 1}'


def test_second_upload_through_the_same_url_is_refused_and_the_first_stays(subject):
    url = subject.store.upload_url(subject.request_id, CHECK, 1, valid_s=60)
    subject.put(url, b"first")
    assert subject.put(url, b"second") == 412
    assert subject.store.read(subject.request_id, CHECK, 1) == b"first"


def test_second_url_for_the_same_run_cannot_replace_the_evidence(subject):
    subject.put(subject.store.upload_url(subject.request_id, CHECK, 1, valid_s=60), b"first")
    assert subject.put(subject.store.upload_url(subject.request_id, CHECK, 1, valid_s=60), b"second") == 412


def test_url_of_one_check_writes_no_other_key(subject):
    url = subject.store.upload_url(subject.request_id, CHECK, 1, valid_s=60)
    assert subject.put(url.replace(CHECK, "gpu_benchmark"), b"forged") == 403
    assert subject.put(url.replace(f"{CHECK}/1/", f"{CHECK}/2/"), b"forged") == 403
    assert subject.store.read(subject.request_id, "gpu_benchmark", 1) is None
    assert subject.store.read(subject.request_id, CHECK, 2) is None


def test_no_evidence_is_none_and_not_an_error(subject):
    assert subject.store.read(subject.request_id, CHECK, 1) is None


def test_another_run_has_its_own_evidence(subject):
    for run in (1, 2):
        subject.put(subject.store.upload_url(subject.request_id, CHECK, run, valid_s=60), b"run %d" % run)
    assert subject.store.read(subject.request_id, CHECK, 1) == b"run 1"
    assert subject.store.read(subject.request_id, CHECK, 2) == b"run 2"


def test_evidence_that_was_written_over_is_refused_even_with_the_same_bytes(subject):
    subject.put(subject.store.upload_url(subject.request_id, CHECK, 1, valid_s=60), b"first")
    subject.overwrite(CHECK, b"first")
    with pytest.raises(IntegrityError, match="2 versions"):
        subject.store.read(subject.request_id, CHECK, 1)


def test_document_is_kept_once_and_named_by_its_digest(subject):
    keep = subject.store.put_document
    first = keep(subject.request_id, "privacy.json", b"{}", content_type="application/json")
    again = keep(subject.request_id, "privacy.json", b"{}", content_type="application/json")
    assert first == again == sha256_of(b"{}")
    assert subject.store.get_document(subject.request_id, "privacy.json") == b"{}"


def test_document_is_not_replaced_by_other_bytes(subject):
    subject.store.put_document(subject.request_id, "privacy.json", b"{}", content_type="application/json")
    with pytest.raises(IntegrityError, match=r"privacy\.json .* kept already with other bytes"):
        subject.store.put_document(subject.request_id, "privacy.json", b"[]", content_type="application/json")
    assert subject.store.get_document(subject.request_id, "privacy.json") == b"{}"


def test_missing_document_is_not_found(subject):
    with pytest.raises(NotFoundError, match="has no document nothing"):
        subject.store.get_document(subject.request_id, "nothing")


# What only a real store can show.


@pytest.fixture
def evidence_key(settings) -> str:
    """The key of one uploaded evidence object."""
    request_id = f"pr-{uuid.uuid4().hex[:12]}"
    assert put_over_http(S3EvidenceStore(settings).upload_url(request_id, CHECK, 1, valid_s=60), b"first") == 200
    return f"{request_id}/{CHECK}/1/evidence.json"


def test_uploaded_evidence_cannot_be_destroyed_with_our_own_credentials(settings, s3_store, evidence_key):
    for identity in (s3_store.writer, s3_store.admin):
        client = s3_client(
            settings_for(s3_store, store_access_key=identity.access_key, store_secret_key=identity.secret_key)
        )
        version = client.list_object_versions(Bucket=settings.evidence_bucket, Prefix=evidence_key)["Versions"][0]
        with pytest.raises(OutsideSystemError, match="AccessDenied"), s3_errors(evidence_key):
            client.delete_object(Bucket=settings.evidence_bucket, Key=evidence_key, VersionId=version["VersionId"])


def test_delete_marker_on_evidence_is_refused_and_not_read_as_absent(settings, evidence_key):
    s3_client(settings).delete_object(Bucket=settings.evidence_bucket, Key=evidence_key)
    with pytest.raises(IntegrityError, match="1 delete marker"):
        S3EvidenceStore(settings).read(evidence_key.split("/")[0], CHECK, 1)


def test_url_without_the_signed_condition_and_after_its_time_is_refused(settings):
    store, request_id = S3EvidenceStore(settings), f"pr-{uuid.uuid4().hex[:12]}"
    url = store.upload_url(request_id, CHECK, 1, valid_s=60)
    unconditional = urllib.request.Request(url, data=b"x", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(unconditional, timeout=10)
    refusal.value.close()
    assert refusal.value.code == 403
    assert put_over_http(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"), b"x") == 403
    assert store.read(request_id, CHECK, 1) is None


def test_upload_url_does_not_read(settings, evidence_key):
    request_id = evidence_key.split("/")[0]
    url = S3EvidenceStore(settings).upload_url(request_id, CHECK, 1, valid_s=60)
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(url, timeout=10)
    refusal.value.close()
    assert refusal.value.code == 403


def test_evidence_in_a_bucket_without_a_lock_is_refused(settings):
    unlocked = settings.model_copy(update={"evidence_bucket": "models"})
    request_id = f"pr-{uuid.uuid4().hex[:12]}"
    key = f"{request_id}/{CHECK}/1/evidence.json"
    s3_client(settings).put_object(Bucket="models", Key=key, Body=b"x")
    with pytest.raises(IntegrityError, match="not locked"):
        S3EvidenceStore(unlocked).read(request_id, CHECK, 1)


def test_url_is_signed_for_the_endpoint_of_its_reader(settings):
    url = S3EvidenceStore(settings).upload_url("pr-1", CHECK, 1, valid_s=60, endpoint_url="http://store.example:8333")
    assert url.startswith("http://store.example:8333/model-evidence/pr-1/security_scan/1/evidence.json?")


def test_store_that_is_down_is_an_outside_system_error(settings):
    down = settings.model_copy(update={"store_endpoint_url": "http://127.0.0.1:9"})
    with pytest.raises(OutsideSystemError, match="object store") as broken:
        S3EvidenceStore(down).read("pr-1", CHECK, 1)
    assert broken.value.retryable
