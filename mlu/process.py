"""How this process waits for its threads and keeps its memory. Called before torch is imported."""

import ctypes
import os
import sys

SPINS = "1000"
"""How often an OpenMP thread looks for work before it sleeps. Left alone it spins for milliseconds: no faster when the
cores are its own, and tens of times slower when two jobs share them."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT = 2**30
"""Blocks of memory up to this many bytes are used again rather than given back to the system after every batch."""


def tune_process() -> None:
    """Set both, where the user has not set the first and the C library knows the second."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, KEPT)
            mallopt(M_TRIM_THRESHOLD, KEPT)
