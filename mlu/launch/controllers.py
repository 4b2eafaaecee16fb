"""The processes by which hydra/launcher=submitit_local watches over its jobs: they end with it."""

import os
import signal
import subprocess
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

LOCAL = "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"

_STARTED: list["subprocess.Popen[bytes]"] = []
"""Those of this process. Submitit starts them by itself, and keeps none for others."""


def start_apart() -> None:
    """Have submitit start its processes each in a group of its own, and remember them.

    Ctrl-C, which a terminal sends to a whole group, would else reach them too: each has a traceback
    to say of it.
    """
    from submitit.local import local  # here: not everybody has it

    def started(*arguments: Any, **settings: Any) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(*arguments, process_group=0, **settings)
        _STARTED.append(process)
        return process

    vars(local)["subprocess"] = SimpleNamespace(Popen=started)


def end_jobs() -> None:
    """End what submitit has started here and what is not done, jobs and all.

    At once: a run that is killed goes on where it was.
    """
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            with suppress(ProcessLookupError):  # it has ended since
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
