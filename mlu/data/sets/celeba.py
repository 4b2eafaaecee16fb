"""CelebA: 202,599 aligned photographs of 10,177 people with 40 attributes each.

Source: Liu, Luo, Wang, Tang, Deep Learning Face Attributes in the Wild, ICCV 2015;
mmlab.ie.cuhk.edu.hk. The folder is laid out as torchvision does, but rows are joined by file name,
never by position, and need not be complete.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlu.data.files import download
from mlu.data.folder import ImageFolder, LabelTable
from mlu.data.labels import CELEBA, chosen_labels
from mlu.data.spelling import plain_paths
from mlu.data.tables import refuse_doubles
from mlu.system.errors import UserError

_ATTRIBUTES, _IDENTITIES, _PARTITION = (
    "list_attr_celeba",
    "identity_CelebA",
    "list_eval_partition",
)
_IMAGES = "img_align_celeba"

SIGNS = {"-1": 0, "1": 1}
"""Targets by what the table of attributes says."""


@dataclass(frozen=True, kw_only=True)
class CelebA(ImageFolder):
    """CelebA as torchvision or Kaggle lay it out.

    `root` is the folder that holds these files, or the one that holds it under the name `celeba`:

    - `list_attr_celeba.txt`: the number of images, the attributes' names, then rows
      `000001.jpg -1 1 ...`;
    - `identity_CelebA.txt`: rows `000001.jpg 2880`;
    - `list_eval_partition.txt`: rows `000001.jpg 0` (0 train, 1 validation, 2 test);
    - `img_align_celeba/`: the images, 178 x 218 pixels. They are cut to the square in the middle
      and resized.

    Kaggle's variants with the ending `.csv`, and its doubled image folder, are read too. Any of the
    40 attributes may be among the `labels`; the paper's `Gender` and `Young_Old` become `Male` and
    `Young`. The identity file is needed for the paper's split; the official one,
    `list_eval_partition`, parts the people too.

    Attributes:
        download: Fetch what is missing with torchvision (1.4 GB from Google Drive; needs the
            package gdown).
    """

    download: bool = False

    def read(self) -> LabelTable:
        """Rows are sorted by file name."""
        labels = chosen_labels(self.name, self.labels, CELEBA)
        folder = self.folder()
        attributes = required(folder, _ATTRIBUTES)
        people = (
            required(folder, _IDENTITIES) if self.split == "paper" else find(folder, _IDENTITIES)
        )
        partition = required(folder, _PARTITION) if self.split == "official" else None

        names, targets = read_targets(attributes, labels)
        # Kaggle's archive has a folder of the same name inside.
        inner, outer = folder / _IMAGES / _IMAGES, folder / _IMAGES

        return LabelTable(
            folder=inner if inner.is_dir() else outer,
            paths=names,
            targets=targets,
            labels=labels,
            origin=f"CelebA (mmlab.ie.cuhk.edu.hk): unpack {_IMAGES}.zip there",
            identities=read_joined(people, names, attributes) if people else None,
            split=read_partition(partition, names, attributes) if partition else None,
        )

    def folder(self) -> Path:
        """The folder that holds the label files; they are downloaded before if the user says so."""
        root = Path(self.root).expanduser()
        folder = locate(root)
        if self.download and not (folder and (folder / _IMAGES).is_dir()):
            download(self.name, "CelebA", root)
            folder = locate(root)

        if folder is None:
            raise UserError(
                f"no {_ATTRIBUTES}.txt (or .csv) in {root / 'celeba'} or {root}: put it there with "
                f"{_IDENTITIES}.txt, {_PARTITION}.txt and {_IMAGES}/ from CelebA "
                "(mmlab.ie.cuhk.edu.hk), name their folder with dataset.root=..., or set "
                "dataset.download=true"
            )

        return folder


def locate(root: Path) -> Path | None:
    """`root/celeba` or `root`, whichever holds the attribute file; None if neither does."""
    return next((folder for folder in (root / "celeba", root) if find(folder, _ATTRIBUTES)), None)


def find(folder: Path, stem: str) -> Path | None:
    """The file of this stem that ends with .txt, else with .csv, else None."""
    for end in (".txt", ".csv"):
        file = folder / (stem + end)
        if file.is_file():
            return file
    return None


def required(folder: Path, stem: str) -> Path:
    """The file that `find` finds; raises UserError if there is none."""
    file = find(folder, stem)
    if file is None:
        other = ""
        if stem == _IDENTITIES:
            other = "; or split by list_eval_partition: dataset.split=official"
        raise UserError(
            f"no {stem}.txt (or .csv) in {folder}: "
            f"put it there from CelebA (mmlab.ie.cuhk.edu.hk){other}"
        )

    return file


def read_lines(file: Path) -> list[str]:
    """Lines with anything on them; fields are parted by spaces, also in a csv file.

    Raises:
        UserError: If the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as fault:
        raise UserError(f"cannot read {file}: {fault}") from fault
    lines = text.replace(",", " ").splitlines()
    return [line for line in lines if line.strip()]


def read_targets(
    file: Path, labels: Sequence[str], key: Callable[[str], Any] = str
) -> tuple[tuple[str, ...], np.ndarray]:
    """The chosen columns of a table of attributes.

    Args:
        file: The table.
        labels: Names of the columns.
        key: What file names are sorted by.

    Returns:
        File names of the images, sorted, and their targets, 0 or 1, uint8, shape (images, labels).
    """
    header, names, table = read_attributes(file)
    order = sorted(range(len(names)), key=lambda row: key(names[row]))
    columns = [column_of(label, header, file) for label in labels]
    return tuple(names[row] for row in order), table[np.ix_(order, columns)]


def read_attributes(file: Path) -> tuple[list[str], list[str], np.ndarray]:
    """All columns of a table of attributes.

    Returns:
        Names of the attributes, file names of the images, and 0 or 1, uint8, shape (images,
        attributes).
    """
    read_header = kaggle_header if file.suffix == ".csv" else text_header
    header, rows = read_header(file, read_lines(file))
    if twice := [name for name, times in Counter(header).items() if times > 1]:
        raise UserError(f"{file}: attribute {twice[0]!r} is there twice: keep one of them")

    names, values = [], []
    for name, *signs in map(str.split, rows):
        names.append(name)
        try:
            values.append(bytes(map(SIGNS.__getitem__, signs)))
        except KeyError as fault:
            raise UserError(
                f"{file}, row {name}: values must be 1 or -1, got {fault.args[0]!r}"
            ) from None

        if len(signs) != len(header):
            raise UserError(
                f"{file}, row {name}: {len(signs)} values "
                f"for the {len(header)} attributes of the header"
            )

    refuse_doubles(file, names)
    names = list(plain_paths(names))
    table = np.frombuffer(b"".join(values), dtype=np.uint8)

    return header, names, table.reshape(len(names), len(header))


def text_header(file: Path, lines: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """Attributes and rows of the original file.

    Its line 1 counts the rows, line 2 names the attributes.
    """
    count = lines[0].strip() if lines else ""
    if whole_number(count) is None or len(lines) < 2:
        raise UserError(
            f"{file}: line 1 must be the number of images and line 2 the attributes, "
            f"got {count[:40]!r}"
        )
    if int(count) != len(lines) - 2:
        raise UserError(
            f"{file}: line 1 says {count} images, but {len(lines) - 2} rows follow; "
            "one must be mended"
        )

    return lines[1].split(), lines[2:]


def kaggle_header(file: Path, lines: Sequence[str]) -> tuple[list[str], Sequence[str]]:
    """Attributes and rows of Kaggle's file: line 1 is `image_id` and the attributes."""
    if not lines or not lines[0].startswith("image_id"):
        raise UserError(
            f"{file}: line 1 must be image_id and the attributes, got {''.join(lines[:1])[:40]!r}"
        )
    return lines[0].split()[1:], lines[1:]


def read_joined(file: Path, names: Sequence[str], attributes: Path) -> np.ndarray:
    """The whole number that `file` gives each named image, int64, shape (names,).

    Args:
        file: Rows of a file name and a number; a csv file has a header before.
        names: File names of the images; `file` must have exactly these, in any order.
        attributes: The file that has the names, for messages.
    """
    numbers = read_numbers(file)
    for name in names:
        if name not in numbers:
            raise UserError(f"{file} has no row {name}, which is in {attributes}")

    if len(numbers) > len(names):
        extra = min(numbers.keys() - set(names))
        raise UserError(f"{attributes} has no row {extra}, which is in {file}")

    return np.array([numbers[name] for name in names], dtype=np.int64)


def read_partition(file: Path, names: Sequence[str], attributes: Path) -> np.ndarray:
    """Official split of each named image: 0 train, 1 validation, 2 test; int8, shape (names,)."""
    split = read_joined(file, names, attributes)
    for row in np.flatnonzero((split < 0) | (split > 2))[:1]:
        raise UserError(f"{file}, row {names[row]}: the split must be 0, 1 or 2, got {split[row]}")
    return split.astype(np.int8)


def read_numbers(file: Path) -> dict[str, int]:
    """Number of each image by file name."""
    lines = read_lines(file)
    rows = [line.split() for line in (lines[1:] if file.suffix == ".csv" else lines)]
    for row in rows:
        if len(row) != 2 or whole_number(row[1]) is None:
            what = " ".join(row[1:])
            raise UserError(
                f"{file}, row {row[0]}: must be a file name and a whole number, got {what[:40]!r}"
            )

    names = [row[0] for row in rows]
    refuse_doubles(file, names)

    return {name: int(row[1]) for name, row in zip(plain_paths(names), rows, strict=True)}


def whole_number(text: str) -> int | None:
    """The number that a text is, of 64 bits; None if it is none."""
    if not re.fullmatch(r"-?\d{1,19}", text):
        return None
    return number if -(2**63) <= (number := int(text)) < 2**63 else None


def column_of(label: str, header: Sequence[str], file: Path) -> int:
    """Column of a label; raises UserError if the file has none."""
    if label not in header:
        raise UserError(
            f"{file} has no attribute {label!r} (dataset.labels); "
            f"its header has {len(header)} others"
        )
    return header.index(label)
