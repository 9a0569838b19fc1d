"""How far a validator is, for the people who watch the task's log.

The validator's process writes lines that begin with `progress: ` to its standard error; its supervisor passes them on,
bounded and without control characters, since that process may be in the hands of the artifact that it looks at.
"""

from __future__ import annotations

import sys
import time

PREFIX = "progress: "
_SECONDS_BETWEEN = 5.0
_last = 0.0


def report(text: str) -> None:
    """Say how far it is; of several within five seconds the first alone is said."""
    global _last
    now = time.monotonic()
    if _last and now - _last < _SECONDS_BETWEEN:
        return
    _last = now
    sys.stderr.write(f"{PREFIX}{text}\n")
    sys.stderr.flush()
