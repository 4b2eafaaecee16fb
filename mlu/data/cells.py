"""Cells of a label table, and what they say."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlu.data.spelling import plain_text, respelt
from mlu.system.errors import UserError, first_line

log = logging.getLogger(__name__)

GAPS = frozenset({"", "nan", "NaN", "NaT", "<NA>", "#N/A"})
"""How pandas and Excel write that there is nothing, in cells of names.

Others, such as NA and Null, are names of people and of places too.
"""

GAP_WORDS = frozenset({"", "nan", "nat", "na", "n/a", "<na>", "#n/a", "null", "none"})
"""How a cell that is no name says so, in small letters."""

DOUBTFUL = GAP_WORDS - {""} | {"-", "?", "unknown", "nobody"}
"""Names of people that may mean that nobody knows, in small letters."""


def texts(table: pa.Table, column: str) -> list[str]:
    """A column as text; empty where there is nothing."""
    cells: list[str] = pc.fill_null(converted(table, column, pa.string()), "").to_pylist()
    return cells


def converted(table: pa.Table, column: str, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of Parquet as another type; raises UserError if it cannot be that."""
    column = plain_text(column)
    try:
        return pc.cast(table[column], kind)
    except pa.ArrowException as fault:
        own = table.schema.field(column).type
        raise UserError(
            f"column {column!r} of the label table cannot be read ({own}, {first_line(fault)}): "
            "write it as text, numbers, truth values or, for dataset.list_column, lists of text"
        ) from fault


def listed_labels(table: pa.Table, column: str, separator: str) -> list[list[str]]:
    """The labels in each cell: text with a separator, or a list of Parquet."""
    kind = table.schema.field(plain_text(column)).type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lists = converted(table, column, pa.list_(pa.string()))
        rows = [names or () for names in lists.to_pylist()]
    else:
        rows = [cell.split(separator) for cell in without_gaps(texts(table, column))]

    found = []
    for names in rows:
        stripped = [name.strip() for name in names if name]
        found.append([name for name in stripped if name])

    return found


def refuse_empty(
    file: Path, column: str, cells: Sequence[str], paths: Sequence[str] | None = None
) -> None:
    """Raises UserError with the first row whose cell is empty."""
    if "" in cells:
        row = cells.index("")
        name = f" ({paths[row]})" if paths else ""
        raise UserError(
            f"{file}, row {row + 1}{name}: column {column!r} is empty: fill it or take the row out"
        )


def without_blank_rows(file: Path, table: pa.Table, column: str) -> pa.Table:
    """The rows with anything in them; blank ones are what a spreadsheet leaves at the end.

    Args:
        file: For messages.
        table: All rows.
        column: One that is empty in a blank row.
    """
    cells = texts(table, column)
    empty = [row for row, cell in enumerate(cells) if not cell or cell.isspace()]
    if not empty:
        return table

    blank = []
    for row, values in zip(empty, table.take(empty).to_pylist(), strict=True):
        if not any(str(value).strip() for value in values.values() if value is not None):
            blank.append(row)

    log.info("%s: %d blank rows are left out", file, len(blank))
    kept = np.setdiff1d(np.arange(len(table)), blank)

    return table.take(kept) if blank else table


def without_gaps(cells: Sequence[str]) -> Sequence[str]:
    """Cells of names, empty where they say that there is nothing; the same where none does."""
    gaps = {cell for cell in set(cells) if cell and plain_text(cell) in GAPS}
    return ["" if cell in gaps else cell for cell in cells] if gaps else cells


def identities_of(cells: Sequence[str], what: str) -> np.ndarray:
    """A number for each person, int64, shape (images,); who has no name gets one of their own.

    Args:
        cells: Names; those of one person may differ in blanks and in Unicode's form.
        what: Where they stand, for messages.
    """
    named = without_gaps(cells)
    emptied = [cell for cell, name in zip(cells, named, strict=True) if cell != name]
    if gaps := sum(not cell.isspace() for cell in emptied):
        log.warning("%s: %d cells say nan or the like: nobody is named there", what, gaps)

    names = respelt(named, what)
    for name, images in Counter(names).items():
        if images > 1 and name.lower() in DOUBTFUL:
            log.warning(
                "%s: %r is on %d images and is taken for the name of a person: "
                "leave the cells empty if it means that nobody knows",
                what, name, images,
            )  # fmt: skip

    alone = [name or f"\0{row}" for row, name in enumerate(names)]
    return np.unique(alone, return_inverse=True)[1].astype(np.int64)
