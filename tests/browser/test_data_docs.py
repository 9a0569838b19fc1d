"""Data Docs, opened from disk: whatever cells hold, nothing runs and nobody is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

from model_approval.adapters.expectations.profiler import GreatExpectationsProfiler
from model_approval.policy.schema import TableRule
from tests.browser.test_review_in_airflow import CHROMIUM, FLAGS

pytestmark = pytest.mark.browser

_RUNS = "document.title='it ran'"
_TABLE = f'segment,<b>rows</b>\n<script>{_RUNS}</script>,1\n<img src=x onerror="{_RUNS}">,2\n'
_SUITE = (
    ("expect_column_values_to_be_in_set", {"column": "segment", "value_set": ["EU"]}),
    ("expect_table_columns_to_match_set", {"column_set": ["segment"]}),
    ("expect_column_values_to_not_be_null", {"column": "segment"}),
)


def test_a_page_of_hostile_cells_runs_nothing_and_asks_nobody(tmp_path: Path) -> None:
    suite = [{"type": kind, "kwargs": kwargs} for kind, kwargs in _SUITE]
    rule = TableRule.model_validate({"table": "evaluation.csv", "suite": suite})
    docs = tmp_path / "docs.html"
    docs.write_bytes(GreatExpectationsProfiler().check_table(_TABLE, rule)[2])
    asked: dict[str, str | None] = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, env=dict(os.environ))
        page = browser.new_page()
        page.on("request", lambda request: asked.update({request.url: "it was sent"}))
        page.on("requestfailed", lambda request: asked.update({request.url: request.failure}))
        page.goto(docs.as_uri())
        seen, title = page.inner_text("body"), page.title()
        images = page.locator("img[src=x]").count()
        browser.close()
    assert "Failed" in seen
    assert "<script>" in seen, "the cell stands there as text"
    assert title != "it ran"
    assert images == 0
    assert {url: end for url, end in asked.items() if end != "csp"} == {docs.as_uri(): "it was sent"}
