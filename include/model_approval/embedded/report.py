"""What the demonstration claims, what happened, and the table of both."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Line:
    """One claim and what became of it."""

    claim: str
    expected: str
    found: str
    why: str
    """The system's own words."""
    seconds: float | None = None
    """How long it took, where that means something."""

    @property
    def holds(self) -> bool:
        """Whether what happened is what had to happen."""
        return self.expected == self.found


@dataclass
class Report:
    """All lines, in the order in which they were learned."""

    lines: list[Line] = field(default_factory=list)

    def add(self, claim: str, *, expected: str, found: str, why: str, seconds: float | None = None) -> Line:
        """Note a line and return it."""
        line = Line(claim, expected, found, " ".join(why.split()), seconds)
        self.lines.append(line)
        return line

    @property
    def holds(self) -> bool:
        """Whether there is something to show and all of it is as it must be."""
        return bool(self.lines) and all(line.holds for line in self.lines)

    def print(self, console: Console) -> None:
        """The table; what failed is marked by a word, not by colour alone."""
        table = Table(title="What was decided, and why", title_justify="left", show_lines=True)
        for column, width in (("", 4), ("claim", 26), ("outcome", 18), ("why", None), ("time", 7)):
            table.add_column(column, width=width, overflow="fold", justify="right" if column == "time" else "left")
        for line in self.lines:
            outcome = line.found if line.holds else f"{line.found}, expected {line.expected}"
            took = f"{line.seconds:.1f} s" if line.seconds is not None else ""
            mark = "[green]ok[/green]" if line.holds else "[red]NOT[/red]"
            table.add_row(mark, *(_plain(text) for text in (line.claim, outcome, _short(line.why), took)))
        console.print(table)


def _short(words: str, *, limit: int = 420) -> str:
    return words if len(words) <= limit else f"{words[: limit - 1]}…"


def _plain(text: str) -> str:
    """Words from registries and servers are text, never markup."""
    return text.replace("[", r"\[")
