"""Intake's static rules: each with its yes, its no, and words that say what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.evidence import RuleOutcome, Verdict
from model_approval.policy.intake import IntakeFacts, static_outcomes
from tests.support.builders import (
    FILES,
    a_frozen_policy,
    a_manifest,
    a_payload,
    a_policy,
    a_registered_version,
    a_serving_config,
)

pytestmark = pytest.mark.unit

FORMATS = {"model.onnx": "onnx", "serving.yaml": "yaml", "docs/model_card.md": "markdown"}
STRICT: dict[str, object] = {
    "security_headers": {
        "signature": "required",
        "provenance": "required",
        "classification": ("public", "internal"),
        "licences": ("Apache-2.0", "MIT"),
        "http_headers": {"X-Content-Type-Options": "nosniff", "Cache-Control": None},
        "authentication": "bearer",
    },
    "documents": ("model_card",),
    "max_artifact_bytes": 1000,
}


def facts(**changes: Any) -> IntakeFacts:
    """Facts that satisfy the strictest policy below."""
    files = {**FILES, "model.sig": b"{}", "provenance.json": b"{}"}
    good = IntakeFacts(
        version=a_registered_version(),
        payload=a_payload(),
        manifest=a_manifest(files),
        formats={**FORMATS, "model.sig": "json", "provenance.json": "json"},
        serving=a_serving_config(),
    )
    return replace(good, **changes)


def outcomes(found: IntakeFacts, rules: Mapping[str, object] = STRICT) -> dict[str, RuleOutcome]:
    frozen = a_frozen_policy(policy=a_policy(intake=rules))
    return {outcome.rule: outcome for outcome in static_outcomes(frozen, found)}


def without(path: str) -> dict[str, object]:
    kept = facts()
    files = {entry.path: b"x" for entry in kept.manifest.files if entry.path != path}
    return {"manifest": a_manifest(files)}


def test_good_facts_pass_every_rule():
    found = outcomes(facts())
    assert {outcome.verdict for outcome in found.values()} == {Verdict.PASSED}
    assert list(found) == [
        "versioning.semantic-version",
        "versioning.greater-than-champion",
        "versioning.source-run",
        "versioning.immutable",
        "security-headers.formats",
        "security-headers.signature",
        "security-headers.provenance",
        "security-headers.classification",
        "security-headers.licence",
        "security-headers.http-headers",
        "security-headers.authentication",
        "documents.model_card",
        "artifact.size",
    ]


def test_every_outcome_belongs_to_intake_is_required_and_cannot_be_waived():
    for outcome in outcomes(facts()).values():
        assert (outcome.check, outcome.required, outcome.waivable) == ("intake", True, False)
        assert outcome.title
        assert outcome.reason


def test_rules_that_the_policy_does_not_ask_for_give_no_outcome():
    lenient = {
        "versioning": dict.fromkeys(("semantic_version", "greater_than_champion", "source_run", "immutable"), False)
    }
    assert set(outcomes(facts(), lenient)) == {
        "security-headers.formats",
        "security-headers.http-headers",
        "artifact.size",
    }


@pytest.mark.parametrize(
    ("rule", "changes", "reason"),
    [
        (
            "versioning.semantic-version",
            {"payload": a_payload(semantic_version=None)},
            "the payload states no `semantic_version`; add one, for example 1.4.0",
        ),
        (
            "versioning.semantic-version",
            {"payload": a_payload(semantic_version="v2")},
            "'v2' is not a semantic version; write MAJOR.MINOR.PATCH, for example 1.4.0",
        ),
        (
            "versioning.greater-than-champion",
            {"has_champion": True, "champion_version": "2.1.0"},
            "2.1.0 is not greater than the champion's 2.1.0; raise the semantic version",
        ),
        (
            "versioning.greater-than-champion",
            {"has_champion": True, "champion_version": "2.10.0"},
            "2.1.0 is not greater than the champion's 2.10.0; raise the semantic version",
        ),
        (
            "versioning.greater-than-champion",
            {"has_champion": True, "champion_version": "2.0.0", "payload": a_payload(semantic_version=None)},
            "there is no semantic version to compare with the champion's; state one in the payload",
        ),
        (
            "versioning.source-run",
            {"version": a_registered_version(source_run=None)},
            "the registry knows no run that made this version; register it from its training run",
        ),
        (
            "versioning.immutable",
            {"version": a_registered_version(ready=False)},
            "the registry does not call this version complete; wait until it is, then ask again",
        ),
        (
            "security-headers.signature",
            without("model.sig"),
            "model.sig is not in the artifact; add it and register a new version",
        ),
        (
            "security-headers.provenance",
            {"manifest": a_manifest({"provenance.json": b"", "model.sig": b"{}"})},
            "provenance.json is empty; add it and register a new version",
        ),
        (
            "security-headers.classification",
            {"payload": a_payload(classification="secret")},
            "'secret' is not allowed; allowed: public, internal",
        ),
        (
            "security-headers.classification",
            {"payload": a_payload(classification=None)},
            "the payload declares no `classification`; allowed: public, internal",
        ),
        (
            "security-headers.licence",
            {"payload": a_payload(licence="GPL-3.0-only")},
            "'GPL-3.0-only' is not allowed; allowed: Apache-2.0, MIT",
        ),
        (
            "security-headers.http-headers",
            {"serving": None, "serving_error": "serving.yaml: headers: a header is declared twice"},
            "serving.yaml: headers: a header is declared twice; add a valid serving.yaml to the artifact",
        ),
        (
            "security-headers.http-headers",
            {"serving": a_serving_config(headers={"X-Content-Type-Options": "sniff"})},
            "serving.yaml: X-Content-Type-Options is 'sniff', must be 'nosniff'; Cache-Control is missing; "
            "correct its `headers`",
        ),
        (
            "security-headers.authentication",
            {"serving": a_serving_config(authentication="none")},
            "serving.yaml declares none; write `authentication: bearer`",
        ),
        (
            "documents.model_card",
            {"payload": a_payload(documents={})},
            "the payload names no document `model_card`; add `documents: {model_card: <path>}`",
        ),
        (
            "documents.model_card",
            {"payload": a_payload(documents={"model_card": "../../card.md"})},
            "../../card.md is not in the artifact; add it and register a new version",
        ),
        (
            "artifact.size",
            {"manifest": a_manifest({**FILES, "weights.onnx": b"x" * 1200})},
            "1,243 bytes are more than the 1,000 allowed; remove what is not served",
        ),
    ],
)
def test_a_fact_that_breaks_a_rule_fails_it_and_says_what_to_do(rule, changes, reason):
    outcome = outcomes(facts(**changes))[rule]
    assert (outcome.verdict, outcome.reason) == (Verdict.FAILED, reason)


def test_the_first_version_needs_no_champion_to_beat():
    assert outcomes(facts())["versioning.greater-than-champion"].reason == "there is no champion yet"


@pytest.mark.parametrize(("version", "words"), [(None, "it states none"), ("newest", "'newest' is not one")])
def test_a_champion_of_unknown_version_leaves_the_question_open(version, words):
    outcome = outcomes(facts(has_champion=True, champion_version=version))["versioning.greater-than-champion"]
    assert outcome.verdict is Verdict.INCONCLUSIVE
    assert outcome.reason == (
        f"the champion's semantic version is unknown: {words}; set the tag `semantic_version` on its version"
    )


def test_a_version_whose_bytes_moved_since_an_earlier_request_is_refused_with_both_digests():
    now, before = facts().manifest.artifact_digest, a_manifest().artifact_digest
    outcome = outcomes(facts(earlier_digests=(now, before)))["versioning.immutable"]
    assert outcome.verdict is Verdict.FAILED
    assert outcome.reason == (
        f"this version was {before} in an earlier request and is {now} now; register the changed bytes as a new version"
    )


def test_a_version_with_the_same_bytes_as_before_is_immutable():
    digest = facts().manifest.artifact_digest
    assert outcomes(facts(earlier_digests=(digest, digest)))["versioning.immutable"].verdict is Verdict.PASSED


def test_a_required_document_that_is_empty_is_missing():
    manifest = a_manifest({**FILES, "docs/model_card.md": b""})
    assert outcomes(facts(manifest=manifest))["documents.model_card"].reason.startswith("docs/model_card.md is empty")


def test_header_names_are_compared_without_case():
    serving = a_serving_config(headers={"x-content-type-options": "nosniff", "CACHE-CONTROL": "no-store"})
    assert outcomes(facts(serving=serving))["security-headers.http-headers"].verdict is Verdict.PASSED


def test_an_empty_value_does_not_count_as_any_value():
    serving = a_serving_config(headers={"X-Content-Type-Options": "nosniff", "Cache-Control": ""})
    assert "Cache-Control is missing" in outcomes(facts(serving=serving))["security-headers.http-headers"].reason


def test_without_serving_configuration_nothing_is_allowed_even_if_no_header_is_demanded():
    outcome = outcomes(facts(serving=None, serving_error="serving.yaml is not in the artifact"), {})
    assert outcome["security-headers.http-headers"].verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("path", "found", "words"),
    [
        ("model.onnx", "pickle", "model.onnx is named onnx and is pickle"),
        ("config.json", "pickle", "config.json is named json and is pickle"),
        ("config.json", "text", "config.json is named json and is text"),
        ("CARD.MD", "html", "CARD.MD is named markdown and is html"),
        ("weights.bin", "torch", "weights.bin is torch"),
        ("weights.bin", "unknown", "weights.bin is unknown"),
        ("run.sh", "script", "run.sh is script"),
        ("data.pkl", "pickle", "data.pkl is pickle"),
    ],
)
def test_a_file_in_disguise_or_of_a_foreign_format_is_named(path, found, words):
    given_facts = facts(manifest=a_manifest({path: b"x"}), formats={path: found})
    outcome = outcomes(given_facts)["security-headers.formats"]
    assert outcome.verdict is Verdict.FAILED
    assert outcome.reason.startswith(f"{words} (allowed: onnx, ")


def test_a_file_whose_format_nobody_looked_at_is_not_allowed():
    outcome = outcomes(facts(formats={}))["security-headers.formats"]
    assert outcome.verdict is Verdict.FAILED
    assert "is not looked at" in outcome.reason


def test_a_file_without_bytes_holds_nothing_and_is_allowed():
    given_facts = facts(manifest=a_manifest({"pkg/__init__.py": b""}), formats={"pkg/__init__.py": "empty"})
    assert outcomes(given_facts)["security-headers.formats"].verdict is Verdict.PASSED


def test_only_five_offending_files_are_named_and_the_rest_is_counted():
    files = {f"f{number}.bin": b"x" for number in range(7)}
    outcome = outcomes(facts(manifest=a_manifest(files), formats=dict.fromkeys(files, "elf")))[
        "security-headers.formats"
    ]
    assert "f4.bin is elf; and 2 more (allowed:" in outcome.reason


@pytest.mark.fuzz
@given(st.text(min_size=1, max_size=1024), st.text(max_size=64), st.text(max_size=64))
def test_no_metadata_breaks_a_rule(path, classification, version):
    payload = a_payload(documents={"model_card": path}, classification=classification, semantic_version=version)
    for outcome in outcomes(facts(payload=payload)).values():
        assert len(outcome.reason) <= 4000
