"""Turns Ctrl-C, SIGTERM and a closed terminal into one exception; what follows while we stop is ignored."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequestedError(BaseException):
    """Somebody asked us to stop. Not an `Exception`, so that no handler for failures swallows it."""


@contextmanager
def stop_requests() -> Iterator[None]:
    """Raise `StopRequestedError` in the main thread when one of these signals comes."""
    with _handled_by(_ask):
        yield


@contextmanager
def deaf() -> Iterator[None]:
    """Ignore these signals: stopping takes seconds, and a second Ctrl-C must not leave half of the programs running."""
    with _handled_by(signal.SIG_IGN):
        yield


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _ask(number: int, frame: FrameType | None) -> NoReturn:
    raise StopRequestedError(signal.Signals(number).name)
