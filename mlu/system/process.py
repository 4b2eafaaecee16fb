"""How a process waits for its threads, keeps its memory, starts others, and ends. Imports no torch:
it comes before."""

import ctypes
import multiprocessing
import os
import sys
import threading

SPINS = "1000"
"""How often an OpenMP thread looks for work before it sleeps. Left alone it spins for milliseconds:
no faster when the cores are its own, and tens of times slower when two jobs share them."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 2**30
"""Blocks of memory up to this many bytes are used again rather than given back to the system after
every batch."""


def tune_process(threads: int | None = None) -> None:
    """Set how it waits, unless the user has, keeps memory, where the C library can, and starts
    others.

    Args:
        threads: How many torch may use, where the user has not said so; None for as many as there
            are cores.
    """
    # What a worker of joblib's starts would else be told to start its own as joblib does, and would
    # not know how.
    multiprocessing.set_start_method(None, force=True)
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if threads is not None:
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, KEPT)
            mallopt(M_TRIM_THRESHOLD, KEPT)


def end_with_parent() -> None:
    """End this process when the one that started it does, however that ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
