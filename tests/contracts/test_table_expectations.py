"""Expectations over the tables of evidence, held on the twin and on Great Expectations."""

from __future__ import annotations

import re

import pytest

from model_approval.adapters.expectations import GreatExpectationsProfiler
from model_approval.adapters.memory.profiler import MemoryProfiler
from model_approval.domain.errors import EvidenceError
from model_approval.policy.schema import TableRule

pytestmark = pytest.mark.contract

TABLE = "stream,ms,label\n" + "".join(f"candidate,{value},{'ok' if value < 9 else ''}\n" for value in range(1, 11))
CASES: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "expect_table_row_count_to_be_between": ({"min_value": 10, "max_value": 10}, {"min_value": 11}),
    "expect_table_columns_to_match_set": ({"column_set": ["ms", "stream", "label"]}, {"column_set": ["ms"]}),
    "expect_column_to_exist": ({"column": "ms"}, {"column": "gone"}),
    "expect_column_values_to_not_be_null": ({"column": "label", "mostly": 0.8}, {"column": "label"}),
    "expect_column_values_to_be_between": (
        {"column": "ms", "max_value": 9, "mostly": 0.9}, {"column": "ms", "max_value": 9, "strict_max": True}
    ),
    "expect_column_values_to_be_in_set": (
        {"column": "stream", "value_set": ["candidate"]}, {"column": "stream", "value_set": ["champion"]}
    ),
    "expect_column_max_to_be_between": ({"column": "ms", "max_value": 10}, {"column": "ms", "max_value": 9.5}),
    "expect_column_min_to_be_between": ({"column": "ms", "min_value": 1}, {"column": "ms", "min_value": 2}),
    "expect_column_mean_to_be_between": (
        {"column": "ms", "min_value": 5.5, "max_value": 5.5}, {"column": "ms", "max_value": 5}
    ),
    "expect_column_median_to_be_between": ({"column": "ms", "max_value": 5.5}, {"column": "ms", "max_value": 5.4}),
    "expect_column_stdev_to_be_between": ({"column": "ms", "max_value": 3.03}, {"column": "ms", "max_value": 3.02}),
    "expect_column_sum_to_be_between": ({"column": "ms", "max_value": 55}, {"column": "ms", "min_value": 56}),
}  # fmt: skip


@pytest.fixture(
    scope="module", params=[MemoryProfiler, GreatExpectationsProfiler], ids=["memory", "great_expectations"]
)
def profiler(request):
    return request.param()


def _rule(*suite: tuple[str, dict[str, object]]) -> TableRule:
    listed = [{"type": kind, "kwargs": kwargs} for kind, kwargs in suite]
    return TableRule.model_validate({"table": "latencies.csv", "suite": listed})


@pytest.mark.parametrize("kind", CASES)
def test_an_expectation_is_met_or_not_and_said_in_words(profiler, kind):
    met, unmet = CASES[kind]
    assert profiler.check_table(TABLE, _rule((kind, met)))[:2] == (10, ())
    rows, problems, page = profiler.check_table(TABLE, _rule((kind, unmet)))
    assert rows == 10
    assert len(problems) == 1
    assert kind.removeprefix("expect_").removeprefix("column_").removeprefix("table_").replace("_", " ") in problems[0]
    assert b"<html" in page


def test_every_unmet_expectation_of_a_suite_is_told(profiler):
    suite = [(kind, unmet) for kind, (_, unmet) in CASES.items()]
    assert len(profiler.check_table(TABLE, _rule(*suite))[1]) == len(CASES)


def test_a_column_that_is_not_there_is_an_error_and_no_pass(profiler):
    rule = _rule(("expect_column_max_to_be_between", {"column": "gone", "max_value": 1}))
    with pytest.raises(EvidenceError, match=r"latencies\.csv could not be evaluated: gone: max"):
        profiler.check_table(TABLE, rule)


def test_what_is_no_table_is_an_error(profiler):
    with pytest.raises(EvidenceError, match=r"latencies\.csv cannot be read"):
        profiler.check_table("", _rule(("expect_column_to_exist", {"column": "ms"})))


def test_the_checker_names_itself(profiler):
    assert profiler.library


JUDGING = [kind for kind in CASES if kind.startswith("expect_column_") and kind != "expect_column_to_exist"]
NO_BOUND: dict[str, object] = {"column": "ms", "min_value": -1e9}
HOLES = "ms,other\n" + "".join(f"{'' if value <= 3 else value},x\n" for value in range(1, 11))


@pytest.mark.parametrize("kind", JUDGING)
def test_no_expectation_about_values_is_met_by_a_table_without_rows(profiler, kind):
    rows, problems, _ = profiler.check_table("stream,ms,label\n", _rule((kind, CASES[kind][0])))
    assert rows == 0
    assert len(problems) == 1
    assert problems[0].endswith(": the table has no rows")


@pytest.mark.parametrize("kind", [kind for kind in JUDGING if kind.endswith("_between")])
@pytest.mark.parametrize("empty", ["", "NaN", "null"])
def test_no_bound_is_met_by_missing_values(profiler, kind, empty):
    some = f"ms,other\n1,x\n{empty},x\n2,x\n"
    none = f"ms,other\n{empty},x\n{empty},x\n"
    for table, told in ((some, "1 of 3 values are missing"), (none, "2 of 2 values are missing")):
        (problem,) = profiler.check_table(table, _rule((kind, NO_BOUND)))[1]
        assert problem.startswith("ms: ")
        assert problem.endswith(told)


def test_no_set_holds_missing_values(profiler):
    rule = _rule(("expect_column_values_to_be_in_set", {"column": "label", "value_set": ["ok"]}))
    (problem,) = profiler.check_table(TABLE, rule)[1]
    assert problem.endswith("2 of 10 values are missing")


def test_an_empty_line_is_a_missing_value(profiler):
    rows, problems, _ = profiler.check_table("ms\n1\n\n2\n", _rule(("expect_column_min_to_be_between", NO_BOUND)))
    assert rows == 3
    assert problems[0].endswith("1 of 3 values are missing")


def test_a_suite_that_speaks_of_missing_values_lets_the_others_judge_what_is_there(profiler):
    allowed = ("expect_column_values_to_not_be_null", {"column": "ms", "mostly": 0.7})
    rule = _rule(allowed, ("expect_column_min_to_be_between", {"column": "ms", "min_value": 4}))
    assert profiler.check_table(HOLES, rule)[1] == ()
    elsewhere = ("expect_column_values_to_not_be_null", {"column": "other", "mostly": 0.7})
    assert len(profiler.check_table(HOLES, _rule(elsewhere, ("expect_column_min_to_be_between", NO_BOUND)))[1]) == 1


@pytest.mark.parametrize(("mostly", "met"), [(0.7, True), (0.71, False)])
def test_an_expectations_own_mostly_lets_off_missing_values_as_wrong_ones(profiler, mostly, met):
    rule = _rule(("expect_column_values_to_be_between", {**NO_BOUND, "mostly": mostly}))
    assert (profiler.check_table(HOLES, rule)[1] == ()) is met


def test_no_mostly_makes_a_column_without_values_pass(profiler):
    suite = [("expect_column_values_to_not_be_null", {"column": "ms", "mostly": 0})]
    rule = _rule(*suite, ("expect_column_values_to_be_between", {**NO_BOUND, "mostly": 0}))
    (problem,) = profiler.check_table("ms,other\n,x\n,x\n", rule)[1]
    assert problem.endswith("2 of 2 values are missing")


def test_data_docs_show_an_expectation_over_missing_values_as_failed():
    rule = _rule(("expect_column_values_to_be_between", NO_BOUND))
    page = re.sub(r"\s+", " ", GreatExpectationsProfiler().check_table(HOLES, rule)[2].decode())
    assert re.search(r"Status:.{0,99}> Failed", page)
    assert "fa-check-circle" not in page
    assert page.count('"fas fa-times text-danger"') == 2, "the summary and the expectation"


def test_whatever_the_library_raises_is_an_error_that_names_table_and_expectation(monkeypatch):
    from great_expectations.datasource.fluent.interfaces import Batch

    def breaks(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(Batch, "validate", breaks)
    with pytest.raises(EvidenceError, match=r"latencies\.csv could not be evaluated: ms: min .*KeyError: 'lost'"):
        GreatExpectationsProfiler().check_table(TABLE, _rule(("expect_column_min_to_be_between", NO_BOUND)))


def test_a_page_that_cannot_be_rendered_is_replaced_by_a_plain_one_and_loses_no_verdict(monkeypatch):
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    def breaks(*_: object, **__: object) -> None:
        raise KeyError("lost")

    monkeypatch.setattr(ValidationResultsPageRenderer, "render", breaks)
    rule = _rule(("expect_column_values_to_be_in_set", {"column": "stream", "value_set": ["<b>"]}))
    rows, problems, page = GreatExpectationsProfiler().check_table(TABLE, rule)
    assert rows == 10
    assert len(problems) == 1
    assert b"1 of 1 expectations not met" in page
    assert b"&lt;b&gt;" in page
    assert b"<b>" not in page
