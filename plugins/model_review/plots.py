"""Geometry of the server-drawn plots. `strip` and `history` in templates/_macros.html turn it into SVG.

No plot carries a fact that is not in a table too.
"""

from __future__ import annotations

from dataclasses import dataclass

STRIP_WIDTH = 132.0
STRIP_PADDING = 7.0
HISTORY_WIDTH = 300.0
HISTORY_HEIGHT = 84.0
HISTORY_PADDING = 10.0


@dataclass(frozen=True)
class Scale:
    """A linear map from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Pixel of a value, kept inside the plot."""
        share = 0.5 if self.high == self.low else (value - self.low) / (self.high - self.low)
        return round(self.start + min(max(share, 0.0), 1.0) * (self.end - self.start), 1)


@dataclass(frozen=True)
class Limits:
    """What a rule allows for one metric; None: open on that side."""

    minimum: float | None = None
    maximum: float | None = None

    @property
    def values(self) -> list[float]:
        """The bounds there are."""
        return [bound for bound in (self.minimum, self.maximum) if bound is not None]


@dataclass(frozen=True)
class Strip:
    """Candidate, its 95 % interval, the champion and the allowed range on one line; all in pixels."""

    allowed_start: float
    allowed_end: float
    candidate: float
    interval: tuple[float, float] | None
    champion: float | None
    noise: tuple[float, float] | None = None
    """What the champion differed from itself, around the champion."""


def strip(
    value: float,
    *,
    interval: tuple[float, float] | None,
    champion: float | None,
    limits: Limits,
    noise: float = 0.0,
) -> Strip | None:
    """The strip of one measured rule; None when there is nothing to compare with.

    Args:
        value: The candidate's figure, or its ratio to the champion.
        interval: Its 95 % interval.
        champion: The champion's figure, 1 for a ratio.
        limits: The allowed range.
        noise: How far from itself the champion came, in the same unit; 0: not known.
    """
    compared = [*limits.values, *([champion] if champion is not None else [])]
    if not compared:
        return None
    band = (champion - noise, champion + noise) if champion is not None and noise > 0 else None
    points = [value, *compared, *(interval or ()), *(band or ())]
    margin = (max(points) - min(points)) * 0.15 or abs(value) * 0.15 or 1.0
    scale = Scale(min(points) - margin, max(points) + margin, STRIP_PADDING, STRIP_WIDTH - STRIP_PADDING)
    return Strip(
        allowed_start=0.0 if limits.minimum is None else scale(limits.minimum),
        allowed_end=STRIP_WIDTH if limits.maximum is None else scale(limits.maximum),
        candidate=scale(value),
        interval=(scale(interval[0]), scale(interval[1])) if interval else None,
        champion=None if champion is None else scale(champion),
        noise=(scale(band[0]), scale(band[1])) if band else None,
    )


@dataclass(frozen=True)
class Reading:
    """One version's figure in a history."""

    version: str
    value: float
    text: str
    request_id: str
    is_candidate: bool


@dataclass(frozen=True)
class History:
    """One metric over the last versions, oldest first, with the allowed bounds as lines; all in pixels."""

    title: str
    readings: tuple[Reading, ...]
    points: tuple[tuple[float, float], ...]
    bounds: tuple[float, ...]
    limit: str

    @property
    def path(self) -> str:
        """The `points` attribute of an SVG polyline."""
        return " ".join(f"{x},{y}" for x, y in self.points)


def history(title: str, readings: tuple[Reading, ...], limits: Limits, limit: str) -> History | None:
    """The history of one rule; None with fewer than two versions."""
    if len(readings) < 2:
        return None
    values = [reading.value for reading in readings] + limits.values
    margin = (max(values) - min(values)) * 0.1 or 1.0
    # SVG's y axis points down: the highest value gets the smallest pixel.
    y = Scale(min(values) - margin, max(values) + margin, HISTORY_HEIGHT - HISTORY_PADDING, HISTORY_PADDING)
    x = Scale(0, len(readings) - 1, HISTORY_PADDING, HISTORY_WIDTH - HISTORY_PADDING)
    return History(
        title=title,
        readings=readings,
        points=tuple((x(index), y(reading.value)) for index, reading in enumerate(readings)),
        bounds=tuple(y(bound) for bound in limits.values),
        limit=limit,
    )
