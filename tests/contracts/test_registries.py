"""What a model registry promises, held on the twin, on a real MLflow server and on a bucket of SeaweedFS."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from mlflow import MlflowClient

from model_approval.adapters.memory.registry import MemoryRegistry
from model_approval.adapters.mlflow_registry import MlflowRegistry
from model_approval.adapters.s3_artifacts import S3ArtifactStore
from model_approval.adapters.s3_client import s3_client
from model_approval.adapters.s3_registry import S3Registry
from model_approval.domain.errors import IntegrityError, NotFoundError, OutsideSystemError
from model_approval.ports import ModelRegistry, RegistryStatus
from tests.support.servers import REGISTRY_BUCKET, settings_for

pytestmark = pytest.mark.contract
PAYLOAD = '{"environment": "production", "reason": "Retrained auf Q3 \\u2014 größer", "requester": "rita"}'


@dataclass(frozen=True)
class Subject:
    """A registry, and how a person registers versions `1`, `2`, ... of a model of this test's own."""

    registry: ModelRegistry
    model: str
    register: Callable[[int], None]

    def requested(self) -> list[str]:
        """Versions of this test's model that a poll finds."""
        return [found.version for found in self.registry.find_requested() if found.model == self.model]


def _in_memory(request, model: str) -> Subject:
    registry = MemoryRegistry()

    def register(count: int) -> None:
        for number in range(1, count + 1):
            registry.register(model, str(number), f"memory://{model}/{number}", owner="rita")

    return Subject(registry, model, register)


def _in_mlflow(request, model: str) -> Subject:
    url = request.getfixturevalue("mlflow_server").url
    client = MlflowClient(tracking_uri=url, registry_uri=url)

    def register(count: int) -> None:
        run = client.create_run("0", tags={"mlflow.user": "rita"})
        client.create_registered_model(model)
        for _ in range(count):
            client.create_model_version(model, f"s3://models/{model}", run.info.run_id, await_creation_for=0)

    # Small pages: a hundred versions then take several, as thousands do with the default.
    settings = settings_for(request.getfixturevalue("s3_store"), mlflow_tracking_uri=url)
    return Subject(MlflowRegistry(settings, page_size=30), model, register)


def _in_s3(request, model: str) -> Subject:
    settings = request.getfixturevalue("settings")

    def register(count: int) -> None:
        for number in range(1, count + 1):
            s3_client(settings).put_object(
                Bucket=REGISTRY_BUCKET, Key=f"{model}/{number}/artifact/model.onnx", Body=b"%d" % number
            )
            s3_client(settings).put_object(
                Bucket=REGISTRY_BUCKET,
                Key=f"{model}/{number}/promotion.json",
                Body=b"",
                Tagging="owner=rita&source_run=r1",
            )

    return Subject(S3Registry(settings), model, register)


@pytest.fixture(params=[_in_memory, _in_mlflow, _in_s3], ids=["memory", "mlflow", "s3"])
def subject(request) -> Subject:
    made: Subject = request.param(request, f"fraud-{uuid.uuid4().hex[:8]}")
    return made


def test_version_is_told_with_its_source_and_owner(subject):
    subject.register(1)
    found = subject.registry.get(subject.model, "1")
    assert (found.registry, found.model, found.version, found.ready) == (
        subject.registry.name,
        subject.model,
        "1",
        True,
    )
    assert found.owner == "rita"
    assert found.source_run
    assert subject.model in found.artifact_uri


def test_untagged_version_is_not_found_by_a_poll(subject):
    subject.register(2)
    assert subject.requested() == []


def test_request_is_found_with_its_payload_unchanged(subject):
    subject.register(2)
    subject.registry.request(subject.model, "2", PAYLOAD)
    assert subject.requested() == ["2"]
    assert subject.registry.payload_of(subject.registry.get(subject.model, "2")) == PAYLOAD


def test_version_without_payload_has_an_empty_one(subject):
    subject.register(1)
    assert subject.registry.payload_of(subject.registry.get(subject.model, "1")) == ""


def test_hundred_tagged_versions_are_found_once_each_and_oldest_first(subject):
    subject.register(105)
    for number in range(1, 106):
        subject.registry.request(subject.model, str(number), PAYLOAD)
    assert sorted(subject.requested(), key=int) == [str(number) for number in range(1, 106)]
    if subject.registry.name != "s3":  # S3 tells times in whole seconds
        assert subject.requested() == [str(number) for number in range(1, 106)]


def test_status_answers_the_request_and_ends_it(subject):
    subject.register(1)
    subject.registry.request(subject.model, "1", PAYLOAD)
    for _ in range(2):
        subject.registry.set_status(subject.model, "1", RegistryStatus("validating", "pr-7", "3 checks run"))
    tags = subject.registry.get(subject.model, "1").tags
    assert subject.requested() == []
    assert tags["promotion"] == "validating"
    assert tags["promotion.request_id"] == "pr-7"
    assert tags["promotion.reason"] == "3 checks run"


def test_refusal_without_a_request_leaves_no_request_id(subject):
    subject.register(1)
    subject.registry.request(subject.model, "1", PAYLOAD)
    subject.registry.set_status(subject.model, "1", RegistryStatus("validating", "pr-7", "checks"))
    subject.registry.set_status(subject.model, "1", RegistryStatus("refused", None, "payload.reason: missing"))
    tags = subject.registry.get(subject.model, "1").tags
    assert tags["promotion"] == "refused"
    assert "promotion.request_id" not in tags


def test_refused_version_can_be_requested_again(subject):
    subject.register(1)
    subject.registry.request(subject.model, "1", PAYLOAD)
    subject.registry.set_status(subject.model, "1", RegistryStatus("refused", "pr-7", "no model card"))
    subject.registry.request(subject.model, "1", PAYLOAD)
    assert subject.requested() == ["1"]


def test_long_reason_with_any_characters_does_not_break_the_status(subject):
    subject.register(1)
    subject.registry.request(subject.model, "1", PAYLOAD)
    reason = '<b>größer</b> & "quoted"\n' * 100
    subject.registry.set_status(subject.model, "1", RegistryStatus("refused", "pr-7", reason))
    assert subject.registry.get(subject.model, "1").tags["promotion"] == "refused"


def test_nobody_is_champion_at_first(subject):
    subject.register(1)
    assert subject.registry.champion(subject.model, "production") is None


def test_champion_of_an_unknown_model_is_nobody(subject):
    assert subject.registry.champion("never-registered", "production") is None


def test_crowning_twice_is_crowning_once(subject):
    subject.register(2)
    for _ in range(2):
        subject.registry.crown(subject.model, "2", "production", description="approved by ana and max")
    champion = subject.registry.champion(subject.model, "production")
    assert champion is not None
    assert champion.version == "2"
    assert subject.registry.champion(subject.model, "staging") is None


def test_crown_passes_to_the_next_champion(subject):
    subject.register(2)
    subject.registry.crown(subject.model, "1", "production", description="first")
    subject.registry.crown(subject.model, "2", "production", description="second")
    champion = subject.registry.champion(subject.model, "production")
    assert champion is not None
    assert champion.version == "2"


def test_uncrowning_twice_leaves_nobody(subject):
    subject.register(1)
    subject.registry.crown(subject.model, "1", "production", description="first")
    for _ in range(2):
        subject.registry.uncrown(subject.model, "production")
    assert subject.registry.champion(subject.model, "production") is None


@pytest.mark.parametrize("version", ["99", "not-a-number"])
def test_missing_version_is_not_found(subject, version):
    subject.register(1)
    with pytest.raises(NotFoundError):
        subject.registry.get(subject.model, version)
    with pytest.raises(NotFoundError):
        subject.registry.request(subject.model, version, PAYLOAD)
    with pytest.raises(NotFoundError):
        subject.registry.set_status(subject.model, version, RegistryStatus("refused", None, "x"))
    with pytest.raises(NotFoundError):
        subject.registry.crown(subject.model, version, "production", description="x")


def test_missing_model_is_not_found(subject):
    with pytest.raises(NotFoundError):
        subject.registry.get("never-registered", "1")


@pytest.fixture(params=["memory", "mlflow", "s3"])
def unreachable(request) -> ModelRegistry:
    if request.param == "memory":
        registry = MemoryRegistry()
        registry.down = True
        return registry
    nobody = "http://127.0.0.1:9"
    settings = settings_for(request.getfixturevalue("s3_store"), mlflow_tracking_uri=nobody, store_endpoint_url=nobody)
    return MlflowRegistry(settings) if request.param == "mlflow" else S3Registry(settings)


def test_outage_is_told_within_seconds_and_is_worth_a_retry(unreachable):
    began = time.monotonic()
    with pytest.raises(OutsideSystemError) as outage:
        unreachable.find_requested()
    assert outage.value.retryable
    assert time.monotonic() - began < 15


# What only the real MLflow can show.


@pytest.fixture
def mlflow_subject(request) -> Subject:
    return _in_mlflow(request, f"fraud-{uuid.uuid4().hex[:8]}")


def test_crown_shows_in_mlflow_as_alias_and_description(mlflow_subject, mlflow_server):
    mlflow_subject.register(1)
    mlflow_subject.registry.crown(mlflow_subject.model, "1", "production", description="approved by ana")
    client = MlflowClient(tracking_uri=mlflow_server.url, registry_uri=mlflow_server.url)
    shown = client.get_model_version_by_alias(mlflow_subject.model, "champion-production")
    assert shown.description == "approved by ana"


def test_entry_links_to_a_page_that_mlflow_serves(mlflow_subject, mlflow_server):
    mlflow_subject.register(1)
    page_url = mlflow_subject.registry.get(mlflow_subject.model, "1").page_url
    assert page_url == f"{mlflow_server.url}/#/models/{mlflow_subject.model}/versions/1"


def test_version_from_a_deleted_or_missing_run_is_still_told(mlflow_subject, mlflow_server):
    client = MlflowClient(tracking_uri=mlflow_server.url, registry_uri=mlflow_server.url)
    client.create_registered_model(mlflow_subject.model)
    client.create_model_version(mlflow_subject.model, "s3://models/x", await_creation_for=0)
    found = mlflow_subject.registry.get(mlflow_subject.model, "1")
    assert (found.source_run, found.owner) == (None, None)


def test_model_whose_name_cannot_be_used_is_refused_on_its_entry_and_hides_no_other(mlflow_subject, mlflow_server):
    mlflow_subject.register(1)
    mlflow_subject.registry.request(mlflow_subject.model, "1", PAYLOAD)
    client = MlflowClient(tracking_uri=mlflow_server.url, registry_uri=mlflow_server.url)
    odd = f"fraud scorer {uuid.uuid4().hex[:8]}"
    client.create_registered_model(odd)
    client.create_model_version(odd, "s3://models/x", tags={"promotion": "requested"}, await_creation_for=0)
    assert mlflow_subject.requested() == ["1"]
    tags = client.get_model_version(odd, "1").tags
    assert tags["promotion"] == "refused"
    assert "cannot be promoted: model" in tags["promotion.reason"]


def test_registry_without_an_address_says_which_setting_is_missing(settings):
    with pytest.raises(OutsideSystemError, match="MODEL_APPROVAL_MLFLOW_TRACKING_URI"):
        MlflowRegistry(settings.model_copy(update={"mlflow_tracking_uri": None}))
    with pytest.raises(OutsideSystemError, match="MODEL_APPROVAL_S3_REGISTRY_BUCKET"):
        S3Registry(settings.model_copy(update={"s3_registry_bucket": None}))


# What only the bucket can show.


@pytest.fixture
def s3_subject(request) -> Subject:
    return _in_s3(request, f"fraud-{uuid.uuid4().hex[:8]}")


def test_request_and_status_are_no_part_of_the_artifact(s3_subject, settings):
    s3_subject.register(1)
    s3_subject.registry.request(s3_subject.model, "1", PAYLOAD)
    uri = s3_subject.registry.get(s3_subject.model, "1").artifact_uri
    before = S3ArtifactStore(settings).manifest(uri)
    s3_subject.registry.set_status(s3_subject.model, "1", RegistryStatus("in_review", "pr-7", "waiting"))
    assert S3ArtifactStore(settings).manifest(uri) == before
    assert [entry.path for entry in before.files] == ["model.onnx"]


def test_tag_set_by_hand_on_the_payload_object_asks(s3_subject, settings):
    s3_subject.register(1)
    s3_client(settings).put_object(
        Bucket=REGISTRY_BUCKET,
        Key=f"{s3_subject.model}/1/promotion.json",
        Body=PAYLOAD.encode(),
        Tagging="promotion=requested&team=risk",
    )
    assert s3_subject.requested() == ["1"]
    s3_subject.registry.set_status(s3_subject.model, "1", RegistryStatus("validating", "pr-7", "x"))
    assert s3_subject.registry.get(s3_subject.model, "1").tags["team"] == "risk"


def test_request_for_a_version_without_files_is_refused_on_its_entry(s3_subject, settings):
    key = f"{s3_subject.model}/1/promotion.json"
    s3_client(settings).put_object(Bucket=REGISTRY_BUCKET, Key=key, Body=b"{}", Tagging="promotion=requested")
    assert s3_subject.requested() == []
    tags = s3_client(settings).get_object_tagging(Bucket=REGISTRY_BUCKET, Key=key)["TagSet"]
    assert {"Key": "promotion", "Value": "refused"} in tags


def test_full_reason_is_kept_beside_the_shortened_tag(s3_subject, settings):
    s3_subject.register(1)
    s3_subject.registry.request(s3_subject.model, "1", PAYLOAD)
    reason = "größer als erlaubt: " + "x" * 1000
    s3_subject.registry.set_status(s3_subject.model, "1", RegistryStatus("refused", None, reason))
    key = f".promotion/{s3_subject.model}/1/status.json"
    kept = s3_client(settings).get_object(Bucket=REGISTRY_BUCKET, Key=key)["Body"].read().decode()
    assert "x" * 1000 in kept


def test_entry_with_more_tags_than_s3_allows_still_gets_its_status(s3_subject, settings):
    s3_subject.register(1)
    tags = "&".join(["promotion=requested", *(f"tag{n}=x" for n in range(9))])
    key = f"{s3_subject.model}/1/promotion.json"
    s3_client(settings).put_object(Bucket=REGISTRY_BUCKET, Key=key, Body=b"{}", Tagging=tags)
    s3_subject.registry.set_status(s3_subject.model, "1", RegistryStatus("refused", None, "no reason given"))
    shown = s3_subject.registry.get(s3_subject.model, "1").tags
    assert (shown["promotion"], shown["promotion.reason"]) == ("refused", "no reason given")


def test_champion_note_that_names_nobody_is_not_taken_for_no_champion(s3_subject, settings):
    s3_subject.register(1)
    key = f".promotion/{s3_subject.model}/champion-production.json"
    s3_client(settings).put_object(Bucket=REGISTRY_BUCKET, Key=key, Body=b"{}")
    with pytest.raises(IntegrityError, match="does not name a champion"):
        s3_subject.registry.champion(s3_subject.model, "production")
