"""The contract of a data set: images, a table of labels and what is known about them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from mlu.system.disk import mapped
from mlu.system.errors import UserError, did_you_mean
from mlu.system.store import Entry

TaskName = Literal["multilabel", "singlelabel"]

SPLITS = ("paper", "official")
"""The project's own 65/25/10, or the data set's."""


class Images(Protocol):
    """Images that need not be in memory.

    An array is one, or a memory map, or files that are decoded when they are asked for.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Images of the given rows (any order, shape (n,)), uint8, shape (n, 3, height, width)."""
        ...


@dataclass(frozen=True)
class LabelledImages:
    """A whole data set before it is split.

    Attributes:
        name: Name of the data set.
        task: `multilabel` (any number of labels per image) or `singlelabel` (exactly one class).
        images: All images, RGB, square.
        targets: 0 or 1, uint8, shape (images, labels); one-hot for a single-label task.
        labels: Name of each column.
        fingerprint: Hash of labels and images, of image files of their names and sizes; two data
            sets with the same one are taken for the same.
        known: False where a target is undefined, shape (images, labels); None when all are defined.
        identities: Number of the person on each image, shape (images,); None when there are none.
        split: 0 train, 1 validation, 2 test, shape (images,), where the data set brings its own; -1
            leaves it open which of train and validation. None leaves all open.
        paths: File of each image; None where they are no files.
        unreadable: Rows whose files are known not to be images, and why.
    """

    name: str
    task: TaskName
    images: Images
    targets: np.ndarray
    labels: tuple[str, ...]
    fingerprint: str
    known: np.ndarray | None = None
    identities: np.ndarray | None = None
    split: np.ndarray | None = None
    paths: Sequence[str] | None = None
    unreadable: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """A data set as configured: the fields are the keys of its yaml.

    Attributes:
        name: Name in messages, results and W&B.
        root: Folder that holds the files, or where drawn images are kept.
        image_size: Height and width of the images, in pixels.
        labels: Columns to learn, in this order.
        default_forget: The label to forget when none is named; None where the user must name one.
        task: What its targets are, `multilabel` or `singlelabel`; defaults of methods follow it.
            None where the yaml does not say.
    """

    name: str
    root: Path | str
    image_size: int
    labels: tuple[str, ...] | list[str]
    default_forget: str | None = None
    task: TaskName | None = None

    @abstractmethod
    def load(self) -> LabelledImages:
        """Read or draw the images and labels.

        Raises:
            UserError: With what is missing and how to get it, or the field that is out of range.
        """


def arrays_in(names: Sequence[str], entry: Entry) -> dict[str, np.ndarray]:
    """Arrays of an entry of the cache by name, `mapped`."""
    return {name: mapped(entry.folder / f"{name}.npy") for name in names}


def check_count(name: str, images: int | None, most: int | None = None) -> None:
    """Raises UserError for a number of images that cannot be had."""
    if images is not None and images < 1:
        raise UserError(f"dataset.images of {name} must be at least 1, got {images}")
    if images is not None and most is not None and images > most:
        raise UserError(
            f"dataset.images={images} is more than the {most:,} images of {name}; "
            "null takes them all"
        )


def check_fields(name: str, split: str, image_size: int) -> None:
    """Raises UserError with the field of a data set that is out of range."""
    if split not in SPLITS:
        hint = did_you_mean(split, SPLITS)
        raise UserError(f"dataset.split of {name} must be paper or official, got {split!r}{hint}")

    if image_size < 1:
        raise UserError(f"dataset.image_size of {name} must be at least 1 pixel, got {image_size}")
