"""The three parts of a data set, and batches of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from mlu.data.base import Images, LabelledImages
from mlu.system.seeding import generator

FRACTIONS = {"train": 0.65, "validation": 0.25, "test": 0.10}
"""Shares of the three splits (paper, Section 6)."""

OPEN = -1
"""In a data set's own split: train or validation, whichever is drawn."""


@dataclass(frozen=True)
class Batch:
    """Some images and their targets.

    Attributes:
        images: uint8, or float in [0, 1], shape (batch, 3, height, width).
        targets: 0 or 1, float32, shape (batch, labels).
        known: False where a target is undefined or withheld, shape (batch, labels).
        part: Rows that the images are of: all, unless several processes share the batch.
    """

    images: Tensor
    targets: Tensor
    known: Tensor
    part: slice = field(default_factory=partial(slice, None))

    def __len__(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "Batch":
        return Batch(
            self.images.to(device, non_blocking=non_blocking),
            self.targets.to(device, non_blocking=non_blocking),
            self.known.to(device, non_blocking=non_blocking),
            self.part,
        )

    def pin_memory(self) -> "Batch":
        """Where a GPU can fetch it while it computes; a DataLoader calls this."""
        return Batch(
            self.images.pin_memory(), self.targets.pin_memory(), self.known.pin_memory(), self.part
        )


@dataclass(frozen=True)
class Split:
    """Part of a data set: plain images, in a fixed order. `split[rows]` is a batch.

    Attributes:
        images: Images of the whole data set.
        rows: Where this part's images are in it, shape (n,).
        targets: 0 or 1, float32, shape (n, labels).
        known: False where a target is undefined or withheld, shape (n, labels).
        identities: Number of the person on each image, shape (n,); each image is its own where
            there are none.
    """

    images: Images
    rows: np.ndarray
    targets: Tensor
    known: Tensor
    identities: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Sequence[int] | Tensor) -> Batch:
        return self.batch(rows)

    def batch(self, rows: Sequence[int] | Tensor, part: slice = slice(None)) -> Batch:
        """The targets of some rows, and the images of a part of them."""
        index = torch.as_tensor(rows)
        images = torch.from_numpy(np.ascontiguousarray(self.images[self.rows[index[part].numpy()]]))
        return Batch(images, self.targets[index], self.known[index], part)

    def batches(self, size: int) -> Iterator[Batch]:
        """All images in order."""
        for rows in torch.arange(len(self)).split(size):
            yield self[rows]

    def subset(self, rows: Tensor) -> "Split":
        """Some of the images, in the given order."""
        kept = rows.numpy()
        return replace(
            self,
            rows=self.rows[kept],
            targets=self.targets[rows],
            known=self.known[rows],
            identities=self.identities[kept],
        )

    def withhold(self, columns: Sequence[int], rows: Tensor | None = None) -> "Split":
        """The same images without the targets of `columns`: they read 0 and count as unknown.

        Args:
            columns: Whose targets.
            rows: Of which images, bool, shape (n,); None for all.
        """
        hidden = torch.zeros_like(self.known)
        hidden[:, list(columns)] = True if rows is None else rows[:, None]
        return replace(
            self, targets=self.targets.masked_fill(hidden, 0), known=self.known & ~hidden
        )

    def base_rates(self) -> Tensor:
        """Share of positives among the known targets, shape (labels,); 0.5 where none is known."""
        counts = self.known.sum(0)
        return torch.where(
            counts > 0, (self.targets * self.known).sum(0) / counts.clamp(min=1), 0.5
        )


def united_splits(first: Split, second: Split) -> Split:
    """The images of one split and then those of another one of the same data set."""
    return Split(
        first.images,
        np.concatenate([first.rows, second.rows]),
        torch.cat([first.targets, second.targets]),
        torch.cat([first.known, second.known]),
        np.concatenate([first.identities, second.identities]),
    )


def count_batches(images: int, size: int) -> int:
    """Steps of one epoch of training.

    A rest of a single image is left out, since batch norm cannot learn from it.

    Example:
        >>> [count_batches(images, size=16) for images in (32, 33, 34)]
        [2, 2, 3]
    """
    whole, rest = divmod(images, size)
    return whole + (rest > 1)


def partition(data: LabelledImages, seed: int) -> dict[str, Split]:
    """Train, validation and test: complete, disjoint, stratified.

    Where there are identities no person is in two of them.

    Args:
        data: The whole data set; a split of its own is kept as it is, what it leaves open is train
            or validation.
        seed: Which of the many such partitions.
    """
    identities = np.arange(len(data.images)) if data.identities is None else data.identities
    if data.split is None:
        part = stratified_parts(data.targets, identities, seed)
    else:
        part, left = data.split.copy(), np.flatnonzero(data.split == OPEN)
        if len(left):
            part[left] = stratified_parts(data.targets[left], identities[left], seed, parts=2)

    known = np.ones(data.targets.shape, bool) if data.known is None else data.known
    splits = {}
    for number, name in enumerate(FRACTIONS):
        rows = np.flatnonzero(part == number)
        splits[name] = Split(
            images=data.images,
            rows=rows,
            targets=torch.from_numpy(data.targets[rows]).float(),
            known=torch.from_numpy(known[rows]),
            identities=identities[rows],
        )

    return splits


def stratified_parts(
    targets: np.ndarray, identities: np.ndarray, seed: int, parts: int = 3
) -> np.ndarray:
    """Part (0, 1, 2) of each image by the shares of FRACTIONS, the same for a person's images.

    People with the same labels stand side by side, rarest label first and random within, and are
    dealt along a golden-ratio sequence: on *every* stretch of it each part has its share to within
    a few, so every group of alike people is divided fairly.

    Args:
        targets: 0 or 1, shape (images, labels).
        identities: Shape (images,).
        seed: Orders alike people and shifts the sequence.
        parts: How many; with 2 the shares of train and validation are those of each other.

    Returns:
        int8, shape (images,).

    Example:
        >>> people = np.array([7, 7, 8, 8, 9, 9])
        >>> part = stratified_parts(np.ones((6, 1), np.uint8), people, seed=0)
        >>> bool((part[::2] == part[1::2]).all())
        True
    """
    generator = np.random.default_rng([seed, 65_25_10])
    people, person, sizes = np.unique(identities, return_inverse=True, return_counts=True)

    # Labels that most images of a person have, and people ordered by them.
    totals = np.stack(
        [np.bincount(person, weights=column, minlength=len(people)) for column in targets.T], 1
    )
    mostly = (2 * totals > sizes[:, None]).astype(np.int8)
    rarest_last = np.argsort(-mostly.mean(0), kind="stable")
    order = np.lexsort([generator.random(len(people)), *mostly[:, rarest_last].T])

    golden = (5**0.5 - 1) / 2
    dealt = (generator.random() + golden * np.arange(len(people))) % 1
    shares = np.cumsum(list(FRACTIONS.values())[:parts])
    bounds = shares[:-1] / shares[-1]

    part = np.empty(len(people), np.int8)
    part[order] = np.searchsorted(bounds, dealt, side="right")

    return part[person]


def people_drawn(persons: np.ndarray, sizes: Sequence[int], seed: int) -> list[Tensor]:
    """Images of disjoint groups of people, drawn at random.

    Args:
        persons: Person on each image, shape (images,).
        sizes: Images of each group. Of its last person only as many are taken as it lacks; the
            others are nobody's.
        seed: Of the drawing.

    Returns:
        Row numbers of each group, ascending; fewer where the images do not suffice.
    """
    people, person = np.unique(persons, return_inverse=True)
    rank = torch.randperm(len(people), generator=generator(seed)).numpy()[person]
    order = np.argsort(rank, kind="stable")

    groups, at = [], 0
    for size in sizes:
        groups.append(torch.from_numpy(np.sort(order[at : at + size])))
        at += size
        while 0 < at < len(order) and rank[order[at]] == rank[order[at - 1]]:
            at += 1

    return groups
