"""Turns Ctrl-C, SIGTERM and a closed terminal into one exception, once; what follows is ignored while we stop."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequestedError(BaseException):
    """Somebody asked us to stop. Not an `Exception`, so that no handler for failures swallows it."""


@contextmanager
def stop_requests() -> Iterator[None]:
    """Raise `StopRequestedError` in the main thread at the first of these signals; restore the handlers at the end."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def ask(number: int, frame: FrameType | None) -> None:
        # Stopping in order takes seconds; a second Ctrl-C must not leave half of the programs running.
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_IGN)
        raise StopRequestedError(signal.Signals(number).name)

    for number in _SIGNALS:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
