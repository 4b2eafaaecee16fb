"""The ways of a process: to wait for its threads, keep its memory, start others, and end.

Imports no torch: this comes before.
"""

import ctypes
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.context import SpawnContext, SpawnProcess
from types import TracebackType
from typing import Any

from mlu.system.interruption import unheard

_SPINS = "1000"
"""Times that an OpenMP thread looks for work before it sleeps.

Left alone it spins for milliseconds: no faster when the cores are its own, and tens of times slower
when two jobs share them.
"""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""The C library's numbers of these settings."""

_LARGEST_KEPT = 2**30
"""Bytes of a block of memory that is used again rather than given back after every batch."""


def tune_process(threads: int | None = None) -> None:
    """Set the ways of this process, unless the user has, and where the C library can.

    Args:
        threads: How many torch may use, where the user has not said so; None for as many as there
            are cores.
    """
    # What a worker of joblib's starts would else be told to start its own as joblib does, and would
    # not know how.
    multiprocessing.set_start_method(None, force=True)

    os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
    if threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))

    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
            mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT)


def end_with_parent() -> None:
    """End this process when the one that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class QuietOfPeers:
    """In the place of `sys.excepthook`: says nothing of a peer that is gone.

    Where processes hand each other open files, a thread of multiprocessing's waits for them, and
    has Python's hook say what fails there: also that one of them has ended, or has been ended.

    Attributes:
        passed_on: What Python calls with everything else.
    """

    def __init__(self, passed_on: Callable[..., object]) -> None:
        self.passed_on = passed_on

    def __call__(
        self, kind: type[BaseException], fault: BaseException, trace: TracebackType | None
    ) -> None:
        of_a_peer = isinstance(fault, EOFError | ConnectionError)
        if not of_a_peer or threading.current_thread() is threading.main_thread():
            self.passed_on(kind, fault, trace)


def keep_quiet_of_peers() -> None:
    """From here on this process says nothing of a peer that is gone."""
    if not isinstance(sys.excepthook, QuietOfPeers):
        sys.excepthook = QuietOfPeers(sys.excepthook)


def quiet_loader(number: int) -> None:
    """At the start of a process that loads batches: it says nothing of a peer that is gone.

    Where the one that it loads for is interrupted, that has said what there is to say.

    Args:
        number: Of the process, from 0; torch gives it.
    """
    keep_quiet_of_peers()


class UnheardProcess(SpawnProcess):
    """A process that hears no Ctrl-C, from its very start on."""

    def start(self) -> None:
        keep_quiet_of_peers()
        with unheard():
            super().start()


class Unheard(SpawnContext):
    """The way to start such processes, also for a pool, which starts some of them late."""

    Process = UnheardProcess


@contextmanager
def processes(
    jobs: int, initializer: Callable[..., object], *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with the block: where that is interrupted at once.

    On a fault what they have not begun is dropped.

    Args:
        jobs: How many.
        initializer: What each does first.
        *arguments: For it.
    """
    pool = ProcessPoolExecutor(jobs, Unheard(), initializer, arguments)
    try:
        yield pool
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
