"""What a person sees while something runs: progress on standard error, nothing where none looks."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

console = Console(stderr=True, highlight=False)
"""Everything that is not a result goes here; `console.quiet` silences it."""


class Meter(Protocol):
    """What work reports to."""

    def advance(self, count: int, note: str = "") -> None:
        """`count` more are done; `note` replaces what is said beside the bar."""
        ...


class Silent:
    """A meter at which nobody looks."""

    def advance(self, count: int, note: str = "") -> None:
        """See `Meter`."""


class _Bar:
    def __init__(self, progress: Progress, description: str, total: int | None, done: int) -> None:
        self.progress = progress
        self.started = time.perf_counter()
        self.done = 0
        self.task = progress.add_task(description, total=total, completed=done, rate="", note="")

    def advance(self, count: int, note: str = "") -> None:
        """Move the bar; the rate is over all that was done in this process."""
        self.done += count
        rate = self.done / max(time.perf_counter() - self.started, 1e-9)
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        self.progress.update(self.task, advance=count, rate=shown, note=note)


class _Rate(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        rate = task.fields["rate"]
        return Text(f"{rate} {self.unit}/s" if rate else "", style="cyan")


@contextlib.contextmanager
def progress(description: str, total: int | None, unit: str, done: int = 0) -> Iterator[Meter]:
    """A bar with count, rate and time left, where standard error is a terminal.

    Args:
        description: what is being done.
        total: how many there are; None if nobody knows.
        unit: what is counted, in the plural.
        done: how many were done before.
    """
    if console.quiet or not console.is_terminal:
        yield Silent()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}" if total else "{task.completed:,.0f}"),
        _Rate(unit),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bar(bars, description, total, done)


def say(message: str) -> None:
    """One line for the person, on standard error."""
    console.print(message, soft_wrap=True, markup=False)
