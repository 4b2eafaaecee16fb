"""Dialects of tables in text: their encoding, their delimiter, the lines before the header."""

import csv
import io
import re
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyarrow import ArrowException

from mlu.data.spelling import plain_text
from mlu.system.errors import UserError, first_line

DELIMITERS = (",", ";", "\t", "|")
"""Letters that may part cells, the most common first."""

HEAD = 2**20
"""Bytes of a file in which its header ends."""

COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
"""Compressions that are read, by the first bytes of a file."""

UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""First bytes of a file in UTF-16, as Excel writes its Unicode text."""

FOREIGN = {
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save it as CSV UTF-8",
    b"\xfd7zXZ": "compressed by xz: unpack it (unxz)",
    b"ARROW1": "a Feather file: write it as CSV or Parquet",
    b"SQLite format 3": "an SQLite database: write the table of labels as CSV",
    b"%PDF": "a PDF: save the table as CSV UTF-8",
    b"\x89HDF": "an HDF5 file: write the table of labels as CSV",
    b"version https://git-lfs": "a pointer of Git LFS: fetch the file itself (git lfs pull)",
    b"<!doctype": "a web page: download the table itself",
    b"<html": "a web page: download the table itself",
    b"<?xml": "XML: save the table as CSV UTF-8",
    b'{"': "JSON: write a CSV file with a row for each image",
    b"[{": "JSON: write a CSV file with a row for each image",
    b"{\n": "JSON: write a CSV file with a row for each image",
}
"""Kinds of files that are no tables, by their first bytes in small letters, and the way out."""

WORKBOOKS = {"xl/": "an Excel workbook", "content.xml": "an OpenDocument table"}
"""Archives that are tables of other programs, by what is in them."""

NAME_OF_IMAGE = re.compile(r"\.(jpe?g|png|bmp|gif|ppm|tiff?|webp|jp2|avif)\s*$", re.IGNORECASE)

_COUNTS = re.compile(r"Expected (\d+) columns, got (\d+): (.*)")
"""What pyarrow says of a row that does not go with the header."""

_DECLARED = re.compile(r'"?sep=(.)"?[,;\t|]*', re.IGNORECASE)
"""A first line by which Excel is told the delimiter."""


@dataclass(frozen=True)
class Dialect:
    """A way of writing a table in text.

    Attributes:
        delimiter: Between cells.
        skipped: Lines before the header.
        encoding: As Python and pyarrow call it.
        compression: As pyarrow calls it; None where there is none.
    """

    delimiter: str
    skipped: int
    encoding: str
    compression: str | None


def dialect_of(file: Path, needed: Sequence[str] = ()) -> Dialect:
    """The dialect of a file.

    The delimiter is the one that Excel's first line `sep=;` names, else the one that parts the
    header so that the `needed` columns are among its cells: a comma, if that does.

    Args:
        file: Of any content.
        needed: Columns that it should have.

    Raises:
        UserError: If it is a file of another kind, with the way to make it one of this kind.
    """
    with file.open("rb") as stream:
        start = stream.read(HEAD)

    refuse_foreign(file, start)
    kinds = [kind for mark, kind in COMPRESSED.items() if start.startswith(mark)]
    compression = kinds[0] if kinds else None
    if compression:
        start = unpacked(file, compression)
        refuse_foreign(file, start)

    encoding = "utf16" if start.startswith(UTF16) else "utf8"
    for halves, name in ((start[1:4:2], "UTF-16LE"), (start[0:4:2], "UTF-16BE")):
        if halves == b"\0\0" and start[:4].strip(b"\0"):
            raise UserError(
                f"{file} is in UTF-16 without its mark: save it as CSV UTF-8, or make a copy by "
                f"{recoded(file, name)} and name that instead"
            )

    text = start.decode(encoding, errors="replace").removeprefix("\ufeff")
    delimiter, skipped = header_layout(text, needed, "\t" if ".tsv" in file.suffixes else ",")

    return Dialect(delimiter, skipped, encoding, compression)


def refuse_foreign(file: Path, start: bytes) -> None:
    """Raises UserError if the first bytes are those of a file that is no table."""
    if start.startswith(b"PK\x03\x04"):
        refuse_archive(file)

    begins = start[:64].removeprefix(b"\xef\xbb\xbf").lstrip()
    for mark, what in FOREIGN.items():
        if begins.lower().startswith(mark.lower()):
            raise UserError(f"{file} is {what}")


def refuse_archive(file: Path) -> None:
    """Raises UserError that says which kind of archive a zip file is."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile) as fault:
        raise UserError(f"{file} is a damaged zip archive: {first_line(fault)}") from fault

    for begin, what in WORKBOOKS.items():
        if any(name.startswith(begin) for name in names):
            raise UserError(f"{file} is {what}: save its sheet as CSV UTF-8 and name that instead")

    inside = f" with {names[0]} in it" if names else ""
    raise UserError(
        f"{file} is a zip archive{inside}: unpack it (unzip {shlex.quote(str(file))}) and name "
        "the table that was in it"
    )


def unpacked(file: Path, compression: str) -> bytes:
    """The first bytes of a compressed file, unpacked."""
    try:
        with pa.input_stream(str(file), compression=compression) as stream:
            start: bytes = stream.read(HEAD)
            return start
    except (ArrowException, OSError) as fault:
        raise UserError(
            f"{file} cannot be unpacked ({compression}): {first_line(fault)}"
        ) from fault


def header_layout(text: str, needed: Sequence[str], usual: str) -> tuple[str, int]:
    """Delimiter, and lines before the header.

    Blank lines stand before it, comments that begin with `#`, and Excel's `sep=;`.

    Example:
        >>> header_layout("sep=;\\nimage;Bald", ["image"], usual=",")
        (';', 1)
        >>> header_layout("# mine\\nimage|a,b", ["image"], usual=",")
        ('|', 1)
    """
    lines, declared = re.split(r"\r\n|\r|\n", text), None
    for number, line in enumerate(lines):
        said = _DECLARED.fullmatch(line)
        if said and declared is None:
            declared = said[1]
            continue

        delimiter = declared or delimiter_of(line, needed, usual)
        comment = needed and line.startswith("#") and not found_in(line, delimiter, needed)
        if line.strip() and not comment:
            return delimiter, number

    return declared or usual, 0


def delimiter_of(line: str, needed: Sequence[str], usual: str) -> str:
    """The delimiter that parts a header so that most of the `needed` columns are among its cells.

    Of those, and where none are, the one that gives most cells; of equals the `usual` one.
    """
    if not needed:
        return usual

    def merit(delimiter: str) -> tuple[int, int]:
        return found_in(line, delimiter, needed), len(cells_of(line, delimiter))

    return max((usual, *DELIMITERS), key=merit)


def found_in(line: str, delimiter: str, needed: Sequence[str]) -> int:
    """Number of the `needed` columns that a header has."""
    return len({plain_text(name) for name in needed} & set(cells_of(line, delimiter)))


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line, plainly spelt."""
    try:
        rows = list(csv.reader(io.StringIO(line), delimiter=delimiter))
    except csv.Error:
        return [line]
    return [plain_text(cell) for cell in rows[0]] if rows else []


def recoded(file: Path, encoding: str) -> str:
    """The command that writes a copy of a file in UTF-8."""
    quoted, copy = shlex.quote(str(file)), shlex.quote(f"{file}.utf8.csv")
    return f"iconv -f {encoding} -t UTF-8 {quoted} > {copy}"


def told(file: Path, dialect: Dialect, fault: Exception) -> UserError:
    """The error that refuses a table which cannot be read.

    Args:
        file: The table.
        dialect: Of it.
        fault: Of pyarrow.
    """
    said = first_line(fault)
    foreign = isinstance(fault, UnicodeError) or "invalid UTF8" in said
    if foreign and dialect.encoding == "utf8":
        return UserError(
            f"{file} is not in UTF-8, perhaps in Windows-1252: save it as CSV UTF-8, or make a "
            f"copy by {recoded(file, 'WINDOWS-1252')} and name that instead"
        )

    remedy = "it must be CSV (UTF-8, with a header)"
    if counts := _COUNTS.search(said):
        remedy = remedy_for_row(int(counts[1]), int(counts[2]), counts[3], dialect.delimiter)

    return UserError(f"{file}: {said}: {remedy}")


def remedy_for_row(expected: int, cells: int, text: str, delimiter: str) -> str:
    """The remedy for a row that has more or fewer cells than the header.

    Example:
        >>> remedy_for_row(2, 3, "a.png,1,", ",")
        "rows end with ',', so the header must too, or none of them"
    """
    if cells < expected:
        return "give it a cell for each name of the header, or take it out"
    if text.rstrip().endswith(delimiter):
        return f"rows end with {delimiter!r}, so the header must too, or none of them"
    return f"put a cell that has {delimiter!r} in it between quotes, or name every column"
