"""The end of a command by a signal: one line instead of a traceback, and a code that tells.

Ctrl-C ends a command with 130, SIGTERM (of SLURM, docker stop, kill) with 143, as shells have it.
"""

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from mlu.system.ending import NAMES, code_of_signal, ending_line, heard_signals
from mlu.system.errors import first_line
from mlu.system.progress import under_way


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
        return code_of_signal(self.number)

    @property
    def line(self) -> str:
        """The line that the user is told."""
        return ending_line(self.number, self.during)


AGAIN, LATER = 0.02, 30.0
"""Seconds after which an interruption comes again: that was seen to be swallowed, and that has led
to no end."""


class Listener:
    """The ear of one process: the first signal ends it in order, the next at once.

    Attributes:
        process: Its number.
        found: The interruption of the first signal, once that has come.
        ends: Whether the command is ending, or has done its work.
        passed_on: What Python calls with whatever else was swallowed.
    """

    def __init__(self) -> None:
        self.process = os.getpid()
        self.found: Interruption | None = None
        self.ends = False
        self.passed_on = sys.unraisablehook

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.process:
            end_fork(number)
            return
        if self.found is not None:
            os._exit(code_of_signal(number))

        self.found = Interruption(number, under_way())
        self.come_again(number, LATER)
        raise self.found

    def swallowed(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """In the place of `sys.unraisablehook`: an interruption comes again.

        Python drops whatever is raised in a finaliser, an interruption that comes just then too.
        """
        found = unraisable.exc_value
        if not isinstance(found, KeyboardInterrupt) or os.getpid() != self.process:
            self.passed_on(unraisable)
            return

        # One that Python has raised itself is of Ctrl-C.
        number = found.number if isinstance(found, Interruption) else signal.SIGINT
        self.come_again(number, AGAIN)

    def come_again(self, number: int, seconds: float) -> None:
        """Repeat a signal after some seconds, as if it were the first, unless the command ends."""

        def repeat() -> None:
            main = threading.main_thread().ident
            if not self.ends and main is not None:
                self.found = None
                # To the thread itself, so that it does not sleep on.
                signal.pthread_kill(main, number)

        again = threading.Timer(seconds, repeat)
        again.daemon = True
        again.start()


_LISTENERS: list[Listener] = []
"""Those of this process, the innermost last."""


def end_fork(number: int) -> None:
    """End a process that was forked from one that listens, which tells what there is to tell.

    On Ctrl-C, which a terminal sends to both, that ends its daemons itself.
    """
    if number != signal.SIGINT:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    elif not multiprocessing.current_process().daemon:
        raise KeyboardInterrupt


@contextmanager
def interruptible(conclude: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Within it a signal ends the command with one line.

    Args:
        conclude: What is still to be told before that.
    """
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in NAMES}
    listener = Listener()
    if threading.current_thread() is threading.main_thread():
        listen(listener)

    try:
        yield
    except BaseException as fault:
        # What is raised while something is cleared up takes the place of an interruption.
        found = fault if isinstance(fault, KeyboardInterrupt) else listener.found
        if found is None:
            stop_listening(listener, before)
            raise
        # Signals stay as they are: the second one counts until the process has ended.
        listener.ends = True
        end_in_order(found, conclude)
    else:
        stop_listening(listener, before)


@contextmanager
def interruptible_job() -> Iterator[None]:
    """Within it no Ctrl-C is lost on a job, also in a process that a launcher has made for it.

    There Python raises it, and the command that has made the process tells what there is to tell.
    """
    if _LISTENERS and _LISTENERS[-1].process == os.getpid():
        yield
        return

    listener = Listener()
    sys.unraisablehook = listener.swallowed
    try:
        yield
    finally:
        listener.ends = True
        sys.unraisablehook = listener.passed_on


def listen(listener: Listener) -> None:
    """Hear the signals that end a command, but for those that this process was told to ignore."""
    _LISTENERS.append(listener)
    sys.unraisablehook = listener.swallowed
    for number in heard_signals():
        signal.signal(number, listener)


def stop_listening(listener: Listener, handlers: dict[signal.Signals, Any]) -> None:
    """Have signals handled as they were before."""
    listener.ends = True
    if listener in _LISTENERS:
        _LISTENERS.remove(listener)
        sys.unraisablehook = listener.passed_on

    restore(handlers)


def raise_if_heard() -> None:
    """Raise the interruption that has been heard, where a fault of clearing up has replaced it."""
    if _LISTENERS and (found := _LISTENERS[-1].found) is not None:
        raise found


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

    print(interruption.line, file=sys.stderr)
    # Half-imported libraries have last words that they would else keep to themselves.
    logging.disable()
    sys.exit(interruption.code)


@contextmanager
def unheard() -> Iterator[None]:
    """Within it this process starts another that hears no Ctrl-C.

    A terminal sends that to both, and only the first has something to say. SIGTERM waits until the
    other is complete: half of one would say that its other half is missing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    before = {number: signal.getsignal(number) for number in NAMES}
    waiting: list[int] = []
    # What is ignored is so in the processes that are started meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if signal.SIGTERM in heard_signals():
        signal.signal(signal.SIGTERM, lambda number, frame: waiting.append(number))

    try:
        yield
    finally:
        restore(before)
        for number in waiting:
            signal.raise_signal(number)
