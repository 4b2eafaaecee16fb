"""MUFAC: 13,068 photographs of Korean families in eight classes of age.

The age is that of the person when the picture was taken.

Source: Choi, Na, Towards Machine Unlearning Benchmarks, 2023 (github.com/ndb796/MachineUnlearning).
"""

import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mlu.data.files import threads
from mlu.data.folder import ImageFolder, LabelTable
from mlu.data.labels import chosen_labels
from mlu.data.spelling import plain_path, plain_text, respelt
from mlu.data.tables import read_table, refuse_doubles
from mlu.system.commands import images_command
from mlu.system.errors import UserError
from mlu.system.store import checksum

log = logging.getLogger(__name__)

_FOLDER = "custom_korean_family_dataset_resolution_128"
_ORIGIN = "MUFAC (github.com/ndb796/MachineUnlearning)"
_COLUMNS = ("family_id", "person_id", "age_class", "image_path")

MUFAC_PARTS = ("train", "val", "test")
"""Names of the parts in those of the files, in the order of their numbers."""

AGE_GROUPS = {
    "a": "0-6",
    "b": "7-12",
    "c": "13-19",
    "d": "20-30",
    "e": "31-45",
    "f": "46-55",
    "g": "56-66",
    "h": "67-80",
}
"""Years of age of each class by its letter."""

PAPER_GROUPS = frozenset({"0-6", "13-19", "20-30", "31-45", "46-55"})
"""The classes that stand for the paper's five groups."""

IMAGE_NAME = re.compile(r"[^/\\]+_(?P<letter>[a-h])[0-9]+\.jpg")


class MufacImage(NamedTuple):
    """A row of a label table.

    Attributes:
        path: In the folder.
        family: Whose picture it is.
        person: Who of them.
        group: Class of age.
        part: Number of the part.
    """

    path: str
    family: str
    person: str
    group: str
    part: int


@dataclass(frozen=True, kw_only=True)
class MUFAC(ImageFolder):
    """MUFAC as it is handed out: one class of age per image.

    `root` is the folder that holds these, or the one that holds it as
    `custom_korean_family_dataset_resolution_128`:

    - `custom_train_dataset.csv`, `custom_val_dataset.csv`, `custom_test_dataset.csv`: a header,
      then rows `F0001,D,a,F0001_AGE_D_18_a1.jpg` of family, person, class and image;
    - `train_images/`, `val_images/`, `test_images/`: the images, 128 x 128 pixels.

    The letter before the last number of an image's name is its class, and the column `age_class`
    must agree; the number before it is the person's age at the collection, not on the picture.
    `labels` chooses among the eight classes: 0-6, 7-12, 13-19, 20-30, 31-45, 46-55, 56-66, 67-80
    (letters a to h). Images of the others are left out, with a warning that counts them. The paper
    prints five groups, two of which the files do not have; this stands for them:

    ===============  ====  =====  =====  =====  =====
    the paper's      0-6   13-16  20-30  31-45  46-60
    `labels`         0-6   13-19  20-30  31-45  46-55
    ===============  ====  =====  =====  =====  =====

    A person is a `person_id` in a `family_id`. The official split is the three files' own. Some
    images are there several times: a warning counts those that another part (official) or another
    person (paper) has too, byte by byte.
    """

    def read(self) -> LabelTable:
        """Rows are in the order of the files: train, val, test."""
        labels = chosen_labels(self.name, self.labels, tuple(AGE_GROUPS.values()))
        folder = self.folder()
        rows: list[MufacImage] = []
        for part in range(len(MUFAC_PARTS)):
            rows += read_mufac_part(folder, part)

        rows = with_one_spelling(self.name, rows)
        chosen = [row for row in rows if row.group in labels]
        if len(chosen) < len(rows):
            log.warning(
                "%s: %d of the %d images are of none of the classes %s and are left out",
                self.name, len(rows) - len(chosen), len(rows), ", ".join(labels),
            )  # fmt: skip

        if set(labels) == PAPER_GROUPS:
            log.warning(
                "%s: the paper's groups 13-16 and 46-60 are not in the files: "
                "13-19 and 46-55 stand for them",
                self.name,
            )

        people = sorted({(row.family, row.person) for row in chosen})
        number = {person: place for place, person in enumerate(people)}
        groups = np.array([row.group for row in chosen], str)
        parts = np.array([row.part for row in chosen], np.int8)
        table = LabelTable(
            folder=folder,
            paths=[row.path for row in chosen],
            targets=(groups[:, None] == np.array(labels)).astype(np.uint8),
            labels=labels,
            origin=_ORIGIN,
            task="singlelabel",
            identities=np.array([number[row.family, row.person] for row in chosen], np.int64),
            split=parts if self.split == "official" else None,
        )
        self.warn_of_copies(table)

        return table

    def folder(self) -> Path:
        """The folder that holds the three files."""
        root = Path(self.root).expanduser()
        for folder in (root / _FOLDER, root):
            if any(part_file(folder, part).is_file() for part in MUFAC_PARTS):
                return folder

        raise UserError(
            f"no {part_file(root, MUFAC_PARTS[0]).name} in {root / _FOLDER} or {root}: "
            f"put {_ORIGIN} there, or name its folder with dataset.root=..."
        )

    def warn_of_copies(self, table: LabelTable) -> None:
        """Say how many images are also in another part of the split.

        Where no split is given: also of another person.
        """
        owners, other = table.split, "part"
        if owners is None:
            owners, other = table.identities, "person"

        assert owners is not None

        files = [table.folder / path for path in table.paths]
        copies = shared_rows(list(threads(os.getpid()).map(file_content, files)), owners)
        if len(copies):
            log.warning(
                "%s: %d of the %d images (before dataset.exclude) are in another %s too, "
                "byte by byte, such as %s: %s says which to leave out",
                self.name, len(copies), len(files), other, table.paths[copies[0]],
                images_command("mlu.doctor", self.name, self.root),
            )  # fmt: skip


def part_file(folder: Path, part: str) -> Path:
    """The label table of a part."""
    return folder / f"custom_{part}_dataset.csv"


def read_mufac_part(folder: Path, part: int) -> list[MufacImage]:
    """Rows of one of the three files.

    Raises:
        UserError: With a row that is malformed, double or contradicts itself.
    """
    file = part_file(folder, MUFAC_PARTS[part])
    if not file.is_file():
        raise UserError(f"there is no {file}: put it there from {_ORIGIN}")

    table = read_table(file, _COLUMNS)
    columns = [table[column].to_pylist() for column in _COLUMNS]
    rows = []
    for family, person, age, name in zip(*columns, strict=True):
        match = IMAGE_NAME.fullmatch(plain_path(name))
        if not match:
            raise UserError(
                f"{file}, row {name}: image_path must be like F0001_AGE_D_18_a1.jpg, "
                "with a class from a to h"
            )

        letter = match["letter"]
        if plain_text(age).isalpha() and plain_text(age) != letter:
            raise UserError(
                f"{file}, row {name}: age_class says {age!r}, the file name {letter!r}; "
                "one must be mended"
            )
        if not (plain_text(family) and plain_text(person)):
            raise UserError(
                f"{file}, row {name}: family_id and person_id must not be empty, "
                f"got {family!r}, {person!r}"
            )

        path = f"{MUFAC_PARTS[part]}_images/{match[0]}"
        rows.append(MufacImage(path, family, person, AGE_GROUPS[letter], part))

    refuse_doubles(file, [row.path for row in rows])

    return rows


def with_one_spelling(dataset: str, rows: Sequence[MufacImage]) -> list[MufacImage]:
    """Rows that name each family and each person in one way; `dataset` is for messages."""
    families = respelt([row.family for row in rows], f"{dataset}, family_id")
    people = respelt([row.person for row in rows], f"{dataset}, person_id")
    return [
        row._replace(family=family, person=person)
        for row, family, person in zip(rows, families, people, strict=True)
    ]


def file_content(file: Path) -> str:
    """Hash of a file's bytes; of a missing file, which is refused later, its own path."""
    try:
        return checksum(file)
    except OSError:
        return str(file)


def shared_rows(contents: Sequence[str], owners: np.ndarray) -> np.ndarray:
    """Rows whose content another owner has too, ascending.

    Args:
        contents: Of each row.
        owners: Number of each row's owner, shape (rows,).
    """
    of: dict[str, set[int]] = {}
    for one, owner in zip(contents, owners.tolist(), strict=True):
        of.setdefault(one, set()).add(owner)
    return np.flatnonzero([len(of[one]) > 1 for one in contents])
