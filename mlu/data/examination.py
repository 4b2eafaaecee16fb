"""The examination of a data set.

It finds unreadable images, duplicates, people in two splits, and labels that one cannot measure.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dctn

from mlu.data.augment import grey_levels
from mlu.data.base import Images, LabelledImages
from mlu.data.split import Split
from mlu.system.errors import UserError

LOOKED_AT_ONCE = 256
"""Images that are decoded at a time."""

FEWEST_TO_MEASURE = 10
"""Images with a label, and without it, below which a split says little about it."""

GREY_SIDE = 32
"""Height and width of the small grey image whose cosine transform is taken."""

LOW_SIDE = 8
"""Height and width of the low frequencies that are kept of it."""

NEAR_BITS = 3
"""Two images whose perceptual hashes differ in no more of their 64 bits may be the same picture."""

ALIKE = 0.04
"""Most difference of the small grey images of two that are the same picture.

Root mean square; black is 0, white 1.
"""

MOST_PAIRS = 100_000
"""Pairs that are compared by their pixels."""


@dataclass(frozen=True, eq=False)
class Scan:
    """Findings of one look at every image.

    Attributes:
        content: Hash of the pixels, uint64, shape (images,).
        look: Perceptual hash, uint64, shape (images,): alike pictures differ in few bits.
        unreadable: Rows of images that could not be decoded, and why; their hashes mean nothing.
    """

    content: np.ndarray
    look: np.ndarray
    unreadable: Mapping[int, str]

    @property
    def readable(self) -> np.ndarray:
        """Rows, ascending."""
        return np.setdiff1d(np.arange(len(self.content)), [*self.unreadable])


@dataclass(frozen=True)
class Diagnosis:
    """Findings of the whole examination.

    Attributes:
        faults: Whatever stops training, or makes its figures worthless.
        warnings: Whatever a user should know before.
        leave_out: Rows that are in an earlier split too, by kind.
    """

    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    leave_out: dict[str, list[int]] = field(default_factory=dict)


def examine(data: LabelledImages, splits: Mapping[str, Split], scan: Scan) -> Diagnosis:
    """All checks of a data set.

    Args:
        data: All of it.
        splits: How it is divided.
        scan: Of its images.
    """
    found = Diagnosis()
    if scan.unreadable:
        found.faults.append(f"{len(scan.unreadable):,} images cannot be read")

    found.faults.extend(shared_people(data, splits))
    examine_labels(data, splits, found)
    examine_duplicates(data, splits, scan, found)

    return found


def look_at(data: LabelledImages, done: Callable[[int], None] = lambda images: None) -> Scan:
    """Decode every image once; `done` is told how many were."""
    rows = len(data.images)
    content, look = np.zeros(rows, np.uint64), np.zeros(rows, np.uint64)
    unreadable = dict(data.unreadable)
    for start in range(0, rows, LOOKED_AT_ONCE):
        asked = range(start, min(start + LOOKED_AT_ONCE, rows))
        batch = np.array([row for row in asked if row not in unreadable], int)
        for part, pixels in readable(data.images, batch, unreadable):
            content[part] = [content_hash(image) for image in pixels]
            look[part] = perceptual_hash(pixels)

        done(len(asked))

    return Scan(content, look, unreadable)


def readable(
    images: Images, rows: np.ndarray, unreadable: dict[int, str]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows and their pixels, all at once or, where one of them is no image, one by one.

    Those that are no image are added to `unreadable`.
    """
    try:
        yield rows, images[rows]
    except UserError:
        for row in rows:
            try:
                yield np.array([row]), images[np.array([row])]
            except UserError as fault:
                unreadable[int(row)] = str(fault)


def content_hash(image: np.ndarray) -> int:
    """Hash of one image's pixels, of 64 bits."""
    return int.from_bytes(blake2b(image.tobytes(), digest_size=8).digest())


def small_grey(pixels: np.ndarray) -> np.ndarray:
    """Brightness of images, averaged over a coarse grid.

    Args:
        pixels: uint8, shape (n, 3, height, width).

    Returns:
        In [0, 1], shape (n, GREY_SIDE, GREY_SIDE).
    """
    luminance = grey_levels(torch.from_numpy(np.ascontiguousarray(pixels)).float() / 255)
    return F.adaptive_avg_pool2d(luminance, GREY_SIDE)[:, 0].double().numpy()


def perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    """A bit for each of an image's 64 lowest frequencies: whether it is above their median.

    Args:
        pixels: uint8, shape (n, 3, height, width).

    Returns:
        uint64, shape (n,).
    """
    transform = dctn(small_grey(pixels), axes=(1, 2))
    low = transform[:, :LOW_SIDE, :LOW_SIDE].reshape(-1, LOW_SIDE * LOW_SIDE)
    above = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(above, axis=1).view(">u8")[:, 0].astype(np.uint64)


def shared_people(data: LabelledImages, splits: Mapping[str, Split]) -> Iterator[str]:
    """People with images in two splits: what a model knows of them, it knows from training."""
    if data.identities is None:
        return

    people = {name: np.unique(split.identities) for name, split in splits.items()}
    for one, other in combinations(people, 2):
        both = np.intersect1d(people[one], people[other])
        if len(both):
            yield (
                f"{len(both):,} people are both in {one} and in {other}, "
                f"such as number {both[0]}: use split=paper"
            )


def examine_labels(data: LabelledImages, splits: Mapping[str, Split], found: Diagnosis) -> None:
    """Find labels that hardly vary, which are measured badly, or never, which cannot be learnt."""
    for column, label in enumerate(data.labels):
        for name, split in splits.items():
            known = split.known[:, column]
            has = int(split.targets[known, column].sum())
            lacks = int(known.sum()) - has
            counts = f"{label}: {name} has {has:,} images with it, {lacks:,} without"

            if min(has, lacks) == 0:
                found.faults.append(f"{counts}: leave the label out of dataset.labels")
            elif min(has, lacks) < FEWEST_TO_MEASURE:
                found.warnings.append(f"{counts}: too few to say much")


def images_by_side(split: Split, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of each person, first of those with a label, then of those without it.

    Only images whose target is known count; who has images of both kinds is on both sides.

    Returns:
        Two, each of shape (people,).
    """
    known, has = split.known[:, column].numpy(), split.targets[:, column].numpy() > 0
    having, lacking = (
        np.unique(split.identities[known & side], return_counts=True)[1] for side in (has, ~has)
    )
    return having, lacking


def examine_duplicates(
    data: LabelledImages, splits: Mapping[str, Split], scan: Scan, found: Diagnosis
) -> None:
    """Find equal and nearly equal images in different splits, and equal ones with other labels."""
    part = np.full(len(data.images), -1)
    for number, split in enumerate(splits.values()):
        part[split.rows] = number

    rows = scan.readable
    equal = equal_groups(scan.content, rows)
    contrary = [group for group in equal if len(np.unique(data.targets[group], axis=0)) > 1]
    if contrary:
        found.warnings.append(
            f"{len(contrary):,} images occur again with other labels, {named(data, contrary[0])}"
        )

    across = [group for group in equal if len(np.unique(part[group])) > 1]
    if across:
        again = [group[part[group] > part[group].min()] for group in across]
        later = np.sort(np.concatenate(again)).tolist()
        found.leave_out["duplicates"] = later
        found.warnings.append(
            f"{len(later):,} images of a later split are also in an earlier one, "
            f"{named(data, across[0])}"
        )

    pairs, all_of_them = near_pairs(scan.look, scan.content, part, rows)
    alike = pairs[[*same_pictures(data.images, pairs)]] if len(pairs) else pairs
    if len(alike):
        later = sorted({int(max(pair, key=lambda row: part[row])) for pair in alike})
        found.leave_out["near_duplicates"] = later
        least = "" if all_of_them else "at least "
        found.warnings.append(
            f"{least}{len(later):,} images of a later split look like one of an earlier split, "
            f"{named(data, alike[0])}"
        )


def named(data: LabelledImages, rows: Sequence[int] | np.ndarray) -> str:
    """`such as a.jpg and b.jpg`, or rows where images are no files."""
    names = [f"row {row}" if data.paths is None else data.paths[row] for row in rows[:2]]
    return f"such as {names[0]} and {names[1]}"


def equal_groups(content: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """Groups of rows of equal content, ascending; only groups of two and more."""
    order = rows[np.argsort(content[rows], kind="stable")]
    starts = np.flatnonzero(np.diff(content[order])) + 1
    return [group for group in np.split(order, starts) if len(group) > 1]


def near_pairs(
    look: np.ndarray, content: np.ndarray, part: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, bool]:
    """Pairs of unequal images of different splits whose perceptual hashes differ in few bits.

    In NEAR_BITS at most. Of NEAR_BITS + 1 bands of a hash one at least is then the same in both, so
    only images that share a band are compared.

    Args:
        look: Perceptual hashes, shape (images,).
        content: Hashes of the pixels, shape (images,).
        part: Split of each image, shape (images,).
        rows: Which images count.

    Returns:
        Rows, shape (pairs, 2), and whether these are all: there are MOST_PAIRS at most.
    """
    bands, width = NEAR_BITS + 1, np.uint64(64 // (NEAR_BITS + 1))
    found: set[tuple[int, int]] = set()
    for band in range(bands):
        value = (look[rows] >> np.uint64(band) * width) & np.uint64(2 ** int(width) - 1)
        order = rows[np.argsort(value, kind="stable")]
        value = np.sort(value, kind="stable")

        start = np.arange(len(order))
        for distance in range(1, len(order)):
            start = start[start + distance < len(order)]
            start = start[value[start] == value[start + distance]]
            if not len(start):
                break

            one, other = order[start], order[start + distance]
            near = np.bitwise_count(look[one] ^ look[other]) <= NEAR_BITS
            near &= (part[one] != part[other]) & (content[one] != content[other])
            pairs = zip(one[near].tolist(), other[near].tolist(), strict=True)
            found |= {(min(pair), max(pair)) for pair in pairs}
            if len(found) > MOST_PAIRS:
                return np.array(sorted(found)[:MOST_PAIRS]), False

    return np.array(sorted(found), int).reshape(-1, 2), True


def same_pictures(images: Images, pairs: np.ndarray) -> Iterator[int]:
    """Numbers of the pairs whose small grey images are alike; each pair of shape (2,)."""
    for start in range(0, len(pairs), LOOKED_AT_ONCE):
        some = pairs[start : start + LOOKED_AT_ONCE]
        one, other = (small_grey(images[rows]) for rows in some.T)
        apart = np.sqrt(((one - other) ** 2).mean((1, 2)))
        yield from (start + np.flatnonzero(apart <= ALIKE)).tolist()


def label_correlations(data: LabelledImages) -> np.ndarray:
    """Phi coefficient of each two labels over the images where both are known.

    Returns:
        Shape (labels, labels); NaN where one of the two does not vary there.
    """
    known = np.ones(data.targets.shape) if data.known is None else data.known.astype(float)
    has = data.targets * known
    both, joint = known.T @ known, has.T @ has
    first, second = has.T @ known, known.T @ has

    with np.errstate(invalid="ignore", divide="ignore"):
        covariance = joint / both - first / both * second / both
        spread = np.sqrt(first / both * (1 - first / both) * second / both * (1 - second / both))
        return np.where(spread > 0, covariance / spread, np.nan)
