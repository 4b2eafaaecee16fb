"""A small CelebA in torchvision's layout, for tests."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlu.data.labels import CELEBA


@dataclass(frozen=True)
class Facts:
    """What `write_celeba` writes: file names, 0 or 1 of shape (images, 40), and two numbers per
    image."""

    names: tuple[str, ...]
    targets: np.ndarray
    identities: np.ndarray
    split: np.ndarray


def celeba_facts(images: int = 80, identities: int = 20, seed: int = 0) -> Facts:
    """Labels with prevalence 0.4; each person has several images, and all of these are in one
    split."""
    rng = np.random.default_rng(seed)
    people = rng.permutation(np.arange(images) % identities + 1)
    split_of = np.arange(identities) % 20
    split_of = np.where(split_of < 13, 0, np.where(split_of < 18, 1, 2))
    return Facts(
        names=tuple(f"{number:06}.jpg" for number in range(1, images + 1)),
        targets=(rng.random((images, len(CELEBA))) < 0.4).astype(np.uint8),
        identities=people,
        split=split_of[people - 1],
    )


def write_celeba(root: Path, images: int = 80, identities: int = 20, seed: int = 0) -> Path:
    """Write `root/celeba` with the spacing of the original files and JPEGs of 178 x 218 pixels;
    returns `root`.

    On the images label k lights a block of a 5 x 8 grid, so that every label can be learnt.
    """
    facts = celeba_facts(images, identities, seed)
    folder = Path(root) / "celeba"
    (folder / "img_align_celeba").mkdir(parents=True)
    write_rows(
        folder / "list_attr_celeba.txt",
        [str(images), " ".join(CELEBA) + " "],
        attribute_rows(facts),
    )
    write_rows(folder / "identity_CelebA.txt", [], number_rows(facts, facts.identities))
    write_rows(folder / "list_eval_partition.txt", [], number_rows(facts, facts.split))
    for name, targets in zip(facts.names, facts.targets, strict=True):
        face(targets).save(folder / "img_align_celeba" / name, quality=95)
    return Path(root)


def attribute_rows(facts: Facts) -> list[str]:
    signs = np.where(facts.targets == 1, " 1", "-1")
    return [f"{name} {' '.join(row)}" for name, row in zip(facts.names, signs, strict=True)]


def number_rows(facts: Facts, numbers: np.ndarray) -> list[str]:
    return [f"{name} {number}" for name, number in zip(facts.names, numbers, strict=True)]


def write_rows(file: Path, header: list[str], rows: list[str]) -> None:
    file.write_text("\n".join([*header, *rows]) + "\n")


def face(targets: np.ndarray) -> Image.Image:
    """A grey picture of 178 x 218 pixels; the square in its middle has one block per label, light
    where it is 1."""
    blocks = 60 + 120 * targets.reshape(5, 8, 1).astype(np.uint8)
    middle = Image.fromarray(np.repeat(blocks, 3, axis=2)).resize(
        (178, 178), Image.Resampling.NEAREST
    )
    picture = Image.new("RGB", (178, 218), (30, 30, 30))
    picture.paste(middle, (0, 20))
    return picture
