"""What a data profiler promises, held on the twin and on Great Expectations."""

from __future__ import annotations

import json

import pytest

from model_approval.adapters.expectations import GreatExpectationsProfiler
from model_approval.adapters.memory.profiler import MemoryProfiler
from model_approval.domain.evidence import Verdict
from model_approval.policy.schema import PrivacyRules

pytestmark = pytest.mark.contract
SECRET = "ana.example@mail.example.org"


@pytest.fixture(params=[MemoryProfiler, GreatExpectationsProfiler], ids=["memory", "great_expectations"])
def profiler(request):
    return request.param()


def a_schema(**types: str) -> bytes:
    """`input_schema.json` with these columns, none of them personal."""
    return json.dumps({"columns": [{"name": name, "type": kind} for name, kind in types.items()]}).encode()


def verdicts(profiler, schema: bytes, sample: str | bytes, *, declared=(), **rules) -> dict[str, tuple[Verdict, str]]:
    """Verdict and reason of each rule."""
    data = sample.encode() if isinstance(sample, str) else sample
    outcomes, _ = profiler.profile(schema, data, PrivacyRules.model_validate(rules), frozenset(declared))
    return {outcome.rule: (outcome.verdict, outcome.reason) for outcome in outcomes}


AMOUNT_AND_NOTE = a_schema(amount="float", note="string")


def test_clean_sample_passes_every_rule_and_says_what_was_looked_at(profiler):
    found = verdicts(
        profiler, AMOUNT_AND_NOTE, "amount,note\n1.5,fine\n2,also fine\n", ranges={"amount": {"minimum": 0}}
    )
    assert {verdict for verdict, _ in found.values()} == {Verdict.PASSED}
    assert list(found) == [
        "privacy.schema",
        "privacy.undeclared-personal-columns",
        "privacy.patterns",
        "privacy.nulls",
        "privacy.ranges",
    ]
    assert "2 columns, 2 rows" in found["privacy.schema"][1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"write to {SECRET} please", "an e-mail address"),
        ("call +49 30 901820 now", "a phone number"),
        ("call (212) 555-0199", "a phone number"),
        ("ssn 536-90-4399", "a national identity number"),
        ("nino AB 12 34 56 C", "a national identity number"),
        ("paid with 4111 1111 1111 1111", "a payment card number"),
    ],
)
def test_personal_data_in_text_fails_and_is_counted_but_never_quoted(profiler, text, words):
    sample = f"amount,note\n1,fine\n2,{text}\n3,{text}\n"
    verdict, reason = verdicts(profiler, AMOUNT_AND_NOTE, sample)["privacy.patterns"]
    assert verdict is Verdict.FAILED
    assert reason == f"column note: 2 rows hold what looks like {words}"


def test_digits_that_no_issuer_gave_out_are_no_card_number(profiler):
    sample = "amount,note\n1,4111 1111 1111 1112\n2,9999999999999999\n"
    assert verdicts(profiler, AMOUNT_AND_NOTE, sample)["privacy.patterns"][0] is Verdict.PASSED


def test_card_number_in_a_number_column_is_found_too(profiler):
    sample = "amount,note\n4111111111111111,x\n"
    verdict, reason = verdicts(profiler, AMOUNT_AND_NOTE, sample)["privacy.patterns"]
    assert (verdict, reason) == (Verdict.FAILED, "column amount: 1 rows hold what looks like a payment card number")


def test_only_the_patterns_that_the_policy_forbids_are_looked_for(profiler):
    sample = f"amount,note\n1,{SECRET}\n"
    found = verdicts(profiler, AMOUNT_AND_NOTE, sample, forbid_patterns=["phone"])
    assert found["privacy.patterns"][0] is Verdict.PASSED
    assert "privacy.patterns" not in verdicts(profiler, AMOUNT_AND_NOTE, sample, forbid_patterns=[])


def test_column_whose_name_speaks_of_people_must_be_declared(profiler):
    schema, sample = a_schema(amount="float", customerEmail="string"), "amount,customerEmail\n1,none\n"
    verdict, reason = verdicts(profiler, schema, sample)["privacy.undeclared-personal-columns"]
    assert verdict is Verdict.FAILED
    assert "column customerEmail: its name speaks of personal data" in reason
    declared = verdicts(profiler, schema, sample, declared=["customerEmail"])
    assert declared["privacy.undeclared-personal-columns"][0] is Verdict.PASSED


def test_column_marked_as_personal_in_the_schema_must_be_declared(profiler):
    schema = b'{"columns": [{"name": "segment", "type": "string", "personal": true}]}'
    verdict, reason = verdicts(profiler, schema, "segment\na\n")["privacy.undeclared-personal-columns"]
    assert verdict is Verdict.FAILED
    assert "marked as personal in the schema" in reason


def test_declaring_a_column_does_not_allow_addresses_in_it(profiler):
    found = verdicts(profiler, a_schema(email="string"), f"email\n{SECRET}\n", declared=["email"])
    assert found["privacy.undeclared-personal-columns"][0] is Verdict.PASSED
    assert found["privacy.patterns"][0] is Verdict.FAILED


def test_too_many_empty_values_fail_with_their_number(profiler):
    sample = "amount,note\n" + "1,x\n" * 18 + ",x\n,x\n"
    verdict, reason = verdicts(profiler, AMOUNT_AND_NOTE, sample)["privacy.nulls"]
    assert (verdict, reason) == (Verdict.FAILED, "column amount: 2 rows are empty, more than 5%")
    assert verdicts(profiler, AMOUNT_AND_NOTE, sample, max_null_fraction=0.1)["privacy.nulls"][0] is Verdict.PASSED


def test_column_that_is_empty_throughout_fails_and_breaks_nothing(profiler):
    found = verdicts(profiler, AMOUNT_AND_NOTE, "amount,note\n,\n,\n", ranges={"amount": {"minimum": 0}})
    assert found["privacy.nulls"][0] is Verdict.FAILED
    assert {found[rule][0] for rule in ("privacy.schema", "privacy.patterns", "privacy.ranges")} == {Verdict.PASSED}


@pytest.mark.parametrize(
    ("value", "verdict"),
    [("0", Verdict.PASSED), ("10", Verdict.PASSED), ("10.5", Verdict.FAILED), ("-1e3", Verdict.FAILED)],
)
def test_bounds_are_inclusive(profiler, value, verdict):
    sample = f"amount,note\n{value},x\n5,x\n"
    found = verdicts(profiler, AMOUNT_AND_NOTE, sample, ranges={"amount": {"minimum": 0, "maximum": 10}})
    assert found["privacy.ranges"][0] is verdict


def test_text_in_a_bounded_column_fails_instead_of_slipping_through(profiler):
    sample = "amount,note\n1,seven\n2,\n3,4\n"
    verdict, reason = verdicts(profiler, AMOUNT_AND_NOTE, sample, ranges={"note": {"minimum": 0}})["privacy.ranges"]
    assert (verdict, reason) == (
        Verdict.FAILED,
        "column note: 1 rows hold no number, so their range cannot be checked",
    )


def test_range_of_a_column_that_the_model_has_not_fails(profiler):
    found = verdicts(profiler, AMOUNT_AND_NOTE, "amount,note\n1,x\n", ranges={"age": {"minimum": 0}})
    assert found["privacy.ranges"] == (
        Verdict.FAILED,
        "column age: not in the input schema, so its range cannot be checked",
    )


def test_missing_and_undeclared_columns_fail_the_schema(profiler):
    verdict, reason = verdicts(profiler, AMOUNT_AND_NOTE, "amount,extra\n1,x\n")["privacy.schema"]
    assert (verdict, reason) == (
        Verdict.FAILED,
        "the sample lacks note; the sample has undeclared columns at place 2",
    )


def test_text_in_a_number_column_fails_the_schema(profiler):
    verdict, reason = verdicts(profiler, AMOUNT_AND_NOTE, "amount,note\n1,x\nn/a,x\n")["privacy.schema"]
    assert (verdict, reason) == (
        Verdict.FAILED,
        "column amount: 1 rows hold no number, though it is declared as one",
    )


def test_personal_data_in_an_undeclared_column_is_found_as_well(profiler):
    found = verdicts(profiler, AMOUNT_AND_NOTE, f"amount,note,extra\n1,x,{SECRET}\n")
    assert found["privacy.patterns"][1] == "column undeclared column 3: 1 rows hold what looks like an e-mail address"


def test_file_without_header_does_not_show_its_first_row(profiler):
    outcomes, result = profiler.profile(AMOUNT_AND_NOTE, f"1,{SECRET}\n2,x\n".encode(), PrivacyRules(), frozenset())
    told = "".join(outcome.reason for outcome in outcomes).encode() + result
    assert SECRET.encode() not in told
    assert outcomes[0].verdict is Verdict.FAILED


def test_result_kept_as_evidence_holds_no_value_of_the_sample_and_is_always_the_same(profiler):
    sample = f"amount,note\n1,{SECRET}\n77777,x\n".encode()
    rules = PrivacyRules.model_validate({"ranges": {"amount": {"maximum": 10}}})
    first, second = (profiler.profile(AMOUNT_AND_NOTE, sample, rules, frozenset())[1] for _ in range(2))
    assert first == second
    assert SECRET.encode() not in first
    assert b"77777" not in first
    assert json.loads(first)["success"] is False


BAD_SAMPLES = {
    "empty": (b"", "empty file"),
    "header only": (b"amount,note\n", "no row below the header"),
    "too few cells": (b"amount,note\n1,x\n2\n", "line 3: 1 cells where the header has 2"),
    "too many cells": (b"amount,note\n1,x,y\n", "line 2: 3 cells where the header has 2"),
    "open quote": (b'amount,note\n1,"x\n2,y\n', "line 3: unexpected end of data"),
    "stray quote": (b'amount,note\n1,"x"y\n', "line 2: "),
    "not text": (b"amount,note\n1,\xff\xfe\n", "line 2: not UTF-8 text"),
    "twice the same column": (b"amount,amount\n1,2\n", "line 1, column 2: the same name as an earlier column"),
    "column without a name": (b"amount,\n1,2\n", "line 1, column 2: no name in the header"),
    "endless cell": (b"amount,note\n1," + b"x" * 120_000 + b"\n", "line 2, column 2: more than 100000 characters"),
    "too many columns": (b",".join(b"c%d" % n for n in range(501)) + b"\n", "more than 500 columns"),
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_sample_that_cannot_be_read_fails_with_its_place_and_leaves_the_rest_open(profiler, name):
    data, words = BAD_SAMPLES[name]
    found = verdicts(profiler, AMOUNT_AND_NOTE, data)
    assert found["privacy.schema"][0] is Verdict.FAILED
    assert found["privacy.schema"][1].startswith(f"evaluation_sample.csv: {words}")
    assert {verdict for rule, (verdict, _) in found.items() if rule != "privacy.schema"} == {Verdict.INCONCLUSIVE}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (b"", "EOF while parsing"),
        (b"[]", "Input should be an object"),
        (b"{}", "columns: Field required"),
        (b'{"columns": []}', "columns: "),
        (b'{"columns": [{"name": "a"}]}', "columns.0.type: Field required"),
        (b'{"columns": [{"name": "a", "type": "float", "pii": 1}]}', "columns.0.pii: Extra inputs"),
        (b'{"columns": [{"name": "a", "type": "x"}, {"name": "a", "type": "x"}]}', "column 'a' is declared twice"),
        (b'{"columns": [{"name": "\\u0000", "type": "x"}]}', "columns.0.name: "),
        (b"\xff", "Invalid JSON"),
    ],
)
def test_schema_that_cannot_be_read_fails_naming_the_field(profiler, schema, words):
    verdict, reason = verdicts(profiler, schema, "a\n1\n")["privacy.schema"]
    assert verdict is Verdict.FAILED
    assert reason.startswith("input_schema.json: ")
    assert words in reason


@pytest.mark.parametrize("name", ["{count}", "a{b}c", "%s", "<b>", "日本語", "undeclared column 1", "a is no number"])
def test_odd_column_names_are_only_names(profiler, name):
    schema = json.dumps({"columns": [{"name": name, "type": "string"}]}).encode()
    found = verdicts(profiler, schema, f'"{name}"\n{SECRET}\n', ranges={name: {"minimum": 1}})
    assert found["privacy.schema"][0] is Verdict.PASSED
    assert found["privacy.patterns"][1] == f"column {name}: 1 rows hold what looks like an e-mail address"
    assert found["privacy.ranges"][0] is Verdict.FAILED
