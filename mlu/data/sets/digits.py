"""Real handwriting that comes with scikit-learn: one digit per image, or several on one canvas.

Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998; its test half
is scikit-learn's `load_digits`: 1,797 images of 8 x 8 pixels with values 0 to 16. Nothing is
downloaded.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mlu.data.base import Dataset, LabelledImages, arrays_in, check_count
from mlu.data.spelling import same_name
from mlu.system.disk import new_images, write_array
from mlu.system.errors import UserError
from mlu.system.store import Store, code_digest, digest

DIGITS = tuple("0123456789")

GLYPHS = 1797
"""Images in load_digits."""

GLYPH_SIZE = 8
"""Their height and width, in pixels."""

SPLIT_SHARES = (0.65, 0.25)
"""Fractions for train and validation; the rest is for the test."""

GLYPH_SCALE = (0.28, 0.34)
"""Height of a pasted digit, as a fraction of the canvas."""

CELLS = 4
"""Digits of a canvas lie about the middles of different cells of a 4 x 4 grid."""

WOBBLE = 0.15
"""How far off the middle of its cell a digit may lie, in cells."""

STROKE = (0.55, 1.0)
"""Brightness of a stroke in each colour channel."""

BACKGROUND = (0.0, 0.2)
"""Brightness of the background in each colour channel."""

PIXEL_NOISE = 0.03
"""Standard deviation of the pixel noise; brightness is in [0, 1]."""

CHUNK = 256
"""Canvases painted at once."""


@dataclass(frozen=True, kw_only=True)
class Digits(Dataset):
    """One handwritten digit per image (`singlelabel`).

    `root` is not used: the images come with scikit-learn.

    Attributes:
        images: How many, taken from the front of a seeded shuffle; None for all 1,797. With fewer
            than ten `labels` only images of these classes count.
        seed: Draws the shuffle.
    """

    images: int | None = None
    seed: int = 0

    def load(self) -> LabelledImages:
        """Shuffle, enlarge bilinearly and replicate to three channels.

        There are no identities and no split of its own.

        Raises:
            UserError: If a label is unknown or doubled, or the number or size of the images is out
                of range.
        """
        labels = digit_labels(self.name, self.labels)
        check_size(self.name, self.image_size)

        glyphs, classes = handwriting()
        columns = np.array(labels, dtype=int)
        kept = np.flatnonzero(np.isin(classes, columns))
        check_count(self.name, self.images, most=len(kept))
        rows = np.random.default_rng(self.seed).permutation(kept)[: self.images]

        enlarge = tent(GLYPH_SIZE, self.image_size, inside=True)
        pixels = brightness_to_bytes(enlarge @ glyphs[rows] @ enlarge.T)

        key = {
            "dataset": "digits",
            "images": self.images,
            "seed": self.seed,
            "image_size": self.image_size,
            "labels": labels,
            "code": code_digest("mlu.data.sets.digits"),
        }

        return LabelledImages(
            name=self.name,
            task="singlelabel",
            images=np.repeat(pixels[:, None], 3, axis=1),
            targets=(classes[rows, None] == columns).astype(np.uint8),
            labels=labels,
            fingerprint=digest(key),
        )


@dataclass(frozen=True, kw_only=True)
class MultiDigits(Dataset):
    """Several handwritten digits on one canvas (`multilabel`).

    The labels are the digits that are present.

    Each digit is present with chance `prevalence`, independently of the others except for the
    `correlated` pair; a canvas may be empty (chance (1 - prevalence)^10, 3 % by default). With
    fewer than ten `labels` the other digits are still painted: they are what the background of a
    photograph is to a face. No handwritten image is used in two splits.

    Attributes:
        images: Number of canvases.
        seed: Draws everything.
        prevalence: Chance p of each label, in (0, 1).
        correlation: Phi coefficient of the correlated pair; from -min(p/(1-p), (1-p)/p) (-0.43 by
            default) to 1, the range in which two labels of prevalence p can have it.
        correlated: The pair, two different digits.
    """

    images: int = 10_000
    seed: int = 0
    prevalence: float = 0.3
    correlation: float = 0.5
    correlated: tuple[str, str] | list[str] = ("3", "8")

    def load(self) -> LabelledImages:
        """Paint the canvases, or find them under `root` where an earlier load has put them.

        Raises:
            UserError: If a label is unknown or doubled, or a number is out of range.
        """
        labels = digit_labels(self.name, self.labels)
        self.check()

        key = self.key()
        files = partial(arrays_in, ("images", "targets", "split"))
        painted = Store(Path(self.root)).read("multidigits", key, self.build, files)
        columns = [int(label) for label in labels]

        return LabelledImages(
            name=self.name,
            task="multilabel",
            images=painted["images"],
            targets=np.ascontiguousarray(painted["targets"][:, columns]),
            labels=labels,
            fingerprint=digest({**key, "dataset": "multidigits", "labels": labels}),
            split=np.array(painted["split"]),
        )

    def key(self) -> dict[str, Any]:
        """All that the canvases depend on."""
        return {
            "images": self.images,
            "seed": self.seed,
            "image_size": self.image_size,
            "prevalence": self.prevalence,
            "correlation": self.correlation,
            "correlated": [str(label) for label in self.correlated],
            "code": code_digest("mlu.data.sets.digits"),
        }

    def check(self) -> None:
        """Raises UserError with the field that is out of range."""
        check_size(self.name, self.image_size)
        check_count(self.name, self.images)
        if len(digit_labels(self.name, self.correlated, field="correlated")) != 2:
            raise UserError(
                f"dataset.correlated must be two different digits, got {list(self.correlated)}"
            )
        if not 0 < self.prevalence < 1:
            raise UserError(f"dataset.prevalence must lie between 0 and 1, got {self.prevalence}")

        lowest = lowest_phi(self.prevalence)
        if not lowest <= self.correlation <= 1:
            raise UserError(
                f"dataset.correlation={self.correlation} cannot be had: two labels of prevalence "
                f"{self.prevalence} have a phi coefficient from {lowest:.3f} to 1"
            )

    def build(self, folder: Path) -> Mapping[str, Any]:
        """Paint all canvases into a folder.

        They are images.npy, targets.npy (ten columns), split.npy and sources.npy.
        """
        rng = np.random.default_rng(self.seed)
        glyphs, classes = handwriting()
        pair = (int(self.correlated[0]), int(self.correlated[1]))
        present = draw_labels(rng, self.images, self.prevalence, pair, self.correlation)
        split = split_rows(rng, self.images)
        sources = draw_sources(rng, present, split, classes, split_by_class(rng, classes))

        shape = (self.images, 3, self.image_size, self.image_size)
        images = new_images(folder / "images.npy", shape)
        for rows, canvases in paint(rng, glyphs, sources, self.image_size):
            images[rows] = canvases

        images.flush()
        write_array(folder / "targets.npy", present.astype(np.uint8))
        write_array(folder / "split.npy", split)
        write_array(folder / "sources.npy", sources)

        return {"images": self.images}


def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """All handwritten digits.

    Returns:
        Ink in [0, 1], float32, shape (1797, 8, 8), and the class of each, 0 to 9, shape (1797,).
    """
    from sklearn.datasets import load_digits  # here: a second of imports that nothing else needs

    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


def draw_labels(
    rng: np.random.Generator, images: int, prevalence: float, pair: tuple[int, int], phi: float
) -> np.ndarray:
    """Which digits are on each canvas, boolean, shape (images, 10).

    The second of the pair is present with chance p + phi (first - p): then its prevalence is p
    again, and the covariance of the two is phi p (1 - p), so phi is their correlation.
    """
    chance = np.full((images, 10), prevalence)
    draw = rng.random((images, 10))
    first, second = pair
    chance[:, second] += phi * ((draw[:, first] < prevalence) - prevalence)
    return draw < chance


def lowest_phi(prevalence: float) -> float:
    """Least phi coefficient of two labels of prevalence p.

    They exclude each other (p < 1/2), or fill all.

    Example:
        >>> lowest_phi(0.5)
        -1.0
    """
    odds = prevalence / (1 - prevalence)
    return -min(odds, 1 / odds)


def split_rows(rng: np.random.Generator, rows: int) -> np.ndarray:
    """0, 1 or 2 for each row in random order: 65 % train, 25 % validation, the rest test.

    Returns:
        int8, shape (rows,).
    """
    train, validation = (round(share * rows) for share in SPLIT_SHARES)
    counts = [train, validation, rows - train - validation]
    return rng.permutation(np.repeat(np.array([0, 1, 2], dtype=np.int8), counts))


def split_by_class(rng: np.random.Generator, classes: np.ndarray) -> np.ndarray:
    """Split of each handwritten image, so that each class is split 65/25/10.

    Returns:
        int8, shape (images,).
    """
    split = np.empty(len(classes), dtype=np.int8)
    for digit in range(10):
        split[classes == digit] = split_rows(rng, int((classes == digit).sum()))
    return split


def draw_sources(
    rng: np.random.Generator,
    present: np.ndarray,
    split: np.ndarray,
    classes: np.ndarray,
    glyph_split: np.ndarray,
) -> np.ndarray:
    """The handwritten image for each digit of each canvas, of its class and the canvas's split.

    Args:
        present: Digits on each canvas, boolean, shape (canvases, 10).
        split: Split of each canvas, shape (canvases,).
        classes: Class of each handwritten image, shape (glyphs,).
        glyph_split: Split of each handwritten image, shape (glyphs,).

    Returns:
        Number of the handwritten image, -1 where the digit is absent; int16, shape (canvases, 10).
    """
    sources = np.full(present.shape, -1, dtype=np.int16)
    for digit in range(10):
        for part in range(3):
            rows = np.flatnonzero(present[:, digit] & (split == part))
            choice = np.flatnonzero((classes == digit) & (glyph_split == part))
            sources[rows, digit] = rng.choice(choice, len(rows))

    return sources


def paint(
    rng: np.random.Generator, glyphs: np.ndarray, sources: np.ndarray, size: int
) -> Iterator[tuple[slice, np.ndarray]]:
    """Canvases in chunks: where they belong and their pixels, uint8, shape (chunk, 3, size, size).

    Each digit has a random place (wholly on the canvas), height and colour; where digits overlap
    the brighter one shows, so that none of the ten is always on top. Then noise.
    """
    for start in range(0, len(sources), CHUNK):
        chunk = sources[start : start + CHUNK]
        canvases = np.empty((len(chunk), 3, size, size), dtype=np.float32)
        canvases[:] = rng.uniform(*BACKGROUND, (len(chunk), 3, 1, 1))
        cells = rng.permuted(np.tile(np.arange(CELLS**2), (len(chunk), 1)), axis=1)

        for digit, column in enumerate(chunk.T):
            rows = np.flatnonzero(column >= 0)
            height = rng.uniform(*GLYPH_SCALE, len(rows)) * size
            top, left = draw_places(rng, cells[rows, digit], height, size)
            ink = rng.uniform(*STROKE, (len(rows), 3, 1, 1)).astype(np.float32)
            shapes = paste(glyphs[column[rows]], top, left, height, size)
            canvases[rows] = np.maximum(canvases[rows], ink * shapes[:, None])

        canvases += PIXEL_NOISE * rng.standard_normal(canvases.shape, dtype=np.float32)
        yield slice(start, start + len(chunk)), brightness_to_bytes(canvases)


def draw_places(
    rng: np.random.Generator, cells: np.ndarray, height: np.ndarray, size: int
) -> np.ndarray:
    """Upper and left edge of each digit, in pixels, shape (2, n).

    It lies about the middle of its cell, wholly on the canvas.

    Args:
        cells: Cell of the grid, 0 to CELLS^2 - 1, shape (n,).
        height: Height and width of the digit, in pixels, shape (n,).
        size: Height and width of the canvas, in pixels.
    """
    wobble = rng.uniform(-WOBBLE, WOBBLE, (2, len(cells)))
    middle = (np.stack(np.divmod(cells, CELLS)) + 0.5 + wobble) * size / CELLS
    return (middle - height / 2).clip(0, size - height)


def paste(
    glyphs: np.ndarray, top: np.ndarray, left: np.ndarray, height: np.ndarray, size: int
) -> np.ndarray:
    """Each glyph on an empty canvas, scaled bilinearly.

    Args:
        glyphs: Ink in [0, 1], shape (n, 8, 8).
        top: Upper edge in canvas pixels, need not be whole, shape (n,).
        left: Left edge, likewise.
        height: Height and width of the pasted glyph in canvas pixels, shape (n,).
        size: Height and width of the canvas, in pixels.

    Returns:
        Ink in [0, 1], shape (n, size, size).
    """
    down = tent(GLYPH_SIZE, size, top, height).astype(np.float32)
    across = tent(GLYPH_SIZE, size, left, height).astype(np.float32)
    canvases: np.ndarray = down @ glyphs @ across.transpose(0, 2, 1)
    return canvases


def tent(
    source: int,
    target: int,
    start: float | np.ndarray = 0.0,
    length: float | np.ndarray | None = None,
    inside: bool = False,
) -> np.ndarray:
    """Weights of bilinear sampling along one axis.

    `weights @ values` are the values at the target's pixel centres.

    Args:
        source: Number of values.
        target: Number of pixels they are sampled at.
        start: Where the values begin, in pixels, shape (...).
        length: How many pixels they span, shape (...); None for all of the target.
        inside: Repeat the outermost values beyond their centres, instead of fading to zero.

    Returns:
        Shape (..., target, source); rows sum to 1 except where they fade.

    Example:
        >>> tent(2, 4, inside=True) @ np.array([0.0, 1.0])
        array([0.  , 0.25, 0.75, 1.  ])
    """
    start, length = np.asarray(start), np.asarray(target if length is None else length)
    pixels = np.arange(target) + 0.5
    position = (pixels - start[..., None]) / length[..., None] * source - 0.5
    if inside:
        position = position.clip(0, source - 1)

    weights: np.ndarray = np.maximum(0, 1 - np.abs(position[..., None] - np.arange(source)))

    return weights


def brightness_to_bytes(brightness: np.ndarray) -> np.ndarray:
    """Brightness in [0, 1] (clipped) as uint8 of the same shape, rounded."""
    return (brightness.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def digit_labels(name: str, labels: Sequence[Any], field: str = "labels") -> tuple[str, ...]:
    """The labels as strings.

    Raises:
        UserError: Unless they are at least two different ones of '0' to '9'.
    """
    named = tuple(same_name(str(label)) for label in labels)
    for label in named:
        if label not in DIGITS:
            raise UserError(
                f"{name} has no label {label!r} (dataset.{field}); it has the digits 0 to 9"
            )

    if len(set(named)) < max(2, len(named)):
        raise UserError(
            f"dataset.{field} of {name} must be at least two different digits, got {list(named)}"
        )

    return named


def check_size(name: str, image_size: int) -> None:
    """Raises UserError for images smaller than the handwritten ones."""
    if image_size < GLYPH_SIZE:
        raise UserError(
            f"dataset.image_size of {name} must be at least {GLYPH_SIZE} pixels, got {image_size}"
        )
