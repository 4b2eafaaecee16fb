"""The end of a command by a signal, in words and numbers: those of shells."""

import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from mlu.system.commands import own_command
from mlu.system.errors import printable

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
"""Signals that end a command, as users call them."""


def ending_line(number: int, during: str = "") -> str:
    """The line that the user is told.

    Args:
        number: Of the signal.
        during: What was under way, in words; empty where nobody has said.
    """
    where = f" at {during!r}" if during else ""
    return printable(f"ended by {NAMES[signal.Signals(number)]}{where}; to go on: {own_command()}")


def code_of_signal(number: int) -> int:
    """Exit code of a command that a signal has ended."""
    return 128 + number


def heard_signals() -> Iterator[signal.Signals]:
    """The signals that end this command: not those that it was told to ignore."""
    for number in NAMES:
        # So it is in the background of a shell's script.
        if signal.getsignal(number) is not signal.SIG_IGN:
            yield number


def end_at_once(number: int, frame: FrameType | None = None) -> NoReturn:
    """End the process with the line, where nothing has begun that would have to end in order."""
    print(ending_line(number), file=sys.stderr, flush=True)
    os._exit(code_of_signal(number))
