"""MNIST: 70,000 handwritten digits, 28 x 28 pixels.

Source: LeCun, Bottou, Bengio, Haffner, Gradient-Based Learning Applied to Document Recognition,
1998; yann.lecun.com/exdb/mnist.
"""

import gzip
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from mlu.data.arrays import SMALL_SIDE, ImageArrays, Part, classes_of, decoding, malformed
from mlu.data.files import download

GLYPH_SIDE = 28
"""Height and width of the images in the files, in pixels."""

_IMAGES, _LABELS = "{}-images-idx3-ubyte", "{}-labels-idx1-ubyte"
_TRAIN, _TEST = "train", "t10k"


@dataclass(frozen=True, kw_only=True)
class MNIST(ImageArrays):
    """MNIST as torchvision lays it out.

    `MNIST/raw/` below `root`, or `raw/`, or `root` itself, holds the idx files
    `train-images-idx3-ubyte`, `train-labels-idx1-ubyte` and the same of `t10k`, each as it is or
    gzipped (.gz).

    The images get a black margin of 2 pixels and three equal channels.
    """

    classes: ClassVar = tuple("0123456789")
    folders: ClassVar = ("MNIST/raw", "raw", "")
    files: ClassVar = tuple(
        kind.format(part) for part in (_TRAIN, _TEST) for kind in (_IMAGES, _LABELS)
    )
    endings: ClassVar = ("", ".gz")
    origin: ClassVar = "MNIST (yann.lecun.com/exdb/mnist)"

    def read(self, files: Mapping[str, Path]) -> list[Part]:
        return [
            read_idx_pair(files[_IMAGES.format(part)], files[_LABELS.format(part)], part == _TEST)
            for part in (_TRAIN, _TEST)
        ]

    def fetch(self, root: Path, missing: Sequence[str]) -> None:
        download(self.name, "MNIST", root)


def read_idx_pair(images: Path, labels: Path, test: bool) -> Part:
    """The images and labels of two files.

    Raises:
        UserError: If they are damaged, malformed or do not match.
    """
    glyphs, classes = read_idx(images, 3), read_idx(labels, 1)
    if glyphs.shape[1:] != (GLYPH_SIDE, GLYPH_SIDE):
        raise malformed(
            images, f"images must be {GLYPH_SIDE} x {GLYPH_SIDE} pixels, got shape {glyphs.shape}"
        )

    margin = (SMALL_SIDE - GLYPH_SIDE) // 2
    framed = np.pad(glyphs, ((0, 0), (margin, margin), (margin, margin)))
    pixels = np.repeat(framed[:, None], 3, axis=1)

    return Part(pixels, classes_of(labels, classes.tolist(), len(glyphs), range(10)), test)


def read_idx(file: Path, axes: int) -> np.ndarray:
    """An array of bytes in idx format, gzipped or not: uint8, read-only.

    The file begins with big-endian whole numbers of 4 bytes: 0x800 + the number of axes, then the
    length of each. The array's bytes follow, last axis fastest.

    Args:
        file: Ends with .gz if it is gzipped.
        axes: How many the array must have.

    Raises:
        UserError: If the file is damaged, is of another kind, or is not as long as its header says.
    """
    with decoding(file), gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
        content = stream.read()

    start, magic = 4 * (1 + axes), 0x800 + axes
    if len(content) < start or int.from_bytes(content[:4], "big") != magic:
        raise malformed(
            file,
            f"an idx file of this kind begins with {magic:08x}, "
            f"this one with {content[:4].hex()!r}",
        )

    shape = np.frombuffer(content, ">u4", axes, offset=4).tolist()
    if len(content) - start != math.prod(shape):
        count = " x ".join(map(str, shape))
        raise malformed(file, f"its header says {count} bytes, but {len(content) - start:,} follow")

    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
