"""How privacy expectations become outcomes."""

from __future__ import annotations

import pytest

from model_approval.domain.evidence import Verdict
from model_approval.domain.sample import parse_sample, parse_schema
from model_approval.policy.privacy_suite import NULLS, SCHEMA, asked_rules, outcome, tables, unreadable
from model_approval.policy.schema import PrivacyRules

pytestmark = pytest.mark.unit


def test_any_problem_is_a_no_even_when_something_else_broke():
    said = outcome(NULLS, problems=["column a: 3 rows are empty"], broken=1, scope="")
    assert (said.verdict, said.reason) == (Verdict.FAILED, "column a: 3 rows are empty")


def test_a_breakdown_is_never_a_yes():
    assert outcome(NULLS, problems=[], broken=1, scope="").verdict is Verdict.ERRORED


def test_many_problems_are_counted_and_not_all_listed():
    said = outcome(SCHEMA, problems=[f"column {n:02}: x" for n in range(25)], broken=0, scope="")
    assert said.reason.count("column") == 10
    assert said.reason.endswith("; and 15 more")


def test_rule_that_the_policy_does_not_ask_for_has_no_outcome():
    rules = PrivacyRules(forbid_undeclared_personal_columns=False, forbid_patterns=(), ranges={})
    assert asked_rules(rules) == [SCHEMA, NULLS]
    assert [said.rule for said in unreadable(rules, "no such file")] == [SCHEMA, NULLS]


def test_no_table_holds_the_header_of_a_file_that_has_none():
    schema = parse_schema(b'{"columns": [{"name": "note", "type": "string"}]}')
    made = tables(schema, parse_sample(b"ana@example.org\nx\n"), PrivacyRules(), frozenset())
    told = repr([(table.columns.keys(), table.expectations) for table in made])
    assert "ana@example.org" not in told
    assert "undeclared column 1" in told
