"""A callback for Hydra that writes down how much memory a sweep's process holds after each job.
Imports no torch."""

import resource
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

PAGES = Path("/proc/self/statm")
"""Of Linux: the second number counts pages in memory."""


class Resident(Callback):
    def __init__(self, file: str) -> None:
        """
        Args:
            file: Gets a line for each job: resident megabytes.
        """
        self.file = Path(file)

    def on_job_end(self, **_: Any) -> None:
        pages = int(PAGES.read_text().split()[1])
        with self.file.open("a") as stream:
            stream.write(f"{pages * resource.getpagesize() / 1e6}\n")
