"""A folder of small pictures and a table of what is on them, for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = 24


def write_photos(folder: Path, paths: Sequence[str], seed: int = 0) -> np.ndarray:
    """Write a lossless random picture for each path; returns their pixels, uint8, shape (images, 3,
    SIZE, SIZE)."""
    pixels = np.random.default_rng(seed).integers(
        0, 256, (len(paths), SIZE, SIZE, 3), dtype=np.uint8
    )
    for path, image in zip(paths, pixels, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / path)
    return pixels.transpose(0, 3, 1, 2)


def write_lines(file: Path, *lines: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file
