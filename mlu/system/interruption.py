"""The end of a command by a signal: one line instead of a traceback, and a code that tells.

Ctrl-C ends a command with 130, SIGTERM (of SLURM, docker stop, kill) with 143, as shells have it.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from mlu.system.commands import own_command
from mlu.system.errors import first_line, printable
from mlu.system.progress import under_way

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
"""Signals that end a command, as users call them."""


class Interruption(KeyboardInterrupt):
    """A signal that ends the command.

    Attributes:
        number: Of the signal.
        during: What was under way, in words; empty where nobody has said.
    """

    def __init__(self, number: int = signal.SIGINT, during: str = "") -> None:
        super().__init__(number, during)
        self.number, self.during = signal.Signals(number), during

    @property
    def code(self) -> int:
        """Exit code of the command."""
        return 128 + self.number

    @property
    def line(self) -> str:
        """The line that the user is told."""
        where = f" at {self.during!r}" if self.during else ""
        return f"ended by {NAMES[self.number]}{where}; to go on: {own_command()}"


class Listener:
    """The ear of one process: the first signal ends it in order, the next at once."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.heard = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            end_fork(number)
        if self.heard:
            os._exit(128 + number)

        self.heard = True
        raise Interruption(number, under_way())


def end_fork(number: int) -> None:
    """End a process that was forked from one that listens, which tells what there is to tell."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextmanager
def interruptible(conclude: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Within it a signal ends the command with one line.

    Args:
        conclude: What is still to be told before that.
    """
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in NAMES}
    if threading.current_thread() is threading.main_thread():
        listen()

    try:
        yield
    except KeyboardInterrupt as found:
        # Signals stay as they are: the second one counts until the process has ended.
        end_in_order(found, conclude)
    except BaseException:
        restore(before)
        raise
    else:
        restore(before)


def listen() -> None:
    """Hear the signals that end a command, but for those that this process was told to ignore."""
    listener = Listener()
    for number in NAMES:
        # So it is in the background of a shell's script.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, listener)


def restore(handlers: dict[signal.Signals, Any]) -> None:
    """Have signals handled as they were; one that another language handles stays as it is."""
    if threading.current_thread() is not threading.main_thread():
        return

    for number, handler in handlers.items():
        if handler is not None:
            signal.signal(number, handler)


def end_in_order(found: KeyboardInterrupt, conclude: Callable[[], object]) -> NoReturn:
    """Tell what there is to tell, and end the command."""
    interruption = found if isinstance(found, Interruption) else Interruption()
    try:
        conclude()
    except Exception as fault:
        print(f"cannot say what is done: {first_line(fault)}", file=sys.stderr)

    print(printable(interruption.line), file=sys.stderr)
    sys.exit(interruption.code)


@contextmanager
def unheard() -> Iterator[None]:
    """Within it this process starts others that hear no Ctrl-C.

    A terminal sends that to all of them, and only the first has something to say.
    """
    handler = signal.getsignal(signal.SIGINT)
    if handler is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    # What is ignored is so in the processes that are started meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
