"""The progress bar: one look for everything that takes long.

It stands on standard error, and is gone when it is done. In a pipe or a log there is none.
"""

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")

_hidden: ContextVar[bool] = ContextVar("hidden", default=False)


class RateColumn(ProgressColumn):
    """Speed of a task that has a unit, such as `1,234 images/s`."""

    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        return Text(f"{task.speed:,.0f} {unit}/s" if unit and task.speed else "")


@dataclass(frozen=True)
class ProgressBar:
    """One line: what is done, a bar, how much of how much, how fast, time left, and a note.

    Attributes:
        display: What draws it.
        task: Its only task.
        start: When it shows at the earliest, by `time.monotonic`.
    """

    display: Progress
    task: TaskID
    start: float

    @property
    def shown(self) -> bool:
        """Whether anybody can see it."""
        return not self.display.disable

    def advance(self, steps: int, note: str = "") -> None:
        """Count steps that are done, and say something beside."""
        self.display.update(self.task, advance=steps, note=note)
        self.show_if_due()

    def restart(self, description: str, total: int) -> None:
        """Begin anew from nothing, with the note as it is."""
        self.display.reset(self.task, description=description, total=total)

    def show_if_due(self) -> None:
        if time.monotonic() >= self.start:
            self.display.start()


@contextmanager
def progress_bar(
    description: str, total: int, unit: str = "", patience: float = 0.0
) -> Iterator[ProgressBar]:
    """A progress bar, until the block ends.

    Args:
        description: What is done.
        total: Number of steps.
        unit: Of a step, such as `images`, where a rate shall stand beside; empty for none.
        patience: Seconds before it shows.
    """
    console = Console(stderr=True)
    shown = (console.is_interactive or console.is_jupyter) and not _hidden.get()

    display = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
        console=console,
        transient=True,
        # What is printed meanwhile stays where it was sent.
        redirect_stdout=sys.stdout.isatty(),
        disable=not shown,
    )
    task = display.add_task(description, total=total, unit=unit, note="")
    bar = ProgressBar(display, task, time.monotonic() + patience)
    bar.show_if_due()

    try:
        yield bar
    finally:
        display.stop()


def tracked(
    items: Iterable[Item], description: str, total: int, patience: float = 0.0
) -> Iterator[Item]:
    """The items, one after another, with a progress bar.

    >>> list(tracked("abc", "reading", total=3))
    ['a', 'b', 'c']
    """
    with progress_bar(description, total, patience=patience) as bar:
        for item in items:
            yield item
            bar.advance(1)


@contextmanager
def bars_hidden() -> Iterator[None]:
    """Within it there are no bars: in a process beside others theirs would be written over."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)
