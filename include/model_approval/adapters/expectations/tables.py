"""Has a policy's suite of expectations checked over a table of the evidence, and renders its Data Docs page."""

from __future__ import annotations

import html
import io
import logging
from importlib import import_module
from typing import Any

from model_approval.adapters.expectations.library import library
from model_approval.domain.errors import EvidenceError
from model_approval.policy.schema import TableRule
from model_approval.policy.table_suite import unjudged, words_of

log = logging.getLogger(__name__)
_MAX_ROWS = 200_000
_MAX_WORDS = 1000


def check_table(csv: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
    """Rows, unmet expectations in words, and the Data Docs page.

    Raises:
        EvidenceError: The table cannot be read, or an expectation could not be evaluated; names it.
    """
    frame = _frame(csv, rule.table)
    gx = library()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    made = [_translated(gx, one.type, dict(one.kwargs)) for one in rule.suite]
    for place, expectation in enumerate(made):
        expectation.meta = {"place": place}
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset(rule.table)
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    # Through the batch and not a ValidationDefinition: that one stores results, and cannot write all kinds of numbers.
    try:
        found = batch.validate(
            gx.ExpectationSuite(name=rule.table, expectations=made), result_format={"result_format": "BASIC"}
        )
    except Exception as err:  # the library promises nothing about what it raises
        words = _culprit(batch, made, rule)
        told = f"the expectation over {rule.table} could not be evaluated: {words}: {type(err).__name__}: {err}"
        raise EvidenceError(told[:_MAX_WORDS]) from err
    missing = {str(name): int(count) for name, count in frame.isna().sum().items()}
    unmet = unjudged([(one.type, one.kwargs) for one in rule.suite], len(frame), missing)
    problems = tuple(_problems(found, rule, unmet))
    return len(frame), problems, _page(found, rule, problems)


def _culprit(batch: Any, made: list[Any], rule: TableRule) -> str:  # noqa: ANN401  # see library()
    """The expectation that raises when it is asked alone; all of them when none does."""
    said = [words_of(one.type, one.kwargs) for one in rule.suite]
    for expectation, words in zip(made, said, strict=True):
        try:
            batch.validate(expectation)
        except Exception:  # noqa: BLE001  # see check_table
            return words
    return "; ".join(said)


def _frame(csv: str, name: str) -> Any:  # noqa: ANN401  # pandas ships no types
    import pandas as pd

    try:
        frame = pd.read_csv(io.StringIO(csv), nrows=_MAX_ROWS + 1, skip_blank_lines=False)
    except ValueError as err:  # its parser's errors all derive from it
        raise EvidenceError(f"the table {name} cannot be read: {err}") from err
    if len(frame) > _MAX_ROWS:
        raise EvidenceError(f"the table {name} has more than {_MAX_ROWS} rows")
    return frame


def _translated(gx: Any, kind: str, kwargs: dict[str, Any]) -> Any:  # noqa: ANN401  # see library()
    name = "".join(part.capitalize() for part in kind.split("_"))
    try:
        return getattr(gx.expectations, name)(**kwargs)
    except (TypeError, ValueError) as err:
        raise EvidenceError(f"{kind} does not take these arguments: {err}") from err


def _problems(found: Any, rule: TableRule, unmet: dict[int, str]) -> list[str]:  # noqa: ANN401  # see library()
    told: dict[int, str] = {}
    for one in found.results:
        place = one.expectation_config.meta["place"]
        words = words_of(rule.suite[place].type, rule.suite[place].kwargs)
        if place in unmet:
            one.success = False  # the page must not show it as met
            told[place] = f"{words}: {unmet[place]}"
        elif (one.exception_info or {}).get("raised_exception", True):
            raise EvidenceError(f"the expectation over {rule.table} could not be evaluated: {words}")
        elif not one.success:
            told[place] = f"{words}{_observed(one.result)}"
    _recount(found)
    return [told[place] for place in sorted(told)]


def _recount(found: Any) -> None:  # noqa: ANN401  # see library()
    """The summary that the page shows, after expectations over missing values were marked as not met."""
    total, met = len(found.results), sum(bool(one.success) for one in found.results)
    found.success = met == total
    found.statistics.update(
        successful_expectations=met, unsuccessful_expectations=total - met, success_percent=100 * met / total
    )


def _observed(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        value = result["observed_value"]
        return f": found {value:.6g}" if isinstance(value, float) else f": found {value}"
    if "unexpected_count" in result:
        return f": {result['unexpected_count']} of {result.get('element_count', '?')} values are not"
    return ""


_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_HEAD = (
    f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
    '<style>i.text-success::before{content:"\u2714"} i.text-danger::before{content:"\u2718"}</style>'
)
"""The library's pages fetch scripts, styles and icons from elsewhere; one that is opened from disk must neither run
anything nor ask anybody, and still show what was met."""


def _escaped(value: Any) -> Any:  # noqa: ANN401  # any JSON
    """The library's templates escape nothing, and cells come from the model's sender."""
    if isinstance(value, dict):
        return {_escaped(name): _escaped(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(one) for one in value]
    return html.escape(value) if isinstance(value, str) else value


def _page(found: Any, rule: TableRule, problems: tuple[str, ...]) -> bytes:  # noqa: ANN401  # see library()
    """The library's page, or a plain one of ours: a page that cannot be rendered must not lose the verdict."""
    try:
        renderer, view = (import_module(f"great_expectations.render.{part}") for part in ("renderer", "view"))
        for one in found.results:
            one.result = _escaped(one.result)
        page: str = view.DefaultJinjaPageView().render(renderer.ValidationResultsPageRenderer().render(found))
        if "<head>" not in page:
            raise EvidenceError("the page has no head to put its content security policy into")
        page = page.replace("<head>", f"<head>{_HEAD}", 1)
    except Exception:  # the library promises nothing about what it raises
        log.exception("the Data Docs page of %s cannot be rendered; a plain one is kept", rule.table)
        page = _plain_page(rule, problems)
    return page.encode()


def _plain_page(rule: TableRule, problems: tuple[str, ...]) -> str:
    title = html.escape(f"{rule.table}: {len(problems)} of {len(rule.suite)} expectations not met")
    listed = "".join(f"<li>{html.escape(problem)}</li>" for problem in problems)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>'
        f"<body><h1>{title}</h1><ul>{listed}</ul></body></html>\n"
    )
