"""Has a policy's suite of expectations checked over a table of the evidence, and renders its Data Docs page."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any

from model_approval.adapters.expectations.library import library
from model_approval.domain.errors import EvidenceError
from model_approval.policy.schema import TableRule
from model_approval.policy.table_suite import words_of

_MAX_ROWS = 200_000


def check_table(csv: str, rule: TableRule) -> tuple[int, tuple[str, ...], bytes]:
    """Rows, unmet expectations in words, and the Data Docs page.

    Raises:
        EvidenceError: The table cannot be read, or an expectation could not be evaluated; names it.
    """
    frame = _frame(csv, rule.table)
    gx = library()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset(rule.table)
    made = [_translated(gx, one.type, dict(one.kwargs)) for one in rule.suite]
    for place, expectation in enumerate(made):
        expectation.meta = {"place": place}
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch({"dataframe": frame})
    # Through the batch and not a ValidationDefinition: that one stores results, and cannot write all kinds of numbers.
    found = batch.validate(
        gx.ExpectationSuite(name=rule.table, expectations=made), result_format={"result_format": "BASIC"}
    )
    return len(frame), tuple(_problems(found, rule)), _page(found)


def _frame(csv: str, name: str) -> Any:  # noqa: ANN401  # pandas ships no types
    import pandas as pd

    try:
        frame = pd.read_csv(io.StringIO(csv), nrows=_MAX_ROWS + 1)
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


def _problems(found: Any, rule: TableRule) -> list[str]:  # noqa: ANN401  # see library()
    told: dict[int, str] = {}
    for one in found.results:
        place = one.expectation_config.meta["place"]
        words = words_of(rule.suite[place].type, rule.suite[place].kwargs)
        if (one.exception_info or {}).get("raised_exception", True):
            raise EvidenceError(f"the expectation over {rule.table} could not be evaluated: {words}")
        if not one.success:
            told[place] = f"{words}{_observed(one.result)}"
    return [told[place] for place in sorted(told)]


def _observed(result: dict[str, Any]) -> str:
    if "observed_value" in result:
        value = result["observed_value"]
        return f": found {value:.6g}" if isinstance(value, float) else f": found {value}"
    if "unexpected_count" in result:
        return f": {result['unexpected_count']} of {result.get('element_count', '?')} values are not"
    return ""


def _page(found: Any) -> bytes:  # noqa: ANN401  # see library()
    renderer, view = (import_module(f"great_expectations.render.{part}") for part in ("renderer", "view"))
    html: str = view.DefaultJinjaPageView().render(renderer.ValidationResultsPageRenderer().render(found))
    return html.encode()
