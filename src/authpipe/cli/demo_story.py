"""How the demonstration is told: numbered steps with what was seen and how long it took, then a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


class Unmet(Exception):
    """The demonstration did not see what it should have seen."""


def expect(condition: object, otherwise: str) -> None:
    """Raise ``Unmet`` with ``otherwise`` unless ``condition`` holds."""
    if not condition:
        raise Unmet(otherwise)


@dataclass(slots=True)
class Step:
    """One thing shown.  ``name`` and ``result`` are its line in the table at the end.

    ``now`` says what goes on while it lasts.
    """

    number: int
    name: str
    title: str
    result: str = ""
    lines: list[str] = field(default_factory=list)
    seconds: float = 0.0
    passed: bool = False

    now: Callable[[str], None] = field(default=lambda text: None, repr=False)

    def saw(self, line: str) -> None:
        """A line to print below the step's title."""
        self.lines.append(line)


class Story:
    """Prints steps as they are done, and keeps them."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self.steps: list[Step] = []

    @contextmanager
    def step(self, name: str, title: str) -> Iterator[Step]:
        """One step; a spinner turns while it lasts.  One that raises is marked as failed."""
        step = Step(len(self.steps) + 1, name, title)
        self.steps.append(step)
        begun = time.monotonic()
        try:
            with self._out.status(title) as status:
                step.now = lambda text: status.update(f"{title}: {text}")
                yield step
            step.passed = True
        finally:
            step.seconds = time.monotonic() - begun
            self._print(step)

    def _print(self, step: Step) -> None:
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text

        line = Table.grid(expand=True, padding=(0, 1, 0, 0))
        line.add_column(width=1)
        line.add_column(width=2, justify="right")
        line.add_column(ratio=1)
        line.add_column(justify="right", no_wrap=True)
        mark = Text("✓", "green") if step.passed else Text("✗", "red")
        line.add_row(mark, Text(str(step.number)), Text(step.title, "bold"), Text(taken(step.seconds), "dim"))
        self._out.print(line)
        for seen in step.lines:
            self._out.print(Padding(Text(seen, overflow="fold"), (0, 0, 0, 5)))

    def summary(self) -> None:
        """The table at the end."""
        from rich.table import Table
        from rich.text import Text

        table = Table(title="What you saw", title_justify="left", title_style="bold", expand=True)
        table.add_column("Step", no_wrap=True)
        table.add_column("Seen", ratio=1)
        table.add_column("Time", justify="right", no_wrap=True)
        for step in self.steps:
            colour = "green" if step.passed else "red"
            table.add_row(f"{step.number:>2} {step.name}", Text(step.result, colour), taken(step.seconds))
        self._out.print()
        self._out.print(table)


def taken(seconds: float) -> str:
    """A duration as people read it."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds * 1e6:.2f} µs"
