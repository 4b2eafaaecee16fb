"""Label tables: CSV and Parquet files, read as columns."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pyarrow import ArrowException, DataType, Table

from mlu.system.errors import UserError, did_you_mean, first_line

PARQUET = (".parquet", ".pq")


def read_table(
    file: Path, columns: Sequence[str] | None = None, types: Mapping[str, DataType] | None = None
) -> Table:
    """Columns of a CSV file (with a header, UTF-8) or a Parquet file, in the order asked for.

    Args:
        file: Ends with .parquet or .pq, or is CSV. A gzipped CSV file (.gz) is read too.
        columns: Names; None for all of them.
        types: Of the columns of a CSV file; those that are not named are text.

    Raises:
        UserError: If the file is missing or malformed (with its row), or lacks a column, or has one
            twice.
    """
    if not file.is_file():
        raise UserError(f"there is no label table {file}")

    parquet = file.suffix.lower() in PARQUET
    try:
        header = pyarrow.parquet.read_schema(file).names if parquet else csv_header(file)
        refuse_wrong_columns(file, header, columns)
        if parquet:
            named = None if columns is None else list(columns)
            return pyarrow.parquet.read_table(file, columns=named)

        texts = dict.fromkeys(header, pa.string())
        convert = pyarrow.csv.ConvertOptions(
            column_types={**texts, **(types or {})}, include_columns=columns or header
        )

        # One thread finds the row of a fault; it reads a few million rows in seconds.
        return pyarrow.csv.read_csv(
            file, pyarrow.csv.ReadOptions(use_threads=False), convert_options=convert
        )
    except (ArrowException, OSError, UnicodeDecodeError) as fault:
        kind = "Parquet" if parquet else "CSV (UTF-8, with a header)"
        raise UserError(f"{file}: {first_line(fault)}: it must be {kind}") from fault


def csv_header(file: Path) -> list[str]:
    """Names of the columns; empty for an empty file."""
    with pyarrow.csv.open_csv(file, pyarrow.csv.ReadOptions(use_threads=False)) as reader:
        return list(reader.schema.names)


def refuse_wrong_columns(file: Path, header: Sequence[str], columns: Sequence[str] | None) -> None:
    """Raises UserError if a column is there twice, or one that is wanted is not."""
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{file}: column {twice[0]!r} is there twice: keep one of them")

    for name in columns or ():
        if name not in header:
            hint = did_you_mean(name, header) or "."
            raise UserError(f"{file} has no column {name!r}{hint} It has {', '.join(header)}")


def refuse_doubles(file: Path, names: Sequence[str]) -> None:
    """Raises UserError with the first name that is there twice."""
    if len(set(names)) < len(names):
        name = next(name for name, count in Counter(names).items() if count > 1)
        raise UserError(f"{file}: row {name} is there twice: keep one of them")
