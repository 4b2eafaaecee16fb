"""The progress bar: one look for everything that takes long.

It stands on standard error, and is gone when it is done. Where standard error is no terminal, what
takes long says a line of the log now and then instead.
"""

import logging
import sys
import threading
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

log = logging.getLogger(__name__)

PACE = 30.0
"""Seconds between two lines of a log, at least. What is done sooner says none."""
RARELY = 60.0
"""Seconds until work of which nothing is counted says its first line; the others come later."""

_hidden: ContextVar[bool] = ContextVar("hidden", default=False)
_open: list["ProgressBar"] = []
"""Bars that are not done, shown or not, the outermost first."""


class Lines:
    """The lines that stand in a log for a bar which nobody would see.

    Attributes:
        begun: When, by `time.monotonic`.
        last: When the last line was said, or this began.
        counted: How much was done when this began, of all that there is, in [0, 1].
    """

    def __init__(self, counted: float = 0.0) -> None:
        self.begun = self.last = time.monotonic()
        self.counted = counted

    def are_due(self, pace: float = PACE) -> bool:
        return time.monotonic() >= self.last + pace

    def say(self, line: str, share: float) -> None:
        """Say a line, and how much longer it takes, where a share in [0, 1] of all is done."""
        self.last = time.monotonic()
        done = share - self.counted
        left = (self.last - self.begun) * (1 - share) / done if done > 0 else None
        log.info("%s", line if left is None else f"{line}, {duration(left)} left")


def duration(seconds: float) -> str:
    """Seconds as one reads them.

    >>> duration(42), duration(240), duration(8000)
    ('42 s', '4 min', '2 h 13 min')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


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
        lines: What is said in a log instead; None where it is shown, or kept quiet.
    """

    display: Progress
    task: TaskID
    start: float
    lines: Lines | None = None

    @property
    def shown(self) -> bool:
        """Whether anybody can see it."""
        return not self.display.disable

    @property
    def description(self) -> str:
        """Words for what is done, as they stand before the bar."""
        return self.display.tasks[0].description

    def advance(self, steps: int, note: str = "") -> None:
        """Count steps that are done, and say something beside."""
        self.display.update(self.task, advance=steps, note=note)
        self.show_if_due()
        if self.lines is not None and self.lines.are_due():
            self.say(self.lines)

    def say(self, lines: Lines) -> None:
        """Say in a log how far it is."""
        task = self.display.tasks[0]
        total = task.total or 0
        unit = f" {task.fields['unit']}" if task.fields["unit"] else ""
        counted = f"{task.description}: {task.completed:,.0f} of {total:,.0f}{unit}"
        lines.say(counted, task.completed / total if total else 0.0)

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
    shown = is_seen(console) and not _hidden.get()

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
    lines = None if shown or _hidden.get() else Lines()
    bar = ProgressBar(display, task, time.monotonic() + patience, lines)
    bar.show_if_due()
    _open.append(bar)

    try:
        yield bar
    finally:
        _open.remove(bar)
        display.stop()


def is_seen(console: Console) -> bool:
    """Whether somebody looks at standard error while it is written."""
    return console.is_interactive or console.is_jupyter


@contextmanager
def long_work(what: str) -> Iterator[None]:
    """Within it a log hears now and then that work goes on of which nothing is counted."""
    if _hidden.get() or is_seen(Console(stderr=True)):
        yield
        return

    done, begun = threading.Event(), time.monotonic()

    def tell() -> None:
        wait = RARELY
        while not done.wait(wait):
            log.info("%s: %s so far", what, duration(time.monotonic() - begun))
            wait *= 2

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()


def under_way() -> str:
    """Words for what is being done, of the innermost bar; empty where there is none.

    >>> with progress_bar("drawing", 3):
    ...     under_way()
    'drawing'
    """
    return _open[-1].description if _open else ""


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
    """Within it there are no bars, and no lines: in a process beside others they would mix."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)
