"""Ends what a stack started, should the stack itself die without stopping it (SIGKILL, out of memory).

Runs as a process of its own, `python reaper.py STACK_ID`, with its standard input held open by the stack. Each line it
reads is `add GROUP` or `drop GROUP`, a process group that belongs to the stack. When the input ends, the stack is gone:
whatever is left of it is stopped. Only the standard library, so that it stays small and starts at once.

A process is the stack's when it is in a group that was named, or when its environment holds the stack's mark; its name
says nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

MARK = "EMBEDDED_STACK_ID"
"""Environment variable that every program of a stack inherits."""
GRACE_S = 12.0
"""From asking to forcing: Airflow's scheduler needs up to 11 s to stop its workers in order."""


def marked(stack_id: str) -> list[int]:
    """Ids of the processes that carry a stack's mark, this one left out."""
    wanted = f"{MARK}={stack_id}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            carries = wanted in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # somebody else's process, or gone meanwhile
            continue
        if carries and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return found


def members(groups: Iterable[int]) -> list[int]:
    """Ids of the living processes in these groups; one that ended and was not yet collected does not live."""
    wanted = set(groups)
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            # The name, second and in parentheses, may hold anything; what follows it is `state parent group ...`.
            state, _, group = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(group) in wanted and state not in "ZX":
            found.append(int(entry.name))
    return found


def end_all(stack_id: str, groups: Iterable[int] = (), *, grace_s: float = GRACE_S) -> list[int]:
    """Stop a stack's processes: ask first, force after `grace_s` seconds. Returns what is left, as a rule nothing."""
    own = frozenset(groups)
    left = _living(stack_id, own)
    for number, patience in ((signal.SIGTERM, grace_s), (signal.SIGKILL, 5.0)):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + patience
        while (left := _living(stack_id, own)) and time.monotonic() < deadline:
            time.sleep(0.1)
    return left


def _living(stack_id: str, groups: frozenset[int]) -> list[int]:
    return sorted({*marked(stack_id), *members(groups)})


def main() -> None:
    """Read group ids until the stack lets go of our input, then end what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the stack's end is the only one that counts
    groups: set[int] = set()
    for line in sys.stdin:
        word, _, group = line.strip().partition(" ")
        (groups.add if word == "add" else groups.discard)(int(group))
    end_all(sys.argv[1], groups)


if __name__ == "__main__":
    main()
