"""The embedded store: what it keeps, whom it lets in, and what is left when it ends."""

from __future__ import annotations

import contextlib
import socket
import stat
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from model_approval.adapters.s3_client import ensure_buckets, s3_client, s3_errors
from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.seaweedfs import HOST, SeaweedFs
from tests.support.servers import free_port, settings_for, start_store

pytestmark = pytest.mark.contract


@pytest.fixture
def own_store(tmp_path):
    """A store of this test's own, to be stopped and killed at will."""
    store = start_store(tmp_path / "store")
    yield store
    store.stop()


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses on which a process listens, from the kernel's tables."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            sockets.add(str(link.readlink()))
    found = set()
    for line in (
        Path("/proc/net/tcp").read_text().splitlines()[1:] + Path("/proc/net/tcp6").read_text().splitlines()[1:]
    ):
        parts = line.split()
        if parts[3] == "0A" and f"socket:[{parts[9]}]" in sockets:
            address, port = parts[1].split(":")
            found.add((address, int(port, 16)))
    return found


def test_objects_credentials_and_locks_survive_stop_kill_and_start(own_store, tmp_path):
    settings = settings_for(own_store)
    client = s3_client(settings)
    kept = client.put_object(Bucket="model-evidence", Key="k", Body=b"kept")
    own_store.stop()
    assert not own_store.is_running
    again = SeaweedFs(tmp_path / "store", s3_port=int(own_store.endpoint_url.rpartition(":")[2]))
    try:
        again.start()
        assert again.writer == own_store.writer
        again.kill()
        again.start()
        assert client.get_object(Bucket="model-evidence", Key="k")["Body"].read() == b"kept"
        with pytest.raises(OutsideSystemError, match="AccessDenied"), s3_errors("k"):
            client.delete_object(Bucket="model-evidence", Key="k", VersionId=kept["VersionId"])
    finally:
        again.stop()


def test_process_left_over_by_a_killed_owner_is_taken_over(own_store, tmp_path):
    left_over = own_store.pid
    heir = SeaweedFs(tmp_path / "store", s3_port=int(own_store.endpoint_url.rpartition(":")[2]))
    try:
        heir.start()
        assert heir.pid != left_over
        assert heir.is_running
    finally:
        heir.stop()


def test_port_that_is_taken_is_named_with_what_to_do(tmp_path):
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OutsideSystemError, match=f"port {port} .* is taken .*choose another port") as refusal:
            SeaweedFs(tmp_path, s3_port=port).start()
    assert not refusal.value.retryable


def test_two_stores_run_side_by_side(own_store, tmp_path):
    other = SeaweedFs(tmp_path / "other", s3_port=free_port())
    try:
        other.start()
        assert own_store.is_running
        assert other.writer != own_store.writer
    finally:
        other.stop()


def test_everything_listens_on_loopback_alone(s3_store):
    assert {address for address, _ in listening(s3_store.pid)} == {"0100007F"}


def test_data_cannot_be_had_around_s3(s3_store):
    s3_client(settings_for(s3_store)).put_object(Bucket="models", Key="around/s3", Body=b"secret")
    s3_port = int(s3_store.endpoint_url.rpartition(":")[2])
    tried = 0
    for _, port in listening(s3_store.pid) - {("0100007F", s3_port)}:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/buckets/models/around/s3", timeout=2) as answer:
                assert b"secret" not in answer.read()
        except (urllib.error.URLError, ConnectionError, TimeoutError, OSError):
            pass  # no HTTP there, or a refusal: both are what we want
        tried += 1
    assert tried >= 5


def test_secrets_are_for_the_owner_alone(s3_store, own_store, tmp_path):
    identities = tmp_path / "store" / "identities.json"
    assert stat.S_IMODE(identities.stat().st_mode) == 0o600
    assert own_store.writer.secret_key in identities.read_text()
    command_line = Path(f"/proc/{own_store.pid}/cmdline").read_text()
    assert own_store.writer.secret_key not in command_line


@pytest.mark.parametrize("identity", ["reader", "writer"])
def test_who_serves_or_works_cannot_make_buckets(s3_store, identity):
    client = s3_client(s3_store.settings(getattr(s3_store, identity)))
    with pytest.raises(OutsideSystemError, match="AccessDenied"), s3_errors("bucket"):
        client.create_bucket(Bucket="another-bucket")


def test_reader_reads_and_cannot_write(s3_store):
    s3_client(settings_for(s3_store)).put_object(Bucket="models", Key="for/readers", Body=b"x")
    client = s3_client(s3_store.settings(s3_store.reader))
    assert client.get_object(Bucket="models", Key="for/readers")["Body"].read() == b"x"
    with pytest.raises(OutsideSystemError, match="AccessDenied"), s3_errors("key"):
        client.put_object(Bucket="models", Key="for/readers", Body=b"y")


def test_stranger_is_refused(s3_store):
    with pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{s3_store.endpoint_url}/models/for/readers", timeout=5)
    refusal.value.close()
    assert refusal.value.code == 403


def test_buckets_in_order_need_no_administrator(s3_store):
    settings = settings_for(s3_store)
    ensure_buckets(settings)  # raises where the writer would have to make something
    locked = s3_client(settings).get_object_lock_configuration(Bucket=settings.audit_bucket)
    assert locked["ObjectLockConfiguration"]["ObjectLockEnabled"] == "Enabled"


def test_record_bucket_without_object_lock_is_refused(s3_store):
    admin = {"store_access_key": s3_store.admin.access_key, "store_secret_key": s3_store.admin.secret_key}
    with pytest.raises(OutsideSystemError, match="models has no Object Lock") as refusal:
        ensure_buckets(settings_for(s3_store, audit_bucket="models", **admin))
    assert not refusal.value.retryable
