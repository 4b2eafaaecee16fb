"""A small VGGFace2 with MAAD-Face's table, for tests."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mlu.data.labels import MAAD


@dataclass(frozen=True)
class Facts:
    """What `write_vggface2` writes: names as in the table, values 1, -1 or 0 of shape (images, 47),
    and the people.

    `tested` says who is in the folder `test`, of shape (images,).
    """

    names: tuple[str, ...]
    values: np.ndarray
    identities: np.ndarray
    tested: np.ndarray


def vggface2_facts(people: int = 20, images: int = 3, seed: int = 0) -> Facts:
    """Every fourth person is tested; a fifth of the values is undefined. Train rows stand first, as
    in the original."""
    rng = np.random.default_rng(seed)
    person = np.repeat(np.arange(1, people + 1) * 7, images)
    person = person[np.argsort(person // 7 % 4 == 1, kind="stable")]
    return Facts(
        names=tuple(
            f"n{one:06}/{place % images + 1:04}_01.jpg" for place, one in enumerate(person)
        ),
        values=rng.choice([1, -1, 0], size=(len(person), len(MAAD)), p=[0.35, 0.45, 0.2]),
        identities=person,
        tested=person // 7 % 4 == 1,
    )


def write_vggface2(root: Path, people: int = 20, images: int = 3, seed: int = 0) -> Path:
    """Write `root/VGGFace2/{train,test}` with JPEGs of 12 x 16 pixels and `root/MAAD_Face.csv`;
    returns `root`."""
    facts = vggface2_facts(people, images, seed)
    root = Path(root)
    for row, (name, tested) in enumerate(zip(facts.names, facts.tested, strict=True)):
        file = root / "VGGFace2" / ("test" if tested else "train") / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 16), (row * 4, 128, 255 - row * 4)).save(file)
    with (root / "MAAD_Face.csv").open("w", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["Filename", "Identity", *MAAD])
        for name, values in zip(facts.names, facts.values, strict=True):
            table.writerow([name, f"{name[:7]}", *values])
    return root
