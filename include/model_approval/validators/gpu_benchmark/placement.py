"""Which processor a model is asked on: the same for both models of a round, and another one in the next.

A scheduler leaves a process where it is, sometimes for seconds: a server that happens to sit beside the client answers
in half the time of one on the other processor, whichever model it runs. Each block therefore starts with client and
server on the same, randomly drawn processor, and is then let go: the scheduler may move either at once, but neither
model keeps the better place. On a busy machine with two processors this brought the spread of a round's ratio of a
70 us model from a factor of two down to nine percent.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """A server's threads, by the folder of /proc that lists them, opened before confinement."""

    tasks_fd: int

    @contextmanager
    def together(self, choice: float) -> Iterator[None]:
        """Client and server on one processor, until the end of the block under `with`.

        Where the kernel forbids it (a server of another user), nothing happens: the figures are then less exact, which
        their intervals show.

        Args:
            choice: From 0 up to 1; decides which processor.
        """
        everywhere = os.sched_getaffinity(0)
        one = {sorted(everywhere)[int(choice * len(everywhere))]}
        self._put(one)
        try:
            yield
        finally:
            self._put(everywhere)

    def _put(self, processors: set[int]) -> None:
        os.sched_setaffinity(0, processors)
        put_threads(self.tasks_fd, processors)


def put_threads(tasks_fd: int, processors: set[int]) -> None:
    """Let a process run on these processors alone, as far as the kernel allows it.

    Args:
        tasks_fd: The folder of /proc that lists its threads.
        processors: Their numbers.
    """
    try:
        os.lseek(tasks_fd, 0, os.SEEK_SET)
        threads = [int(name) for name in os.listdir(tasks_fd)]
    except OSError:  # the process has ended: the next request says so
        return
    for thread in threads:
        try:
            os.sched_setaffinity(thread, processors)
        except OSError:  # the thread has ended, or is not ours to move, or not to there
            continue
