"""The audit log's promises, on the memory twin and a real store with Object Lock; then crashes, races, attacks."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from model_approval.adapters.memory.audit import MemoryAuditLog
from model_approval.adapters.memory.signing import MemorySigner, MemoryTrustedKeys
from model_approval.adapters.s3_audit import S3AuditLog
from model_approval.adapters.s3_client import error_code, s3_client
from model_approval.adapters.s3_worm import require_worm
from model_approval.adapters.signing import FileSigner, TrustedKeys, create_key
from model_approval.domain.attestation import Envelope, entry_from, entry_statement
from model_approval.domain.audit import (
    GENESIS,
    Action,
    Actor,
    AuditEntry,
    AuditEvent,
    AuditReceipt,
    ProblemKind,
    event_id,
)
from model_approval.domain.digests import canonical_json, sha256_of
from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded.seaweedfs import SeaweedFs
from model_approval.ports import AuditLog
from model_approval.settings import Settings
from model_approval.stages.audit import export_stream, verify_bundle, verify_entries, votes_in_log
from tests.support.servers import settings_for, wait_until

pytestmark = [pytest.mark.contract, pytest.mark.proof]

SIGNER = MemorySigner()
TRUST = MemoryTrustedKeys(SIGNER)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def stream() -> str:
    """A stream of the test's own: the session's store keeps what it is given."""
    return f"pr-{secrets.token_hex(6)}"


@pytest.fixture
def s3_log(settings) -> S3AuditLog:
    return S3AuditLog(settings, SIGNER, TRUST, now)


@pytest.fixture(params=["memory", "s3"])
def log(request) -> AuditLog:
    if request.param == "memory":
        return MemoryAuditLog(SIGNER, now)
    found: AuditLog = request.getfixturevalue("s3_log")
    return found


def as_administrator(store: SeaweedFs) -> Settings:
    return settings_for(store, store_access_key=store.admin.access_key, store_secret_key=store.admin.secret_key)


def an_event(stream: str, key: str, *, action: Action = Action.REVIEW_OPENED, **changes: Any) -> AuditEvent:
    fields = {
        "id": event_id(stream=stream, action=action, key=key),
        "stream": stream,
        "action": action,
        "actor": Actor.person("ana"),
        "occurred_at": now(),
        **changes,
    }
    return AuditEvent.model_validate(fields)


def append(log: AuditLog, stream: str, *keys: str) -> list[AuditReceipt]:
    return [log.append(an_event(stream, key), retention_days=1) for key in keys]


def entries_of(log: AuditLog, stream: str) -> list[AuditEntry]:
    return [entry_from(Envelope.model_validate_json(stored.envelope).payload_bytes) for stored in log.entries(stream)]


def problems(log: AuditLog, stream: str) -> list[tuple[ProblemKind, int | None]]:
    return [(problem.kind, problem.sequence) for problem in verify_entries(log.entries(stream), TRUST)]


# ------------------------------------------------------------------------------------------------------- both the same


def test_events_become_a_chain_of_signed_locked_entries(log, stream):
    receipts = append(log, stream, "a", "b", "c")
    stored = list(log.entries(stream))
    assert [entry.event.id for entry in entries_of(log, stream)] == [an_event(stream, key).id for key in "abc"]
    assert [entry.previous for entry in entries_of(log, stream)] == [
        GENESIS,
        *(sha256_of(s.envelope) for s in stored[:2]),
    ]
    assert [receipt.entry_hash for receipt in receipts] == [sha256_of(item.envelope) for item in stored]
    assert [(item.sequence, item.versions, item.delete_marker) for item in stored] == [(n, 1, False) for n in range(3)]
    assert problems(log, stream) == []


def test_an_entry_stays_locked_for_its_retention(log, stream):
    event = an_event(stream, "a")
    log.append(event, retention_days=400)
    (stored,) = log.entries(stream)
    assert stored.retain_until is not None
    assert event.occurred_at + timedelta(days=400) <= stored.retain_until < now() + timedelta(days=401)


def test_the_same_event_twice_gives_one_entry_and_the_same_receipt(log, stream):
    first, _, again = append(log, stream, "a", "b", "a")
    assert again == first
    assert len(list(log.entries(stream))) == 2


def test_a_stream_is_listed_once_it_has_an_entry(log, stream):
    assert stream not in log.streams()
    append(log, stream, "a", "b")
    assert log.streams().count(stream) == 1


def test_a_stream_without_entries_is_empty(log, stream):
    assert list(log.entries(stream)) == []


def test_what_people_voted_can_be_read_back(log, stream):
    vote = sha256_of(b"a vote")
    log.append(an_event(stream, vote, action=Action.VOTE_CAST, subjects={"vote": vote}), retention_days=1)
    assert votes_in_log(log, TRUST, stream) == {vote}


def test_an_exported_stream_verifies_without_the_store(log, stream):
    append(log, stream, "a", "b", "c")
    report = verify_bundle(export_stream(log, stream), TRUST)
    assert (report.entries, report.problems) == (3, ())


# ------------------------------------------------------------------------------------------------ several processes


def test_another_process_finds_the_event_and_goes_on_behind_it(settings, s3_log, stream):
    first, _ = append(s3_log, stream, "a", "b")
    other = S3AuditLog(settings, SIGNER, TRUST, now)
    again, following = append(other, stream, "a", "c")
    assert (again, following.sequence) == (first, 2)
    assert problems(other, stream) == []


def test_a_writer_that_fell_behind_moves_to_the_head(settings, s3_log, stream):
    append(s3_log, stream, "a")
    append(S3AuditLog(settings, SIGNER, TRUST, now), stream, "b", "c")
    (receipt,) = append(s3_log, stream, "d")
    assert receipt.sequence == 3
    assert problems(s3_log, stream) == []


def test_a_long_stream_is_read_whole(settings, s3_log, stream):
    append(s3_log, stream, *(str(number) for number in range(70)))
    (again,) = append(S3AuditLog(settings, SIGNER, TRUST, now), stream, "41")
    assert again.sequence == 41
    assert len(list(s3_log.entries(stream))) == 70


def _write_many(settings: Settings, keys: Path, stream: str, writer: str) -> list[int]:
    log = S3AuditLog(settings, FileSigner(keys / "signing.pem"), TrustedKeys(keys / "trusted"), now)
    own = [log.append(an_event(stream, f"{writer}-{number}"), retention_days=1) for number in range(8)]
    shared = log.append(an_event(stream, "what all of them saw"), retention_days=1)
    return [receipt.sequence for receipt in (*own, shared)]


def test_four_writers_on_one_stream_neither_fork_nor_lose_nor_repeat(settings, s3_log, stream, tmp_path):
    create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    with multiprocessing.get_context("spawn").Pool(4) as processes:
        told = processes.starmap(_write_many, [(settings, tmp_path, stream, f"writer {n}") for n in range(4)])
    assert verify_entries(s3_log.entries(stream), TrustedKeys(tmp_path / "trusted")) == []
    assert sorted({sequence for sequences in told for sequence in sequences}) == list(range(33))
    assert len({entry.event.id for entry in entries_of(s3_log, stream)}) == 33
    assert len({sequences[-1] for sequences in told}) == 1


def _write_until_killed(settings: Settings, keys: Path, stream: str, acknowledged: Path) -> None:
    log = S3AuditLog(settings, FileSigner(keys / "signing.pem"), TrustedKeys(keys / "trusted"), now)
    with acknowledged.open("a") as told:
        for number in range(10_000):
            log.append(an_event(stream, str(number)), retention_days=1)
            print(number, file=told, flush=True)


def test_a_killed_writer_loses_nothing_acknowledged_and_can_go_on(settings, s3_log, stream, tmp_path):
    create_key(tmp_path / "signing.pem", tmp_path / "trusted")
    acknowledged = tmp_path / "acknowledged"
    acknowledged.touch()
    writer = multiprocessing.get_context("spawn").Process(
        target=_write_until_killed, args=(settings, tmp_path, stream, acknowledged)
    )
    writer.start()
    wait_until(lambda: acknowledged.read_text().count("\n") >= 10, timeout_s=60, what="ten entries of the writer")
    assert writer.pid is not None
    os.kill(writer.pid, signal.SIGKILL)
    writer.join(30)
    told = acknowledged.read_text().count("\n")
    before = len(list(s3_log.entries(stream)))
    assert told <= before <= told + 1

    trust = TrustedKeys(tmp_path / "trusted")
    successor = S3AuditLog(settings, FileSigner(tmp_path / "signing.pem"), trust, now)
    append(successor, stream, *(str(number) for number in range(before + 2)))
    assert verify_entries(successor.entries(stream), trust) == []
    assert [entry.event.id for entry in entries_of(successor, stream)] == [
        an_event(stream, str(number)).id for number in range(before + 2)
    ]


# ---------------------------------------------------------------------------------------------- outcomes nobody heard


class TroubledClient:
    """An S3 client whose puts run into trouble, at the seam where the SDK meets the network."""

    def __init__(self, client: Any, *troubles: Callable[[Any, dict[str, Any]], Any]) -> None:
        self._client, self._troubles = client, list(troubles)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **request: Any) -> Any:
        if self._troubles:
            return self._troubles.pop(0)(self._client, request)
        return self._client.put_object(**request)


def answer_lost(client: Any, request: dict[str, Any]) -> Any:
    """The store writes, the answer never arrives."""
    client.put_object(**request)
    raise ReadTimeoutError(endpoint_url="http://store")


def request_lost(client: Any, request: dict[str, Any]) -> Any:
    """The request never arrives."""
    raise ReadTimeoutError(endpoint_url="http://store")


def slot_busy(client: Any, request: dict[str, Any]) -> Any:
    """AWS answers so while another conditional write to the key is going on."""
    raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")


@pytest.mark.parametrize("trouble", [answer_lost, request_lost, slot_busy])
def test_an_outcome_that_was_not_heard_is_settled_by_reading_back(settings, stream, trouble):
    client = TroubledClient(s3_client(settings), trouble)
    log = S3AuditLog(settings, SIGNER, TRUST, now, client=client)
    receipts = append(log, stream, "a", "b")
    assert [receipt.sequence for receipt in receipts] == [0, 1]
    assert problems(log, stream) == []
    assert len(list(log.entries(stream))) == 2


def test_a_store_that_stays_away_is_an_error_and_the_event_can_be_repeated(settings, stream):
    log = S3AuditLog(settings, SIGNER, TRUST, now, client=TroubledClient(s3_client(settings), *[request_lost] * 3))
    with pytest.raises(OutsideSystemError, match=f"log/{stream}/entry/000000000000") as caught:
        append(log, stream, "a")
    assert caught.value.retryable
    assert [receipt.sequence for receipt in append(log, stream, "a")] == [0]


def test_a_store_that_refuses_our_key_is_not_asked_again(settings, s3_store, stream):
    stranger = settings_for(s3_store, store_secret_key="not the secret")
    with pytest.raises(OutsideSystemError) as caught:
        append(S3AuditLog(stranger, SIGNER, TRUST, now), stream, "a")
    assert not caught.value.retryable


# -------------------------------------------------------------------------------------------------- attacks through S3


def put(settings: Settings, stream: str, sequence: int, body: bytes) -> None:
    """What anybody with write access to the bucket can do."""
    key = f"log/{stream}/entry/{sequence:012d}"
    s3_client(settings).put_object(Bucket=settings.audit_bucket, Key=key, Body=body)


def hide(settings: Settings, stream: str, sequence: int) -> None:
    key = f"log/{stream}/entry/{sequence:012d}"
    s3_client(settings).delete_object(Bucket=settings.audit_bucket, Key=key)


def forged_entry(log: AuditLog, stream: str, signer: MemorySigner, key: str) -> bytes:
    stored = list(log.entries(stream))
    entry = AuditEntry(
        sequence=len(stored),
        previous=sha256_of(stored[-1].envelope),
        event=an_event(stream, key),
        retention_days=1,
        writer=signer.key_id,
    )
    return canonical_json(signer.sign(entry_statement(entry).to_bytes()))


def test_an_entry_written_over_is_named_and_the_first_version_is_still_the_entry(settings, s3_log, stream):
    append(s3_log, stream, "a", "b")
    before = [stored.envelope for stored in s3_log.entries(stream)]
    put(settings, stream, 0, before[1])
    assert problems(s3_log, stream) == [(ProblemKind.EXTRA_VERSION, 0)]
    assert [stored.envelope for stored in s3_log.entries(stream)] == before


def test_a_hidden_entry_is_named_and_still_read(settings, s3_store, s3_log, stream):
    admin = as_administrator(s3_store)
    append(s3_log, stream, "a", "b")
    for sequence in (0, 1):
        hide(admin, stream, sequence)
    assert problems(s3_log, stream) == [(ProblemKind.DELETE_MARKER, 0), (ProblemKind.DELETE_MARKER, 1)]
    assert stream in s3_log.streams()
    (following,) = append(S3AuditLog(settings, SIGNER, TRUST, now), stream, "c")
    assert following.sequence == 2


def test_a_locked_entry_can_not_be_deleted_even_by_the_administrator(s3_store, s3_log, settings, stream):
    append(s3_log, stream, "a")
    admin = as_administrator(s3_store)
    client, key = s3_client(admin), f"log/{stream}/entry/000000000000"
    version = client.list_object_versions(Bucket=settings.audit_bucket, Prefix=key)["Versions"][0]["VersionId"]
    with pytest.raises(ClientError) as caught:
        client.delete_object(Bucket=settings.audit_bucket, Key=key, VersionId=version, BypassGovernanceRetention=True)
    assert error_code(caught.value) == "AccessDenied"
    assert problems(s3_log, stream) == []


def test_an_entry_by_a_foreign_key_is_named_and_keeps_no_event_from_being_written(settings, s3_log, stream):
    append(s3_log, stream, "a")
    put(settings, stream, 1, forged_entry(s3_log, stream, MemorySigner(), "b"))
    (receipt,) = append(s3_log, stream, "b")
    assert receipt.sequence == 2
    assert problems(s3_log, stream) == [(ProblemKind.UNKNOWN_KEY, 1)]


def test_nonsense_in_the_next_slot_is_named_and_stops_nobody(settings, s3_log, stream):
    append(s3_log, stream, "a")
    put(settings, stream, 1, b"nonsense")
    (receipt,) = append(s3_log, stream, "b")
    assert receipt.sequence == 2
    assert problems(s3_log, stream) == [(ProblemKind.UNREADABLE, 1)]


def test_an_entry_signed_by_a_trusted_key_but_not_locked_is_named(settings, s3_log, stream):
    append(s3_log, stream, "a")
    put(settings, stream, 1, forged_entry(s3_log, stream, SIGNER, "b"))
    assert problems(s3_log, stream) == [(ProblemKind.SHORT_RETENTION, 1)]


def test_a_slot_far_ahead_is_named_as_a_gap(settings, s3_log, stream):
    append(s3_log, stream, "a")
    put(settings, stream, 7, b"nonsense")
    assert (ProblemKind.MISSING, 1) in problems(s3_log, stream)


# ------------------------------------------------------------------------------------------------- the store's promises


class CarelessClient:
    """A client of a store that takes lock headers and forgets them, as some stores do."""

    def __init__(self, client: Any, *forgotten: str) -> None:
        self._client, self._forgotten = client, forgotten

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def put_object(self, **request: Any) -> Any:
        kept = {name: value for name, value in request.items() if not name.startswith(self._forgotten)}
        return self._client.put_object(**kept)


def test_a_store_with_object_lock_passes_the_probe(settings):
    require_worm(s3_client(settings), settings.audit_bucket, mode=settings.audit_lock_mode, clock=now)
    listing = s3_client(settings).list_object_versions(Bucket=settings.audit_bucket, Prefix="probe/")
    assert listing["Versions"]


@pytest.mark.parametrize(
    ("forgotten", "promise"),
    [
        ("ObjectLock", "a locked version can be deleted"),
        ("IfNoneMatch", "an existing key can be written with If-None-Match"),
        ("ChecksumSHA256", "a body with a wrong checksum is stored"),
    ],
)
def test_a_store_that_breaks_a_promise_is_refused_naming_it(settings, s3_store, forgotten, promise):
    admin = as_administrator(s3_store)
    client = CarelessClient(s3_client(admin), forgotten)
    with pytest.raises(OutsideSystemError, match=promise) as caught:
        require_worm(client, settings.audit_bucket, mode="COMPLIANCE", clock=now)
    assert not caught.value.retryable


def test_a_bucket_without_object_lock_is_refused(settings, s3_store):
    admin = s3_client(as_administrator(s3_store))
    bucket = f"plain-{secrets.token_hex(4)}"
    admin.create_bucket(Bucket=bucket)
    with pytest.raises(OutsideSystemError) as caught:
        require_worm(admin, bucket, mode="COMPLIANCE", clock=now)
    assert not caught.value.retryable
