"""Standard streams that take whatever a command says.

A sign that a stream lacks is replaced, a reader that has gone is not missed, and a stream that was
closed before the start is nothing to speak of.
"""

import codecs
import io
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from mlu.system.errors import first_line

PLAIN = "mlu.plain"
"""Name of how signs are replaced that a stream's encoding lacks."""

_ALIKE = {
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "±": "+-",
    "≥": ">=",
    "≤": "<=",
    "…": "...",
    "→": "->",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""Sign -> what stands for it where it is lacking; for any other a question mark."""


def plainly(fault: UnicodeError) -> tuple[str, int]:
    """The replacement for signs that could not be encoded, and where to go on."""
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    lacking = fault.object[fault.start : fault.end]
    return "".join(_ALIKE.get(sign, "?") for sign in lacking), fault.end


codecs.register_error(PLAIN, plainly)


class Mouth(io.FileIO):
    """A stream's file, of which it does not matter when its reader ends first, as `head` does."""

    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except BrokenPipeError:
            silence(self.fileno())
            return super().write(content)


def tolerant_streams() -> None:
    """Let the standard streams of a command take whatever is said; before anything is."""
    fill_closed()
    sys.stdout, sys.stderr = tolerant(sys.stdout, 1), tolerant(sys.stderr, 2)


def replace_lacking_signs() -> None:
    """Let the streams and the logs of a job's process take every sign, and logs fail in silence.

    Who writes logs holds on to the standard streams: they stay the same objects.
    """
    logging.raiseExceptions = False
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=PLAIN)

    for handler in logging.getLogger().handlers:
        log = handler.stream if isinstance(handler, logging.FileHandler) else None
        if isinstance(log, io.TextIOWrapper):
            log.reconfigure(encoding="utf-8", errors="backslashreplace")


def fill_closed() -> None:
    """Open nothing in the place of standard files that are closed.

    Else the next file that is opened gets the number of one, and what is said would stand in it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            silence(number)


def silence(number: int) -> None:
    """Let a file number lead to nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    if nowhere == number:
        os.set_inheritable(number, True)
    else:
        os.dup2(nowhere, number)
        os.close(nowhere)


def tolerant(stream: TextIO | None, number: int) -> TextIO:
    """A standard stream that replaces what its encoding lacks, and minds no reader who has gone."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123
    if not isinstance(stream, io.TextIOWrapper):
        return stream

    # Where Python is told not to buffer there is but one.
    raw = getattr(stream.buffer, "raw", stream.buffer)
    if type(raw) is not io.FileIO or raw.fileno() != number:
        stream.reconfigure(errors=PLAIN)
        return stream

    stream.flush()
    mouth = Mouth(number, "wb", closefd=False)
    return io.TextIOWrapper(
        mouth if stream.write_through else io.BufferedWriter(mouth),
        stream.encoding,
        PLAIN,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


@contextmanager
def spared(about: str, say: Callable[[str], object]) -> Iterator[None]:
    """A block whose faults are told in a line, and no more: it comes after what counts."""
    try:
        yield
    except Exception as fault:  # of a library that draws, of a disk, of a stream: each has its own
        say(f"{about}: {first_line(fault)}")


def last_words() -> None:
    """Say what is still to be said; where that cannot be, nothing more is.

    At its end Python would make exit code 120 of it.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            silence(number)
