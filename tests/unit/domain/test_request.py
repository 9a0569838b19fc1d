"""Requests: their derived ids, and what their payloads may hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from model_approval.domain.base import Name, Slug
from model_approval.domain.deployment import deployment_name
from model_approval.domain.request import RequestPayload, RiskTier, request_id
from tests.support.builders import a_payload, a_request

pytestmark = pytest.mark.unit

NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
SLUGS = st.from_regex(r"\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
ASKS = st.tuples(SLUGS, NAMES, NAMES, SLUGS, st.integers(1, 50))


def id_of(ask: tuple[str, str, str, str, int]) -> str:
    registry, model, version, environment, attempt = ask
    return request_id(registry=registry, model=model, version=version, environment=environment, attempt=attempt)


@given(ASKS)
def test_an_id_fits_dns_labels_dag_runs_and_s3_keys(ask):
    assert TypeAdapter(Slug).validate_python(id_of(ask))


@given(ASKS, ASKS)
def test_only_the_same_ask_has_the_same_id(one, two):
    assert (id_of(one) == id_of(two)) == (one == two)


def test_an_id_tells_model_version_and_environment():
    assert a_request().id.startswith("pr-fraud-scorer-7-productio-")


def test_a_resubmission_has_another_id():
    assert a_request(attempt=1).id != a_request(attempt=2).id


@given(NAMES, SLUGS)
def test_a_deployment_name_is_a_dns_label(model, environment):
    assert TypeAdapter(Slug).validate_python(deployment_name(model, environment))


def test_models_that_differ_only_in_case_have_different_deployments():
    assert deployment_name("Fraud_scorer", "production") != deployment_name("fraud-scorer", "production")


def test_an_unstated_risk_is_high():
    payload = RequestPayload(environment="production", reason="because", requester="rita")
    assert payload.risk_tier is RiskTier.HIGH


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("reason", "   "),
        ("reason", "x" * 4001),
        ("requester", ""),
        ("requester", "rita\nadmin"),
        ("environment", "Production"),
        ("environment", "../production"),
        ("contributors", ["x"] * 51),
        ("documents", {"model_card": ""}),
        ("documents", {"../card": "card.md"}),
        ("risk_tier", "none"),
        ("approved", True),
    ],
)
def test_a_payload_that_no_person_would_write_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        a_payload(**{field: value})


@given(st.text(max_size=200))
def test_a_model_name_is_never_a_path(text):
    try:
        name = TypeAdapter(Name).validate_python(text)
    except ValidationError:
        return
    assert "/" not in name
    assert not name.startswith(".")


@pytest.mark.governance
def test_requester_and_contributors_are_told_apart_from_reviewers():
    assert a_request(payload=a_payload(contributors=("carl",))).contributors == {"rita", "carl"}
