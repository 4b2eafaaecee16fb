"""Standard error as a terminal, to see what is drawn there."""

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """What was drawn, line by line, without colours and commands."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.getvalue()).splitlines()


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Within it standard error is a terminal of 80 columns, and standard output is none.

    No fixture, since pytest sets both anew when a test begins.
    """
    screen = Terminal()
    size = {"TERM": "xterm", "COLUMNS": "80"}
    with patch.dict("os.environ", size), patch.object(sys, "stderr", screen):
        yield screen
