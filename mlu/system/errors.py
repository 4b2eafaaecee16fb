"""Faults that the user can mend."""

import argparse
import difflib
import errno
import sys
from collections.abc import Iterable
from typing import NoReturn

USAGE_ERROR = 2
"""Exit code of a command that was used wrongly."""
FAILED = 1
"""Exit code of a command of which something has failed, though it was used rightly."""


class UserError(ValueError):
    """One line that names the fault, the value and the way out.

    The command line ends with it and exit code 2. Names and values come from files that anybody may
    have written, so the line is made `printable`.
    """

    def __init__(self, line: str) -> None:
        super().__init__(printable(line))


def printable(text: str) -> str:
    r"""Text in one line that commands no terminal.

    Line ends, escapes and the like are written as in Python.

    >>> printable("a" + chr(10) + chr(27) + "[31m ä")
    'a\\n\\x1b[31m ä'
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )


class Arguments(argparse.ArgumentParser):
    """Reads the words of a command; what is wrong with them is one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            USAGE_ERROR, f"{self.prog}: {' '.join(message.splitlines())}; see {self.prog} --help\n"
        )


def stop(line: str, code: int = USAGE_ERROR) -> NoReturn:
    """End the command with one line."""
    print(line, file=sys.stderr)
    sys.exit(code)


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the system where there is no room for a file."""

_CLOSED = (
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)
"""Errors where a file may not be read or written, or cannot be there."""

_WORKER = "Caught UserError in DataLoader worker"
"""Beginning of torch's message of an error in another process, whose traceback follows."""


def plain_fault(fault: Exception) -> Exception:
    """A fault of a disk, or of a process that loads data, as one line; any other as it is."""
    if isinstance(fault, UserError) and _WORKER in str(fault):
        return UserError(str(fault).rpartition("UserError: ")[2].removesuffix(printable("\n")))
    if not isinstance(fault, OSError) or fault.errno not in (*_FULL, *_CLOSED):
        return fault

    where = f" {fault.filename}" if fault.filename else ""
    if fault.errno in _FULL:
        remedy = "make room, or choose another folder with outputs=..."
        return UserError(f"cannot write{where}: {fault.strerror}; {remedy}")

    remedy = "give the right to, or name another file or folder (outputs=... is where a run writes)"

    return UserError(f"cannot read or write{where}: {fault.strerror}; {remedy}")


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A near miss of one of `names` as a question, else an empty string.

    >>> did_you_mean("bold", ["Young", "Bald"])
    ", did you mean 'Bald'?"
    """
    by_lower_case = {known.lower(): known for known in names}
    near = difflib.get_close_matches(name.lower(), by_lower_case, n=1)
    return f", did you mean {by_lower_case[near[0]]!r}?" if near else ""


def first_line(fault: Exception) -> str:
    """The message of somebody else's exception in one line; its kind where it says nothing."""
    lines = str(fault).strip().splitlines()
    return lines[0] if lines else type(fault).__name__
