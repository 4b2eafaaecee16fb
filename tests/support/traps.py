"""Files that do harm where they are read without care."""

import json
import pickle
from pathlib import Path

import numpy as np

from mlu.system.store import MANIFEST, checksum, digest


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def sprung(mark: Path) -> bool:
    """Whether a trap has done harm; sets it again."""
    there = mark.exists()
    mark.unlink(missing_ok=True)
    return there


def object_array(mark: Path, shape: tuple[int, ...] = (3,)) -> np.ndarray:
    """An array of Python objects, all of them traps."""
    array = np.empty(shape, dtype=object)
    array.fill(Trap(mark))
    return array


def object_file(mark: Path) -> bytes:
    """A pickle alone."""
    return pickle.dumps({"state_dict": {"head.weight": Trap(mark)}})


def plant(file: Path, content: bytes) -> None:
    """Put something in the place of a file of the cache, and its checksum into the manifest."""
    file.unlink()  # who has mapped it keeps it
    file.write_bytes(content)
    manifest = json.loads((file.parent / MANIFEST).read_text())
    manifest["checksums"][file.name] = checksum(file)
    del manifest["seal"]
    (file.parent / MANIFEST).write_text(json.dumps({**manifest, "seal": digest(manifest)}))
