"""Label tables: CSV and Parquet files, read as columns."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from pyarrow import ArrowException, DataType, Table

from mlu.data.dialects import NAME_OF_IMAGE, Dialect, dialect_of, told
from mlu.data.spelling import plain_paths, plain_text
from mlu.system.errors import UserError, did_you_mean, first_line

log = logging.getLogger(__name__)

PARQUET = (".parquet", ".pq")

NAMELESS = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__")
"""Columns that pandas, R and a comma at the end of lines make: an index, or nothing."""


def read_table(
    file: Path,
    columns: Sequence[str] | None = None,
    types: Mapping[str, DataType] | None = None,
    needed: Sequence[str] | None = None,
) -> Table:
    """Columns of a CSV or Parquet file, in the order asked for, under their plain names.

    Args:
        file: Parquet, told by its content, or CSV with a header, in UTF-8 or Excel's UTF-16; it may
            be compressed. `dialect_of` finds its delimiter.
        columns: Names; None for all that have one.
        types: Of the columns of a CSV file; those that are not named are text.
        needed: Columns that must be there, besides; by them the header is known. By default
            `columns`.

    Raises:
        UserError: If the file is missing or malformed (with its row), or lacks a column, or has one
            twice.
    """
    if not file.is_file():
        raise UserError(f"there is no label table {file}")

    needed = needed or columns or ()
    if file.suffix.lower() in PARQUET or starts_as_parquet(file):
        return parquet_table(file, columns, needed)

    return csv_table(file, columns, types or {}, needed)


def starts_as_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return stream.read(4) == b"PAR1"
    except OSError as fault:
        raise UserError(f"cannot read {file}: {first_line(fault)}") from fault


def parquet_table(file: Path, columns: Sequence[str] | None, needed: Sequence[str]) -> Table:
    try:
        header = pyarrow.parquet.read_schema(file).names
        chosen = chosen_columns(file, header, columns, needed)
        table = pyarrow.parquet.read_table(file, columns=list(chosen.values()))
    except (ArrowException, OSError, UnicodeDecodeError) as fault:
        raise UserError(f"{file}: {first_line(fault)}: it must be Parquet") from fault

    return table.rename_columns(list(chosen))


def csv_table(
    file: Path,
    columns: Sequence[str] | None,
    types: Mapping[str, DataType],
    needed: Sequence[str],
) -> Table:
    dialect = dialect_of(file, needed)
    # One thread finds the row of a fault; it reads a few million rows in seconds.
    reading = pyarrow.csv.ReadOptions(
        use_threads=False, skip_rows=dialect.skipped, encoding=dialect.encoding
    )
    parsing = pyarrow.csv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True)

    try:
        header = csv_header(file, dialect, reading, parsing)
        chosen = chosen_columns(file, header, columns, needed)
        texts = dict.fromkeys(chosen.values(), pa.string())
        typed = {chosen[name]: kind for name, kind in types.items() if name in chosen}
        convert = pyarrow.csv.ConvertOptions(
            column_types=texts | typed, include_columns=list(chosen.values())
        )
        with pa.input_stream(str(file), compression=dialect.compression) as stream:
            table = pyarrow.csv.read_csv(stream, reading, parsing, convert)
    except (ArrowException, OSError, UnicodeError) as fault:
        raise told(file, dialect, fault) from fault

    return table.rename_columns(list(chosen))


def csv_header(
    file: Path,
    dialect: Dialect,
    reading: pyarrow.csv.ReadOptions,
    parsing: pyarrow.csv.ParseOptions,
) -> list[str]:
    """Names of the columns as they are written."""
    with (
        pa.input_stream(str(file), compression=dialect.compression) as stream,
        pyarrow.csv.open_csv(stream, reading, parsing) as reader,
    ):
        return list(reader.schema.names)


def chosen_columns(
    file: Path, header: Sequence[str], columns: Sequence[str] | None, needed: Sequence[str]
) -> dict[str, str]:
    """Plain names of the columns to read, in the order asked for, and how the header writes them.

    Without `columns` these are all that have a name; what has none is left out, and said so.

    Raises:
        UserError: If a column is there twice, or one that is wanted is not.
    """
    written = [(plain_text(name), name) for name in header]
    named = [pair for pair in written if not NAMELESS.fullmatch(pair[0])]
    wanted = [plain_text(name) for name in columns or ()]
    refuse_wrong_columns(file, [pair[0] for pair in named], [*map(plain_text, needed), *wanted])

    names = dict(named)
    if columns is not None:
        return {name: names[name] for name in wanted}

    if left := len(written) - len(named):
        log.info("%s: %d columns without a name of their own are left out", file, left)

    return names


def refuse_wrong_columns(file: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Raises UserError if a column is there twice, or one that is wanted is not."""
    twice = [name for name, count in Counter(header).items() if count > 1]
    if twice:
        raise UserError(f"{file}: column {twice[0]!r} is there twice: keep one of them")

    for name in columns:
        if name in header:
            continue

        row = any(NAME_OF_IMAGE.search(cell) for cell in header)
        if row:
            raise UserError(
                f"{file} begins with a row ({', '.join(header)}), not with the names of its "
                f"columns: put a line such as {name},LABEL above it"
            )

        hint = did_you_mean(name, header) or "."
        raise UserError(f"{file} has no column {name!r}{hint} It has {', '.join(header)}")


def refuse_doubles(file: Path, names: Sequence[str]) -> None:
    """Raises UserError with the first path that is there twice, in one spelling or in two."""
    plain = plain_paths(names)
    if len(set(plain)) == len(plain):
        return

    counts = Counter(plain)
    first = next(name for name in plain if counts[name] > 1)
    one, other, *_ = (name for name, key in zip(names, plain, strict=True) if key == first)
    spelt = "" if one == other else f", as {one!r} and {other!r}"

    raise UserError(f"{file}: row {first} is there twice{spelt}: keep one of them")
