"""Files of numbers.

Written so that a disk that is full, or not to be written to, is an OSError that says so: NumPy and
safetensors have errors of their own for that, and a memory map has none, the system ends the
process. Read so that nothing in them runs.
"""

import io
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.torch
from numpy.lib.format import open_memmap
from torch import Tensor


def write_tensors(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors by name as safetensors."""
    content = safetensors.torch.save(
        {name: value.cpu().contiguous() for name, value in tensors.items()}
    )
    file.write_bytes(content)


def write_array(file: Path, array: np.ndarray) -> None:
    """Write an array as .npy."""
    content = io.BytesIO()
    np.save(content, array)
    file.write_bytes(content.getbuffer())


def new_images(file: Path, shape: tuple[int, ...]) -> np.memmap:
    """A .npy file of bytes to fill by its memory map.

    Its room is taken beforehand where the system can.
    """
    images: np.memmap = open_memmap(file, mode="w+", dtype=np.uint8, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as stream:
            os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
    return images


def mapped(file: Path) -> np.ndarray:
    """The array of a .npy file, on disk.

    Raises one of several exceptions if it is none, or one of Python objects.
    """
    array: np.ndarray = np.load(file, mmap_mode="r", allow_pickle=False)
    return array
