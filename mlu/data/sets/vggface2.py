"""VGGFace2 with MAAD-Face: 3.31 million photographs of 9,131 people with 47 attributes.

A fifth of the attributes is undefined.

Sources: Cao, Shen, Xie, Parkhi, Zisserman, VGGFace2, FG 2018; Terhörst, Fährmann, Kolf, Damer,
Kirchbuchner, Kuijper, MAAD-Face, TIFS 2021 (github.com/pterhoer/MAAD-Face). MAAD-Face's labels were
transferred by machine: agreeing with them is agreeing with another model.
"""

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlu.data.folder import ImageFolder, LabelTable
from mlu.data.labels import MAAD, chosen_labels, plain_cell
from mlu.data.split import OPEN
from mlu.data.tables import read_table, refuse_doubles
from mlu.system.errors import UserError

log = logging.getLogger(__name__)

_FOLDER = "VGGFace2"
_TABLES = ("MAAD_Face.csv", "MAAD-Face.csv")
_FILENAME = "Filename"
_VALUES = {"1": 1, "-1": -1, "0": 0}

_PARTS = ("train", "test")
OFFICIAL = np.array([OPEN, 2], np.int8)
"""The split that each of the parts is."""

PERSON_FOLDER = re.compile(r"n[0-9]{6}")
IMAGE_PATH = rf"^{PERSON_FOLDER.pattern}/[^/\\]+\.jpg$"


@dataclass(frozen=True, kw_only=True)
class VGGFace2(ImageFolder):
    """VGGFace2's images with MAAD-Face's table of attributes.

    `root` is the folder that holds these, or the one that holds it under the name `VGGFace2`:

    - `train/n000002/0001_01.jpg`, ...: 8,631 people; `test/n000001/0001_01.jpg`, ...: 500 others.
      One may be missing;
    - `MAAD_Face.csv` (or `MAAD-Face.csv`), there or beside that folder: a header, then a row per
      image with `Filename` (`n000002/0001_01.jpg`) and a column per attribute: 1 has it, -1 has it
      not, 0 undefined.

    An undefined attribute is unknown, never absent. A row whose image is not there is left out, and
    so is an image without a row; both are counted in a warning. The number in a folder's name is
    the identity.

    Any of the 47 attributes may be among the `labels`. The paper's ten go by the same names here,
    but for two: its `Gender` is `Male`, its `Young_Old` is `Young`. The official split tests on the
    folder `test`.

    Attributes:
        attributes: The table where it lies elsewhere; None to look for it.
    """

    attributes: Path | str | None = None

    def read(self) -> LabelTable:
        """Rows are in the order of the table."""
        labels = chosen_labels(self.name, self.labels, MAAD)
        folder = self.folder()
        file = self.table(folder)
        table = read_table(file, [_FILENAME, *labels])
        names = read_names(file, table[_FILENAME])
        columns = [read_values(file, names, label, table[label]) for label in labels]
        values = np.stack(columns, axis=1)

        images, parts = scan(folder)
        places = pc.fill_null(pc.index_in(names, value_set=images), -1).to_numpy()
        rows = np.flatnonzero(places >= 0)
        origin = "VGGFace2 (Cao et al., FG 2018): unpack its train and test archives there"
        if not len(rows):
            raise UserError(
                f"none of the {len(names):,} images of {file} is in {folder}: "
                f"get them from {origin}"
            )

        self.warn(file, folder, names, images, places)
        found, part = names.take(pa.array(rows)), parts[places[rows]]
        folders = pa.array(_PARTS).take(pa.array(part))

        return LabelTable(
            folder=folder,
            paths=pc.binary_join_element_wise(folders, found, "/").to_pylist(),
            targets=(values[rows] == 1).astype(np.uint8),
            labels=labels,
            origin=origin,
            known=values[rows] != 0,
            identities=pc.utf8_slice_codeunits(found, 1, 7).cast(pa.int64()).to_numpy(),
            split=OFFICIAL[part] if self.split == "official" else None,
        )

    def folder(self) -> Path:
        """The folder that holds `train` or `test`."""
        root = Path(self.root).expanduser()
        for folder in (root / _FOLDER, root):
            if any((folder / part).is_dir() for part in _PARTS):
                return folder

        raise UserError(
            f"no folder train or test in {root / _FOLDER} or {root}: put VGGFace2's images there, "
            f"or name their folder with dataset.root=..."
        )

    def table(self, folder: Path) -> Path:
        """The file of the attributes.

        Where none is named it is in the images' folder, or beside that.
        """
        beside = [place / name for place in (folder, folder.absolute().parent) for name in _TABLES]
        places = beside if self.attributes is None else [Path(self.attributes).expanduser()]
        for place in places:
            if place.is_file():
                return place

        raise UserError(
            f"there is no {places[0]}: get {_TABLES[0]} from MAAD-Face "
            "(github.com/pterhoer/MAAD-Face), or name where it is with dataset.attributes=..."
        )

    def warn(
        self, file: Path, folder: Path, names: pa.Array, images: pa.Array, places: np.ndarray
    ) -> None:
        """Say how many rows have no image, and how many images no row."""
        lost = np.flatnonzero(places < 0)
        if len(lost):
            log.warning(
                "%s: %d of the %d rows of %s have no image in %s and are left out, such as %s",
                self.name, len(lost), len(names), file, folder, names[lost[0]],
            )  # fmt: skip

        unnamed = np.ones(len(images), bool)
        unnamed[places[places >= 0]] = False
        if unnamed.any():
            first = pc.min(images.filter(pa.array(unnamed)))
            log.warning(
                "%s: %d of the %d images in %s have no row in %s and are left out, such as %s",
                self.name, unnamed.sum(), len(images), folder, file, first,
            )  # fmt: skip


def read_names(file: Path, column: pa.ChunkedArray) -> pa.Array:
    """File names of the images, such as `n000002/0001_01.jpg`.

    Raises:
        UserError: With a row that is none, or double.
    """
    names = column.combine_chunks()
    wrong = pc.index(pc.match_substring_regex(names, IMAGE_PATH), False).as_py()
    if wrong >= 0:
        raise UserError(
            f"{file}, row {wrong + 2}: {_FILENAME} must be like n000002/0001_01.jpg, "
            f"got '{names[wrong]}'"
        )
    if pc.count_distinct(names).as_py() < len(names):
        refuse_doubles(file, names.to_pylist())

    return names


def read_values(file: Path, names: pa.Array, label: str, column: pa.ChunkedArray) -> np.ndarray:
    """1, -1 or 0 of each row, int8, shape (rows,).

    Raises:
        UserError: With the row, column and value, if it is another.
    """
    coded = column.combine_chunks().dictionary_encode("encode")
    words, codes = coded.dictionary.to_pylist(), coded.indices.to_numpy()
    meanings = [_VALUES.get(plain_cell(word)) for word in words]
    wrong = np.array([meaning is None for meaning in meanings], bool)[codes]
    for row in np.flatnonzero(wrong)[:1]:
        raise UserError(
            f"{file}, row {names[row]}: {label} must be 1, -1 or 0 (undefined), "
            f"got {words[codes[row]]!r}"
        )

    values: np.ndarray = np.array(meanings, np.int8)[codes]

    return values


def scan(folder: Path) -> tuple[pa.Array, np.ndarray]:
    """Names of all images as the table spells them, and the part of each.

    Returns:
        Names, and whether each is in train (0) or test (1), int8, shape (images,).

    Raises:
        UserError: If a person is in both parts.
    """
    names, parts = [pa.array([], pa.string())], [np.empty(0, np.int8)]
    home: dict[str, str] = {}
    for number, part in enumerate(_PARTS):
        for person in people(folder / part):
            if home.setdefault(person, part) != part:
                raise UserError(
                    f"{person} is in {folder / home[person]} and in {folder / part}: "
                    "keep one of the two"
                )

            with os.scandir(f"{folder}/{part}/{person}") as files:
                found = [f"{person}/{file.name}" for file in files if file.name.endswith(".jpg")]

            names.append(pa.array(found, pa.string()))
            parts.append(np.full(len(found), number, np.int8))

    return pa.concat_arrays(names), np.concatenate(parts)


def people(folder: Path) -> Iterator[str]:
    """Names of the folders of people; none where the folder is not there."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                if PERSON_FOLDER.fullmatch(entry.name) and entry.is_dir():
                    yield entry.name
