"""A small MUFAC as it is handed out, for tests."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = "custom_korean_family_dataset_resolution_128"
PARTS = {"train": "0001", "val": "0801", "test": "0851"}
"""The first family of each part."""
LETTERS = "abcdefgh"


@dataclass(frozen=True)
class Image128:
    """An image: its part, its family and person, its letter, and its file's name."""

    part: str
    family: str
    person: str
    letter: str
    name: str


def mufac_facts(families: int = 5, seed: int = 0) -> list[Image128]:
    """So many families in `train`, two in each of the others; father, mother and daughter with four
    images each.

    Every family has an `F`, an `M` and a `D`: only family and letter together are a person.
    """
    rng = np.random.default_rng(seed)
    facts = []
    for part, first in PARTS.items():
        for family in (
            f"F{int(first) + step:04}" for step in range(families if part == "train" else 2)
        ):
            for person, age in (("F", 57), ("M", 55), ("D", 18)):
                for index in range(1, 5):
                    letter = LETTERS[(len(facts) + int(rng.integers(3))) % 8]
                    name = f"{family}_AGE_{person}_{age}_{letter}{index}.jpg"
                    facts.append(Image128(part, family, person, letter, name))
    return facts


def write_mufac(root: Path, families: int = 5, seed: int = 0) -> Path:
    """Write the three tables and JPEGs of 16 pixels, no two alike, below `root`; returns `root`."""
    root, facts = Path(root), mufac_facts(families, seed)
    folder = root / FOLDER
    for part in PARTS:
        (folder / f"{part}_images").mkdir(parents=True)
        with (folder / f"custom_{part}_dataset.csv").open("w", newline="") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(["family_id", "person_id", "age_class", "image_path"])
            table.writerows(
                [one.family, one.person, one.letter, one.name] for one in facts if one.part == part
            )
    for row, one in enumerate(facts):
        Image.new("RGB", (16, 16), (row * 2, 128, 255 - row * 2)).save(
            folder / f"{one.part}_images" / one.name
        )
    return root
