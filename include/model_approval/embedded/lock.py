"""One start at a time per state folder, and no left-overs of an earlier one."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model_approval.domain.errors import OutsideSystemError
from model_approval.embedded import reaper


@contextmanager
def hold(path: Path) -> Iterator[str]:
    """Take the folder's lock, end what an earlier start left behind, and give this start its id.

    Raises:
        OutsideSystemError: Another start holds it; names its process.
    """
    with path.open("a+") as stream:
        stream.seek(0)
        earlier = _parse(stream.read())
        try:
            # The kernel lets go of it when we die, however we die.
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise OutsideSystemError(
                "stack",
                f"{path.parent} is in use by process {earlier.get('pid', 'unknown')}",
                retryable=False,
                hint="stop that one with Ctrl-C, or name another folder with --state-dir",
            ) from err
        if stack := earlier.get("stack"):
            reaper.end_all(str(stack))
        stack_id = secrets.token_hex(8)
        stream.truncate(0)
        stream.write(json.dumps({"pid": os.getpid(), "stack": stack_id}))
        stream.flush()
        yield stack_id


def _parse(text: str) -> dict[str, object]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}  # cut off by a crash while it was written: then nothing was started yet either
    return found if isinstance(found, dict) else {}
