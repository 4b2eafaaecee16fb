"""SVHN: 99,289 house numbers in street views, cut to one digit each, 32 x 32 pixels.

Source: Netzer et al., Reading Digits in Natural Images with Unsupervised Feature Learning, 2011;
ufldl.stanford.edu/housenumbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from scipy.io import loadmat

from mlu.data.arrays import SMALL_SIDE, ImageArrays, Part, classes_of, decoding, malformed
from mlu.data.files import download

_TRAIN, _TEST = "train_32x32.mat", "test_32x32.mat"


@dataclass(frozen=True, kw_only=True)
class SVHN(ImageArrays):
    """SVHN's cropped digits as torchvision lays them out.

    `root` holds `train_32x32.mat` and `test_32x32.mat`. Each has `X`, uint8, shape (32, 32, 3, n),
    and `y`, shape (n, 1), in MATLAB's format 5; 10 in `y` is the digit 0. The set of extra training
    images is not read.
    """

    classes: ClassVar = tuple("0123456789")
    files: ClassVar = (_TRAIN, _TEST)
    origin: ClassVar = "SVHN, format 2 (ufldl.stanford.edu/housenumbers)"

    def read(self, files: Mapping[str, Path]) -> list[Part]:
        return [read_mat(files[name], test=name == _TEST) for name in (_TRAIN, _TEST)]

    def fetch(self, root: Path, missing: Sequence[str]) -> None:
        parts = [name.removesuffix("_32x32.mat") for name in missing]
        download(self.name, "SVHN", root, *parts)


def read_mat(file: Path, test: bool) -> Part:
    """The images of one file; raises UserError if it is damaged or malformed."""
    with decoding(file):
        content = loadmat(file, variable_names=["X", "y"])

    for name in ("X", "y"):
        if name not in content:
            raise malformed(file, f"it has no variable {name}")
        if not isinstance(content[name], np.ndarray):
            raise malformed(
                file, f"{name} must be an array of numbers, got {type(content[name]).__name__}"
            )

    images, labels = content["X"], content["y"]
    if (
        images.ndim != 4
        or images.shape[:3] != (SMALL_SIDE, SMALL_SIDE, 3)
        or images.dtype != np.uint8
    ):
        raise malformed(
            file,
            f"X must be uint8 of shape (32, 32, 3, n), got {images.dtype} of shape {images.shape}",
        )

    if labels.ndim != 2 or labels.shape[1] != 1:
        raise malformed(file, f"y must be of shape (n, 1), got {labels.shape}")

    digits = classes_of(file, labels[:, 0].tolist(), images.shape[3], range(1, 11)) % 10

    return Part(np.ascontiguousarray(images.transpose(3, 2, 0, 1)), digits, test)
