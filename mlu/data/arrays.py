"""Data sets of small images that fit into memory.

A few files hold all of them, as torchvision lays them out.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from mlu.data.base import Dataset, LabelledImages, check_count, check_fields
from mlu.data.labels import chosen_labels
from mlu.data.split import OPEN
from mlu.system.errors import UserError, first_line
from mlu.system.store import code_digest, digest

SMALL_SIDE = 32
"""Height and width of the images before any resizing, in pixels."""

_TEST = 2
"""In a data set's own split."""


@dataclass(frozen=True, eq=False)
class Part:
    """Images that lie together in the files.

    Attributes:
        pixels: RGB, uint8, shape (n, 3, 32, 32).
        classes: Number of each image's class, int64, shape (n,).
        test: Whether they belong to the data set's own test part; else to its training part.
    """

    pixels: np.ndarray
    classes: np.ndarray
    test: bool

    def only(self, classes: Sequence[int]) -> "Part":
        """The images of some classes, in their order."""
        kept = np.isin(self.classes, classes)
        return self if kept.all() else Part(self.pixels[kept], self.classes[kept], self.test)


@dataclass(frozen=True, kw_only=True)
class ImageArrays(Dataset):
    """A data set in memory with one class per image (`singlelabel`).

    A subclass reads its files; the rest is the same for all of them. With fewer `labels` than there
    are classes only images of these count.

    Attributes:
        split: `paper`: the project draws 65/25/10 over all images. `official`: the data set's own
            test part; train and validation are drawn from its training part.
        download: Fetch what is missing with torchvision.
        images: How many of them, drawn; None for all. With fewer `labels` only images of these
            classes count.
        seed: Draws them.
        classes: Names of the classes, by number.
        folders: Where the files may lie below `root`, torchvision's own folder first.
        files: Names of the files, all needed.
        endings: What a name may end with on disk; the first one that exists is read.
        origin: Where to get the files, for messages.
    """

    split: str = "paper"
    download: bool = False
    images: int | None = None
    seed: int = 0
    classes: ClassVar[tuple[str, ...]]
    folders: ClassVar[tuple[str, ...]] = ("",)
    files: ClassVar[tuple[str, ...]]
    endings: ClassVar[tuple[str, ...]] = ("",)
    origin: ClassVar[str]

    @abstractmethod
    def read(self, files: Mapping[str, Path]) -> list[Part]:
        """All images, the training part first.

        Args:
            files: Where each of `files` is.

        Raises:
            UserError: With the file and value that is malformed.
        """

    @abstractmethod
    def fetch(self, root: Path, missing: Sequence[str]) -> None:
        """Download those of `files` that are missing."""

    def load(self) -> LabelledImages:
        """Read all images into memory; they are resized when they are asked for.

        Raises:
            UserError: If a field is out of range, or a file is missing, damaged or malformed.
        """
        columns = self.columns()
        parts = [part.only(columns) for part in self.read(self.located())]
        rows = self.drawn(sum(len(part.classes) for part in parts))
        split = own_split(parts)[rows] if self.split == "official" else None

        pixels = np.concatenate([part.pixels for part in parts])[rows]
        classes = np.concatenate([part.classes for part in parts])[rows]
        targets = (classes[:, None] == columns).astype(np.uint8)
        labels = tuple(self.classes[column] for column in columns)

        key = {
            "pixels": hashlib.sha256(pixels.data).hexdigest(),
            "targets": hashlib.sha256(targets.data).hexdigest(),
            "split": None if split is None else hashlib.sha256(split.data).hexdigest(),
            "labels": labels,
            "image_size": self.image_size,
            "code": code_digest("mlu.data.arrays", type(self).__module__),
        }

        return LabelledImages(
            name=self.name,
            task="singlelabel",
            images=pixels if self.image_size == SMALL_SIDE else Resized(pixels, self.image_size),
            targets=targets,
            labels=labels,
            fingerprint=digest(key),
            split=split,
        )

    def drawn(self, there: int) -> slice | np.ndarray:
        """Rows of the images that count, of as many as there are, in the files' order.

        Raises:
            UserError: If more are asked for.
        """
        check_count(self.name, self.images, most=there)
        if self.images is None:
            return slice(None)

        order = np.random.default_rng(self.seed).permutation(there)
        return np.sort(order[: self.images])

    def columns(self) -> list[int]:
        """Numbers of the classes to learn, in the order of `labels`.

        Raises:
            UserError: With the field that is wrong.
        """
        check_fields(self.name, self.split, self.image_size)
        named = [str(label) for label in self.labels or ()]
        labels = chosen_labels(self.name, named, self.classes)
        if len(labels) < 2:
            raise UserError(
                f"dataset.labels of {self.name} must be at least two classes, got {list(labels)}"
            )

        return [self.classes.index(label) for label in labels]

    def located(self) -> dict[str, Path]:
        """Where each of `files` is; what is missing is downloaded before if the user says so."""
        root = Path(self.root).expanduser()
        folder, found = self.find(root)
        if self.download and len(found) < len(self.files):
            self.fetch(root, [name for name in self.files if name not in found])
            folder, found = self.find(root)

        if missing := [name for name in self.files if name not in found]:
            raise UserError(
                f"no {', '.join(missing)} in {folder}: put the files of {self.origin} there, "
                "name their folder with dataset.root=..., or set dataset.download=true"
            )

        return found

    def find(self, root: Path) -> tuple[Path, dict[str, Path]]:
        """The folder that holds most of the files (the first of equals), and their paths."""
        found = [(root / folder, self.files_in(root / folder)) for folder in self.folders]
        return max(found, key=lambda pair: len(pair[1]))

    def files_in(self, folder: Path) -> dict[str, Path]:
        """Paths of those of `files` that a folder holds, each by the first ending that exists."""
        found = {}
        for name in self.files:
            paths = [folder / (name + ending) for ending in self.endings]
            if there := [path for path in paths if path.is_file()]:
                found[name] = there[0]

        return found


@dataclass(frozen=True, eq=False)
class Resized:
    """Images in memory that become larger or smaller when they are asked for (satisfies `Images`).

    Attributes:
        pixels: uint8, shape (n, 3, height, width).
        image_size: Height and width after the resize, bilinear with antialiasing, in pixels.
    """

    pixels: np.ndarray
    image_size: int

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Images of the given rows, in their order, uint8, shape (n, 3, image_size, image_size)."""
        # Here: a second of imports that size 32 does not need.
        from torchvision.transforms.v2.functional import resize

        size = [self.image_size, self.image_size]
        resized: Tensor = resize(torch.from_numpy(self.pixels[rows]), size, antialias=True)
        return resized.numpy()


def own_split(parts: Sequence[Part]) -> np.ndarray:
    """The data set's own split, int8, shape (images,): its test part, and the rest left open."""
    own = [np.full(len(part.classes), _TEST if part.test else OPEN, np.int8) for part in parts]
    return np.concatenate(own)


def classes_of(file: Path, labels: Sequence[Any], images: int, allowed: range) -> np.ndarray:
    """The labels of a file as whole numbers, int64, shape (images,).

    Args:
        file: For messages.
        labels: Numbers, of any type.
        images: How many images they belong to.
        allowed: What a label may be.

    Raises:
        UserError: If there are more or fewer labels than images, or one is not allowed.
    """
    if len(labels) != images:
        raise malformed(file, f"it has {len(labels):,} labels for {images:,} images")

    for row, label in enumerate(labels):
        if not (isinstance(label, int | float) and label in allowed):
            raise malformed(
                file,
                f"image {row} (from 0) has label {label!r:.40}, not {allowed[0]} to {allowed[-1]}",
            )

    return np.array(labels, dtype=np.int64)


@contextmanager
def decoding(file: Path) -> Iterator[None]:
    """Whatever goes wrong inside becomes a UserError that names the file."""
    try:
        yield
    except Exception as fault:  # gzip, pickle and scipy have a dozen kinds for damaged files
        raise malformed(file, f"it cannot be read: {first_line(fault)}") from fault


def malformed(file: Path, fault: str) -> UserError:
    """The error for a file that is not as it should be."""
    return UserError(f"{file}: {fault}; put an intact file there")
