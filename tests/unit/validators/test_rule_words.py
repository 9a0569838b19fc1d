"""Every rule that a scanner can report has a sentence of its own, and the page lists exactly these."""

from __future__ import annotations

import re

import pytest

from model_approval.domain.rule_words import FAMILIES, MEANINGS, meaning_of
from tests.support.reference import DOCS
from tests.support.rules import rules_in_code

pytestmark = pytest.mark.unit

IDS = [rule.id for rule in rules_in_code()]


def test_the_code_has_rules():
    assert {"pickle.dangerous-import", "signature.invalid", "dependency.direct-url", "folder.disguised"} <= set(IDS)


def test_every_rule_says_what_it_means():
    own = [name for name in IDS if not name.endswith(".*")]
    assert [name for name in own if name not in MEANINGS] == [], "say in domain/rule_words.py what these rules mean"


def test_no_meaning_is_left_of_a_rule_that_is_gone():
    assert sorted(MEANINGS.keys() - set(IDS)) == []


def test_every_family_has_a_sentence_for_rules_of_other_versions():
    assert {name.split(".")[0] for name in IDS} <= FAMILIES.keys()
    assert meaning_of("pickle.of-a-later-version") == FAMILIES["pickle"]
    assert meaning_of("nobody.knows").startswith("The scan noticed")


def rule_table() -> str:
    return (DOCS / "security-scan.md").read_text().partition("\n## Rules\n")[2]


def test_the_page_lists_every_rule_by_its_id():
    listed = re.findall(r"^\| `([a-z0-9]+\.[a-z0-9*-]+)` \|", rule_table(), re.MULTILINE)
    assert listed == IDS, "run: python -m tests.support.reference"
