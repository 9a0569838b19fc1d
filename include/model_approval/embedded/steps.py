"""Runs the steps of a start, each as soon as those before it are done, and says on the terminal how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console


@dataclass(frozen=True)
class Step:
    """One thing to do while starting."""

    name: str
    """Unique; shown to people."""
    action: Callable[[], object]
    after: tuple[str, ...] = ()
    """Names of the steps that must be done first."""


class Progress:
    """Lines with the time since the start, for a person at a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        # A fixed width: in a log of CI, rich would otherwise break lines at 80 columns.
        target = stream or sys.stdout
        self.console = Console(file=target, highlight=False, soft_wrap=True, width=None if target.isatty() else 200)
        self._began = time.monotonic()
        self.timings: dict[str, float] = {}
        """Seconds that each finished step took."""

    @property
    def elapsed_s(self) -> float:
        """Seconds since this object was made."""
        return time.monotonic() - self._began

    def say(self, words: str, *, style: str = "") -> None:
        """One line, with the time in front."""
        self.console.print(f"[dim]{self.elapsed_s:6.1f} s[/dim]  ", end="")
        self.console.print(words, style=style, markup=False)


def run_steps(steps: Sequence[Step], progress: Progress, *, stop: Callable[[], object]) -> None:
    """Run all steps.

    Args:
        steps: In any order that names no unknown step.
        progress: Told of each step that is done.
        stop: Called at the first failure or interruption, so that steps under way give up.

    Raises:
        Exception: The first step's failure, after the others ended.
    """
    waiting, done, running = list(steps), set[str](), dict[Future[float], Step]()
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        try:
            while waiting or running:
                for step in [step for step in waiting if done.issuperset(step.after)]:
                    waiting.remove(step)
                    running[pool.submit(_timed, step)] = step
                if not running:
                    raise ValueError(f"steps wait for others that do not exist: {[step.name for step in waiting]}")
                # A bounded wait: without it, Ctrl-C would be noticed only when the next step is done.
                finished, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in finished:
                    step = running.pop(future)
                    progress.timings[step.name] = future.result()
                    done.add(step.name)
                    progress.say(f"{step.name} ({progress.timings[step.name]:.1f} s)")
        except BaseException:
            stop()
            raise


def _timed(step: Step) -> float:
    began = time.monotonic()
    step.action()
    return time.monotonic() - began
