"""The sample models are what they claim to be: complete, told apart by format, and harmless to have."""

from __future__ import annotations

import json
import pickletools
from pathlib import Path

import pytest
import yaml

from model_approval.domain.deployment import ServingConfig
from model_approval.domain.formats import detect_format
from model_approval.domain.request import RequestPayload
from model_approval.embedded.sample_models import (
    DANGEROUS_FILE,
    OWNER,
    SampleModel,
    dangerous_pickle,
    sample_models,
    swapped_bytes,
)
from model_approval.policy.catalog import FileCatalog

pytestmark = pytest.mark.unit

CONFIG = Path(__file__).resolve().parents[3] / "include"


@pytest.fixture(scope="module")
def samples() -> dict[str, SampleModel]:
    return sample_models()


def policy():
    return next(frozen for frozen in FileCatalog(CONFIG).all() if frozen.policy.name == "fraud-scoring")


def test_there_are_one_good_and_three_bad_models_of_different_names(samples):
    assert set(samples) == {"good", "dangerous", "slow", "swapped"}
    assert len({model.name for model in samples.values()}) == 4


@pytest.mark.parametrize("kind", ["good", "dangerous", "slow", "swapped"])
def test_each_brings_what_its_policy_asks_for(samples, kind):
    model, frozen = samples[kind], policy()
    payload = RequestPayload.model_validate_json(model.payload_json)
    serving = ServingConfig.model_validate(yaml.safe_load(model.files["serving.yaml"]))
    rules = frozen.policy.intake

    assert set(rules.documents) == set(payload.documents)
    assert set(payload.documents.values()) <= set(model.files)
    assert set(rules.security_headers.http_headers) <= set(serving.headers)
    assert serving.authentication == rules.security_headers.authentication
    assert payload.licence in rules.security_headers.licences
    assert frozen.policy.deployment.smoke_input in model.files
    assert {detect_format(path, data) for path, data in model.files.items()} <= set(rules.security_headers.formats)


def test_the_owner_could_not_vote_but_two_others_can(samples):
    payload, frozen = RequestPayload.model_validate_json(samples["good"].payload_json), policy()
    voters = {
        rule.role: set(frozen.committee.roles[rule.role].members) - {OWNER} for rule in frozen.policy.review.quorum
    }

    assert payload.requester == OWNER
    assert set().union(*voters.values()) == {"ana", "bo"}


def test_the_sample_holds_the_columns_that_the_schema_declares(samples):
    declared = [column["name"] for column in json.loads(samples["good"].files["input_schema.json"])["columns"]]

    header = samples["good"].files["evaluation_sample.csv"].decode().splitlines()[0]

    assert header.split(",") == declared


def test_the_scorer_is_worth_promoting(samples):
    assert samples["good"].metrics["roc_auc"] > 0.9


def test_the_dangerous_pickle_names_a_system_call_and_its_command_does_nothing():
    opcodes = [(opcode.name, argument) for opcode, argument, _ in pickletools.genops(dangerous_pickle())]

    assert ("GLOBAL", "posix system") in opcodes
    assert [argument for name, argument in opcodes if name == "STRING"] == ["true"]


def test_only_the_dangerous_model_holds_a_pickle(samples):
    holding = {
        kind
        for kind, model in samples.items()
        for path, data in model.files.items()
        if detect_format(path, data) == "pickle"
    }

    assert holding == {"dangerous"}
    assert detect_format(DANGEROUS_FILE, samples["dangerous"].files[DANGEROUS_FILE]) == "pickle"


def test_the_swapped_bytes_differ_in_one_bit_and_have_the_same_length(samples):
    before, after = samples["swapped"].files["model.onnx"], swapped_bytes(samples["swapped"])

    assert len(before) == len(after)
    assert sum((old ^ new).bit_count() for old, new in zip(before, after, strict=True)) == 1
