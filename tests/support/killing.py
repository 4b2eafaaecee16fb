"""Whole runs in processes that can be killed anywhere, forked from one that has imported everything
before."""

import atexit
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir"}
"""Python's names of what changes a folder; to open a file for writing is another such event."""
SAID, WRITES = "said", "writes"
"""Files in the outputs: what a run printed, and a line for each write, before it happens."""
SMALL = (
    "method.images=64",
    "method.tuning.steps=4",
    "dataset.images=200",
    "dataset.image_size=32",
    "training.batch_size=32",
    "trainer.accelerator=cpu",
)
"""A run of seconds."""
PATIENCE = 300
"""Seconds after which a process counts as stuck."""

asking = threading.Lock()
"""To start a process asks after all others, as `exitcode` does after one, and only the first to ask
hears its code."""

server = multiprocessing.get_context("forkserver")
server.set_forkserver_preload(["tests.support.killing", "tests.support.warm"])


@dataclass(frozen=True)
class Write:
    """Something that a run did to its outputs.

    Attributes:
        at: Seconds of a clock that all processes share.
        event: Python's name of it.
        path: Below the outputs.
    """

    at: float
    event: str
    path: str


def hear_ctrl_c() -> None:
    """Have this process hear Ctrl-C, also where tests run in the background of a shell's script."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(function: Callable[..., object], *arguments: Any) -> BaseProcess:
    """A process that carries out a function of a module: it is found by its name.

    It has the environment of now, and not that in which the first of all was started.
    """
    process = server.Process(target=in_environment, args=(dict(os.environ), function, *arguments))
    with asking:
        process.start()
    # Else a test that fails would wait at its end for one that has none.
    atexit.register(process.kill)
    return process


def in_environment(
    environment: dict[str, str], function: Callable[..., object], *arguments: Any
) -> None:
    """Carry out a function where the variables are these and no others."""
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]

    os.environ |= environment
    faulthandler.register(signal.SIGUSR1)
    function(*arguments)


def ended(process: BaseProcess) -> int:
    """Its exit code; one that is stuck says to its standard error where."""
    try:
        until(lambda: code_of(process) is not None)
    except AssertionError:
        os.kill(process.pid, signal.SIGUSR1)
        time.sleep(1)
        process.kill()
        raise

    code = code_of(process)
    assert code is not None
    return code


def code_of(process: BaseProcess) -> int | None:
    """Exit code of a process, None while it lives."""
    with asking:
        return process.exitcode


def until(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait for something that must come true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not in {seconds} s"
        time.sleep(0.01)


def state(number: int) -> str:
    """Letter of a process's state; Z also of one that is gone."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return "Z"


def launch(outputs: Path, overrides: Sequence[str], last: int | None = None) -> None:
    """`launch.py` with these overrides, on one thread, its output in a file, its pictures blank: to
    draw them takes as long as a model.

    Args:
        outputs: Where everything goes.
        overrides: Of the configuration.
        last: Number of the write, from 0, before which the process kills itself; None to live.
    """
    import torch

    from mlu.launch.cli import main
    from mlu.system.process import tune_process
    from tests.support.blank import draw_blank

    outputs.mkdir(parents=True, exist_ok=True)
    said = os.open(outputs / SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    tune_process(threads=1)
    torch.set_num_threads(1)
    draw_blank()
    # W&B's process of the tests' own, if they have one, is not the run's.
    os.environ.pop("WANDB_SERVICE", None)
    sys.argv = ["launch.py", *overrides, f"outputs={outputs}"]
    sys.addaudithook(recorder(outputs, last))
    main()


def recorder(outputs: Path, last: int | None) -> Callable[[str, tuple[Any, ...]], None]:
    """An audit hook that records writes below a folder, and ends the process before one."""
    root, done = f"{outputs}/", 0
    record = os.open(outputs / WRITES, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR)):
            path = str(arguments[0])
            if path.startswith(root):
                if done == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
                os.write(record, f"{time.monotonic()} {event} {path.removeprefix(root)}\n".encode())

    return hook


def writes(outputs: Path) -> list[Write]:
    """What the last run there has written, or was about to write when it ended."""
    file = outputs / WRITES
    lines = file.read_text().splitlines() if file.is_file() else []
    parts = [line.split(" ", 2) for line in lines]
    return [Write(float(at), event, path) for at, event, path in parts]
