"""The demonstration's table: it holds only when every line does."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from model_approval.embedded.report import Report

pytestmark = pytest.mark.unit


def printed(report: Report) -> str:
    stream = io.StringIO()
    report.print(Console(file=stream, width=200))
    return stream.getvalue()


def test_a_report_of_nothing_shows_nothing_so_it_does_not_hold():
    assert not Report().holds


def test_one_line_that_is_not_as_expected_is_enough():
    report = Report()
    report.add("good", expected="deployed", found="deployed", why="")
    held_before = report.holds

    report.add("bad", expected="blocked", found="deployed", why="nobody looked")

    assert (held_before, report.holds) == (True, False)
    assert "NOT" in printed(report)
    assert "deployed, expected" in printed(report)


def test_words_from_elsewhere_are_text_and_not_markup():
    report = Report()
    report.add("a", expected="x", found="x", why="[red]all is well[/red]", seconds=1.25)

    said = printed(report)

    assert "[red]all is well[/red]" in said
    assert "1.2 s" in said
