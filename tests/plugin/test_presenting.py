"""How figures, times and plots are said and drawn."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_approval.domain.audit import Action
from model_approval.domain.errors import DecisionError
from model_approval.domain.evidence import Severity, Verdict
from model_approval.domain.promotion import PromotionState
from model_review import plots, words
from model_review.forms import parse_items
from tests.support.builders import NOW

pytestmark = pytest.mark.unit

FINITE = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e12, max_value=1e12)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (-40, "40 s ago"),
        (-59 * 60, "59 min ago"),
        (-3 * 3600, "3 h ago"),
        (-47 * 3600, "47 h ago"),
        (-48 * 3600, "2 days ago"),
        (5 * 86_400, "in 5 days"),
    ],
)
def test_times_are_relative_in_one_unit(seconds: int, said: str) -> None:
    assert words.relative(NOW + timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (44.123, "ms", "44.12\u202fms"),
        (1433.2, "MiB", "1\u202f433\u202fMiB"),
        (0.91234, "", "0.9123"),
        (-2.0, "ms", "\u22122\u202fms"),
        (0.0, "", "0"),
        (1e-7, "", "1e\u221207"),
    ],
)
def test_numbers_have_four_digits_and_their_unit(value: float, unit: str, said: str) -> None:
    assert words.number(value, unit) == said


def test_change_to_a_champion_of_zero_has_no_percentage() -> None:
    assert words.change(3, 0) == "+3"
    assert words.change(41.8, 41.8) == "no change"
    assert words.change(40, 50) == "\u221210 (\u221220\u202f%)"


def test_every_state_verdict_severity_and_event_has_its_words() -> None:
    assert set(words.STATES) == set(PromotionState)
    assert set(words.VERDICTS) == set(Verdict)
    assert set(words.SEVERITIES) == set(Severity)
    assert set(words.EVENTS) == set(Action)


def test_no_two_verdicts_share_icon_and_tone() -> None:
    looks = [(look.icon, look.tone) for look in words.VERDICTS.values()]
    assert len(set(looks)) == len(looks)


@given(value=FINITE, champion=st.none() | FINITE, minimum=st.none() | FINITE, maximum=st.none() | FINITE)
def test_everything_drawn_stays_inside_the_strip(
    value: float, champion: float | None, minimum: float | None, maximum: float | None
) -> None:
    drawn = plots.strip(
        value, interval=(value - 1, value + 1), champion=champion, limits=plots.Limits(minimum, maximum)
    )
    if drawn is None:
        assert champion is minimum is maximum is None
        return
    found = [drawn.candidate, drawn.allowed_start, drawn.allowed_end, *(drawn.interval or ())]
    assert all(0 <= x <= plots.STRIP_WIDTH for x in found)


def test_a_candidate_within_its_limit_lies_in_the_allowed_range() -> None:
    drawn = plots.strip(41, interval=None, champion=40, limits=plots.Limits(maximum=50))
    assert drawn is not None
    assert drawn.allowed_start <= drawn.candidate < drawn.allowed_end
    beyond = plots.strip(57, interval=None, champion=40, limits=plots.Limits(maximum=50))
    assert beyond is not None
    assert beyond.candidate > beyond.allowed_end


def test_a_history_of_one_version_is_no_history() -> None:
    one = plots.Reading("7", 41.0, "41 ms", "pr-7", is_candidate=True)
    assert plots.history("p99", (one,), plots.Limits(), "") is None


def test_higher_values_are_drawn_higher() -> None:
    readings = tuple(plots.Reading(str(n), float(n), "", f"pr-{n}", is_candidate=False) for n in (1, 2))
    drawn = plots.history("p99", readings, plots.Limits(), "")
    assert drawn is not None
    assert drawn.points[0][1] > drawn.points[1][1]


@given(st.text(max_size=200))
def test_items_parse_or_are_refused_in_words(text: str) -> None:
    refused = None
    try:
        items = parse_items(text)
    except DecisionError as err:
        items, refused = (), err
    assert refused is None or refused.message.startswith("item ")
    assert all(len(item.text) >= 3 for item in items)
