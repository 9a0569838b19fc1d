"""Expectations over the tables of evidence, held on the twin and on Great Expectations."""

from __future__ import annotations

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
