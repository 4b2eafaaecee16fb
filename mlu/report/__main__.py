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
from mlu.system.home import home_path
from mlu.system.interruption import interruptible
from mlu.system.owned import Owned
from mlu.system.progress import tracked
from mlu.system.terminal import tolerant_streams

_TITLE = "What was forgotten"
FILES = ("report.html", "report.md", "report.tex", "report.csv")
"""All files of a report."""
_PATIENCE = 2.0
"""Seconds after which a progress bar shows."""


@interruptible()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report; returns the exit code."""
    tolerant_streams()
    parser = Arguments(
        prog="python -m mlu.report",
        description="Tables and pictures of runs and sweeps, beside the paper's numbers.",
    )
    parser.add_argument(
        "paths",
        nargs="+",
        type=home_path,
        metavar="PATH",
        help="folder of a run or a sweep, or any above them",
    )
    parser.add_argument(
        "--out",
        type=home_path,
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
    """Collect the runs and write the report; returns its files.

    Raises:
        UserError: If no run is found, or a file would be overwritten that no report is, or that
            somebody has changed since.
    """
    collection, place = collect(paths), Owned(out)
    place.refuse_foreign(FILES, "name another folder with --out")
    if collection.trials:
        left_out = f"left out: {collection.trials} trials of searches"
        print(f"{left_out}; a report of a search alone shows them", file=sys.stderr)

    # Only now, since it takes most of a second: a wrong path is told at once.
    from mlu.report.pictures.frontier import frontier_pictures
    from mlu.report.pictures.of_setting import pictures_of
    from mlu.report.pictures.several import correlation_pictures, request_pictures

    settings = settings_in(collection)
    overviews, paper = [general(setting) for setting in settings], tables_of(settings)
    filled = {table.name for table in paper}
    absent = [table["where"] for name, table in published()["tables"].items() if name not in filled]

    drawn = tracked(settings, "drawing", len(settings), _PATIENCE)
    pictures = [tuple(pictures_of(setting)) for setting in drawn]
    together = (
        *frontier_pictures(settings),
        *correlation_pictures(settings),
        *request_pictures(settings),
    )
    report = Report(_TITLE, collection, settings, overviews, paper, absent, pictures, together)

    tables = [*overviews, *paper]
    contents = (
        report_page(report, out),
        markdown(tables, collection.gaps, _TITLE, out),
        latex(tables, _TITLE),
        table_csv(tables, out),
    )
    for name, content in zip(FILES, contents, strict=True):
        place.write(name, content)

    return [out / name for name in FILES]


if __name__ == "__main__":
    sys.exit(main())
