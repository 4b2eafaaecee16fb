"""python -m mlu.report PATH... [--out FOLDER]: runs and sweeps as a page and other formats."""

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlu.report.groups import settings_in
from mlu.report.page import Report, report_page
from mlu.report.paper import tables_of
from mlu.report.published import published
from mlu.report.tables import general
from mlu.report.writers import latex, markdown, table_csv
from mlu.runs.read import collect
from mlu.system.errors import USAGE_ERROR, Arguments, UserError
from mlu.system.progress import tracked

_TITLE = "What was forgotten"
_PATIENCE = 2.0
"""Seconds after which a progress bar shows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; returns the exit code."""
    parser = Arguments(
        prog="python -m mlu.report",
        description="Tables and pictures of runs and sweeps, beside the paper's numbers.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="folder of a run or a sweep, or any above them",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("outputs/report"),
        help="where to write (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    try:
        files = write(options.paths, options.out)
    except UserError as fault:
        print(fault, file=sys.stderr)
        return USAGE_ERROR
    except OSError as fault:
        print(f"cannot write to {options.out}: {fault.strerror or fault}", file=sys.stderr)
        return USAGE_ERROR

    for file in files:
        print(file)

    return 0


def write(paths: Iterable[Path], out: Path) -> list[Path]:
    """Collect the runs and write the report; returns its files."""
    collection = collect(paths)
    if collection.trials:
        left_out = f"left out: {collection.trials} trials of searches"
        print(f"{left_out}; a report of a search alone shows them", file=sys.stderr)

    # Only now, since it takes most of a second: a wrong path is told at once.
    from mlu.report.pictures.of_setting import pictures_of
    from mlu.report.pictures.several import correlation_pictures, request_pictures

    settings = settings_in(collection)
    overviews, paper = [general(setting) for setting in settings], tables_of(settings)
    filled = {table.name for table in paper}
    absent = [table["where"] for name, table in published()["tables"].items() if name not in filled]

    drawn = tracked(settings, "drawing", len(settings), _PATIENCE)
    pictures = [tuple(pictures_of(setting)) for setting in drawn]
    together = (*correlation_pictures(settings), *request_pictures(settings))
    report = Report(_TITLE, collection, settings, overviews, paper, absent, pictures, together)

    out.mkdir(parents=True, exist_ok=True)
    tables = [*overviews, *paper]
    contents = {
        "report.html": report_page(report, out),
        "report.md": markdown(tables, collection.gaps, _TITLE, out),
        "report.tex": latex(tables, _TITLE),
        "report.csv": table_csv(tables, out),
    }
    for name, content in contents.items():
        # Half of a pair of surrogates, as in a name that is not UTF-8, is no text.
        (out / name).write_text(content, encoding="utf-8", errors="replace")

    return [out / name for name in contents]


if __name__ == "__main__":
    sys.exit(main())
