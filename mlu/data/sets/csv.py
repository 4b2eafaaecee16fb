"""The user's own images: a folder, and a table that says what is on each."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlu.data.cells import (
    GAP_WORDS,
    converted,
    identities_of,
    listed_labels,
    refuse_empty,
    texts,
    without_blank_rows,
    without_gaps,
)
from mlu.data.folder import ImageFolder, LabelTable
from mlu.data.labels import chosen_labels, plain_cell
from mlu.data.same_files import paths_of_files
from mlu.data.spelling import one_spelling, plain_text, same_name
from mlu.data.split import OPEN
from mlu.data.tables import read_table, refuse_doubles
from mlu.system.commands import shell_word
from mlu.system.errors import UserError

log = logging.getLogger(__name__)

PART_WORDS = {
    "train": 0,
    "training": 0,
    "0": 0,
    "validation": 1,
    "valid": 1,
    "val": 1,
    "dev": 1,
    "1": 1,
    "test": 2,
    "2": 2,
}
"""What a split column may say, in any case."""


@dataclass(frozen=True, kw_only=True)
class Csv(ImageFolder):
    """Images under `root`, and a table with a row for each: CSV (UTF-8, with a header) or Parquet.

    The labels are one of three things:

    - columns of 0 and 1, one for each label (any other two values: `positive`, `negative`); an
      empty cell is unknown;
    - `list_column`: the labels that an image has, such as `cat|dog`; it lacks all others;
    - `class_column`: the one class of each image, which makes a single-label task.

    Attributes:
        table: The table; a relative path starts at `root`.
        labels: Which labels, or classes; None for all columns that have no other meaning, or all
            that occur, sorted. Images of other classes are left out.
        image_column: Path of each image, relative to `root`.
        list_column: Several labels in one cell.
        separator: Between them.
        class_column: One class in one cell.
        identity_column: Who is on the image, any text; who is not named is on no other image. None
            where nobody knows.
        split_column: `train`, `validation` or `test` (also `val`, 0, 1, 2); what is empty is train
            or validation, whichever is drawn. It counts under `split=official`.
        positive: A cell that says that the image has the label.
        negative: One that says that it lacks it.
        unknown: One that says nothing, besides an empty one.
    """

    # None: the table's own.
    labels: tuple[str, ...] | list[str] | None = None  # type: ignore[assignment]
    table: Path | str
    image_column: str = "image"
    list_column: str | None = None
    separator: str = "|"
    class_column: str | None = None
    identity_column: str | None = None
    split_column: str | None = None
    positive: str | float = 1
    negative: str | float = 0
    unknown: str | float | None = None

    def read(self) -> LabelTable:
        """Rows are in the order of the table."""
        root = Path(self.root).expanduser()
        file = root / self.table
        self.check(file)

        table = read_table(file, self.wanted(), needed=self.special)
        table = without_blank_rows(file, table, self.image_column)
        paths = texts(table, self.image_column)
        refuse_empty(file, self.image_column, paths)
        refuse_doubles(file, paths)

        labels, targets, known = self.targets(file, table, paths)
        people = None
        if self.identity_column:
            where = f"{file}, column {self.identity_column!r}"
            people = identities_of(texts(table, self.identity_column), where)

        own_split = self.split_column and self.split == "official"
        found = LabelTable(
            folder=root,
            paths=paths,
            targets=targets,
            labels=labels,
            origin=f"where they are; {file} names them",
            task="singlelabel" if self.class_column else "multilabel",
            known=None if known.all() else known,
            identities=people,
            split=self.parts(file, table, paths) if own_split else None,
            source=file,
        )

        return found.subset(np.flatnonzero(targets.any(1))) if self.class_column else found

    def check(self, file: Path) -> None:
        """Raises UserError if labels are given in two ways, or there is no table."""
        if self.list_column and self.class_column:
            raise UserError(
                "dataset.list_column and dataset.class_column are two ways of giving labels: "
                "set one"
            )
        if not file.is_file():
            raise UserError(
                f"there is no label table {file}: name it with dataset.table=..., "
                "its folder with dataset.root=..."
            )

    def wanted(self) -> list[str] | None:
        """Columns to read; None for all."""
        meant = self.list_column or self.class_column
        if meant is None and self.labels is None:
            return None
        return [*self.special, *([] if meant else map(str, self.labels or ()))]

    @property
    def special(self) -> list[str]:
        """Columns that are not labels."""
        named = (
            self.image_column,
            self.list_column,
            self.class_column,
            self.identity_column,
            self.split_column,
        )
        return [plain_text(name) for name in named if name]

    def targets(
        self, file: Path, table: pa.Table, paths: Sequence[str]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Labels of a table, and what it says of each image.

        Returns:
            Labels; 0 or 1, uint8, shape (images, labels); whether each is known, bool, of the same
            shape.
        """
        if self.class_column:
            classes = without_gaps(texts(table, self.class_column))
            refuse_empty(file, self.class_column, classes, paths)
            return self.occurring(file, self.class_column, [(name,) for name in classes])
        if self.list_column:
            rows = listed_labels(table, self.list_column, self.separator)
            return self.occurring(file, self.list_column, rows)

        columns = [name for name in table.column_names if name not in self.special]
        labels = self.chosen(columns)
        values = np.stack([self.signs(file, table, label, paths) for label in labels], 1)

        return labels, (values == 1).astype(np.uint8), values >= 0

    def label_columns(self, others: Sequence[str]) -> list[str]:
        """Columns of the table that have no other meaning.

        Args:
            others: Names of columns that are no labels either.
        """
        file = Path(self.root).expanduser() / self.table
        self.check(file)
        header = read_table(file, None, needed=[*self.special, *others]).column_names
        taken = {*self.special, *map(plain_text, others)}
        return [name for name in header if name not in taken]

    def numbers(self, columns: Sequence[str]) -> tuple[Sequence[str], dict[str, np.ndarray]]:
        """Columns of numbers, such as years.

        Args:
            columns: Their names.

        Returns:
            The path of each row's image, as its file is spelt, and the numbers of each column,
            float64, shape (rows,); NaN where a cell is empty or says that nobody knows.

        Raises:
            UserError: If there is no such column, or a cell that is no finite number.
        """
        root = Path(self.root).expanduser()
        file = root / self.table
        self.check(file)
        table = read_table(file, [self.image_column, *columns], needed=self.special)
        table = without_blank_rows(file, table, self.image_column)
        paths = texts(table, self.image_column)

        found: dict[str, np.ndarray] = {}
        for column in columns:
            cells = [plain_cell(cell) for cell in texts(table, column)]
            values = [self.number(cell) for cell in cells]
            for row, value in enumerate(values):
                if value is None:
                    raise UserError(
                        f"{file}, row {row + 1} ({paths[row]}), column {column!r}: "
                        f"{cells[row]!r} is no number; if it means unknown, leave it empty"
                    )
            found[column] = np.array(values, np.float64)

        return paths_of_files(root, paths), found

    def number(self, cell: str) -> float | None:
        """The number in a plain cell; NaN where it says nothing, None where it is none."""
        unknown = None if self.unknown is None else plain_cell(self.unknown)
        if cell.lower() in GAP_WORDS or cell == unknown:
            return math.nan
        try:
            value = float(cell)
        except ValueError:
            return None
        return value if math.isfinite(value) else None

    def chosen(self, known: Sequence[str]) -> tuple[str, ...]:
        """The labels to learn of those that there are: all where none are named."""
        named = known if self.labels is None else [*map(str, self.labels)]
        return chosen_labels(self.name, named, known)

    def occurring(
        self, file: Path, column: str, rows: Sequence[Sequence[str]]
    ) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """Labels and targets (see `targets`) from a column that names the labels of an image."""
        spelling = one_spelling(chain.from_iterable(rows), f"{file}, column {column!r}")
        names = sorted(set(spelling.values()))
        if not names:
            raise UserError(f"{file}, column {column!r}: no row has a label")

        labels = self.chosen(names)
        number = {label: place for place, label in enumerate(labels)}
        targets = np.zeros((len(rows), len(labels)), np.uint8)
        for place, row in enumerate(rows):
            spelt = [spelling[name] for name in row]
            targets[place, [number[name] for name in spelt if name in number]] = 1

        if left := len(names) - len(labels):
            log.info(
                "%s: %d of the %d values of column %s are not among dataset.labels",
                file, left, len(names), column,
            )  # fmt: skip

        return labels, targets, np.ones(targets.shape, bool)

    def signs(self, file: Path, table: pa.Table, label: str, paths: Sequence[str]) -> np.ndarray:
        """1 for positive, 0 for negative, -1 for unknown, int8, shape (images,)."""
        cells = pc.dictionary_encode(converted(table, label, pa.string())).combine_chunks()
        meanings = {plain_cell(self.positive): 1, plain_cell(self.negative): 0}
        if self.unknown is not None:
            meanings[plain_cell(self.unknown)] = -1

        plain = [plain_cell(cell) for cell in cells.dictionary.to_pylist()]
        values = [meanings.get(cell, -1 if cell.lower() in GAP_WORDS else None) for cell in plain]
        index = pc.fill_null(cells.indices, -1).to_numpy()
        for number, value in enumerate(values):
            if value is None:
                row = int(np.flatnonzero(index == number)[0])
                unknown = shell_word("dataset.unknown", plain[number])
                raise UserError(
                    f"{file}, row {row + 1} ({paths[row]}), column {label!r}: "
                    f"{cells.dictionary[number].as_py()!r} is neither {self.positive} "
                    f"(dataset.positive) nor {self.negative} (dataset.negative) nor empty; "
                    f"if it means unknown, set {unknown}; if the column is no label, "
                    "name those that are: 'dataset.labels=[...]'"
                )

        found: np.ndarray = np.array([*values, -1], np.int8)[index]

        return found

    def parts(self, file: Path, table: pa.Table, paths: Sequence[str]) -> np.ndarray:
        """0 train, 1 validation, 2 test, -1 open, int8, shape (images,)."""
        assert self.split_column is not None
        cells = texts(table, self.split_column)
        meanings = {cell: part_of(cell) for cell in set(cells)}
        for row, cell in enumerate(cells):
            if meanings[cell] is None:
                raise UserError(
                    f"{file}, row {row + 1} ({paths[row]}), column {self.split_column!r}: "
                    f"must be train, validation, test or empty, got {cell!r}"
                )

        return np.array([meanings[cell] for cell in cells], np.int8)


def part_of(cell: str) -> int | None:
    """The part that a cell of a split column names, OPEN where it names none; None for no word."""
    word = same_name(cell).lower()
    return OPEN if word in GAP_WORDS else PART_WORDS.get(word)
