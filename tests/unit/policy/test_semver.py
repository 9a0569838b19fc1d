"""Semantic versions: what is one, and which is greater (examples of SemVer 2.0.0 itself)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.policy.semver import SemVer, parse_semver

pytestmark = pytest.mark.unit

ASCENDING = [
    "0.0.4",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.10",
    "1.2.0",
    "2.0.0",
    "2.1.0",
    "2.1.1",
    "10.0.0",
]


def read(text: str) -> SemVer:
    found = parse_semver(text)
    assert found is not None
    return found


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(ASCENDING)))
def test_precedence_is_as_the_specification_says(lower, higher):
    assert read(lower) < read(higher)
    assert not read(higher) <= read(lower)


@given(st.permutations(ASCENDING))
def test_any_order_sorts_to_the_specified_one(versions):
    assert sorted(versions, key=read) == ASCENDING


def test_build_metadata_does_not_make_a_version_greater():
    assert read("1.0.0+build.2") == read("1.0.0+build.10") == read("1.0.0")


@pytest.mark.parametrize("text", ["1.0.0", "1.0.0-x.7.z.92", "1.0.0--", "1.0.0+001", "1.0.0-0a+5114f85", "0.0.0"])
def test_semantic_versions_are_read(text):
    assert parse_semver(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "v1.0.0",
        "01.0.0",
        "1.0.0-01",
        "1.0.0-",
        "1.0.0+",
        "1.0.0-a..b",
        "1.0.0\n",
        " 1.0.0",
        "1.0.0rc1",
        "1.0.0-ü",
        "latest",
        "1.0.0.0",
        "-1.0.0",
        "1.0.0+a+b",
        "٣.0.0",
    ],
)
def test_anything_else_is_not(text):
    assert parse_semver(text) is None


@given(st.text(max_size=300))
def test_no_text_breaks_the_reader(text):
    found = parse_semver(text)
    assert found is None or text.count(".") >= 2
