"""The tables as Markdown, LaTeX and CSV, and how a number is written in all of them and on the
page."""

import csv
import io
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlu.report.aggregate import MARGIN, Cell
from mlu.report.published import printed
from mlu.report.tables import NOT_ASKED, Column, Row, Table, Unit
from mlu.runs.read import Gap

ABSENT = "–"
FORGOTTEN = {True: "forgotten", False: "not forgotten", None: "not shown"}
"""What a row is called by `aggregate.has_forgotten`."""
RULES = (
    "A row holds runs that differ in the seed alone. A number is their mean ± standard deviation; in brackets its 95 % "
    "interval; its seeds are named or counted beside it. Over two or more seeds the interval is Student's t of the "
    "mean over seeds: each seed draws another split, other initial weights and another order, so their spread holds "
    "all of that. Where all seeds agree exactly it is the mean of the runs' own intervals; with one seed, that run's "
    "own, which knows only the sample of people in its test split. Seeds share one data set: no interval speaks for "
    "another. Those of shares end at 0 and 100 %.",
    f"A method counts as forgotten where, with 95 % confidence, none of our readers finds more than {100 * MARGIN:g} "
    "points of balanced accuracy above what it finds on Retrain, as not forgotten where one surely finds more, else as "
    "not shown. Readers are a logistic regression and a perceptron on the forgotten output, all outputs and the "
    "features. The strongest is the one that finds most; the interval beside it ends as high as any reader's, and "
    "choosing the highest errs towards more.",
    "Bold is the best of a column, and only where its interval touches that of no rival. Rivals are the methods, not "
    "original, Retrain or random weights; for what is kept and what it costs only methods that have forgotten, since "
    "not to forget is no way to keep more. Reading less than Retrain is no merit: below 0 counts as 0. Two intervals "
    "may overlap and the numbers still differ, so what is not bold is undecided, not equal. The paper's numbers have "
    "no intervals and are never bold.",
    "Ours and the paper's stand side by side to be looked at, not subtracted: each side says which data, network and "
    "training it is of, and the paper gives one seed and no intervals.",
)


@dataclass(frozen=True)
class Hole:
    """Something that a table lacks."""

    where: str
    reason: str


def value_text(value: float, unit: Unit) -> str:
    """A number in its unit, without the unit: fixed digits, or three that count."""
    scaled = value * unit.scale
    size = abs(scaled)
    if unit.digits is not None:
        # Adding zero turns -0.0 into 0.0.
        scaled = round(scaled, unit.digits) + 0.0
        return f"{scaled:{'+' if unit.signed and scaled else ''}.{unit.digits}f}"
    return f"{scaled:,.0f}" if size >= 100 else f"{scaled:.1f}" if size >= 1 else f"{scaled:.2g}"


def main_text(found: Cell, unit: Unit) -> str:
    """`95.4 ± 0.5`, or the sign for nothing."""
    if found.value is None:
        return ABSENT
    spread = (
        ""
        if found.sd is None
        else f" ± {value_text(found.sd, Unit(unit.name, unit.scale, unit.digits))}"
    )
    return f"{'≥ ' if found.at_least else ''}{value_text(found.value, unit)}{spread}"


def interval_text(found: Cell, unit: Unit) -> str:
    """`[94.2, 96.6]`, or nothing."""
    ends = found.interval
    return f"[{value_text(ends.low, unit)}, {value_text(ends.high, unit)}]" if ends else ""


def cell_text(found: Cell, unit: Unit, best: bool, mark: str) -> str:
    """All of a cell in one line; `mark` stands before and after what is best."""
    if found.value is None:
        return ABSENT
    text = " ".join(
        filter(None, (main_text(found, unit), interval_text(found, unit), f"({len(found.runs)})"))
    )
    return f"{mark}{text}{mark}" if best else text


def printed_text(value: float | None) -> str:
    return ABSENT if value is None else f"{value:g}" if value >= 1000 else f"{value:.2f}"


def headers(table: Table) -> list[str]:
    """One for each column of ours, each followed by the paper's where it has such a number."""
    found = ["method"]
    for column in table.columns:
        unit = f", {column.unit.name}" if column.unit.name else ""
        found.append(f"{column.title}{unit}")
        if column.printed is not None:
            found.append(f"{column.called or column.title}, paper")
    return [*found, "forgotten?"]


def table_lines(table: Table, mark: str = "") -> Iterator[list[str]]:
    """Rows of text under `headers`."""
    best = table.best
    for place, row in enumerate(table.rows):
        cells = [row.title]
        for number, (column, found) in enumerate(zip(table.columns, row.cells, strict=True)):
            cells.append(cell_text(found, column.unit, (place, number) in best, mark))
            if column.printed is not None:
                cells.append(printed_text(row.printed[number]))
        yield [*cells, standing(row)]


def standing(row: Row) -> str:
    """Whether a row's method has forgotten; nothing for references and for rows without runs."""
    return (
        ""
        if row.reference or not any(found.runs for found in row.cells)
        else FORGOTTEN[row.forgotten]
    )


def holes_of(table: Table) -> list[Hole]:
    """What is missing, and why; what a row lacks everywhere is said once."""
    return [hole for row in table.rows for hole in holes_of_row(row, table.columns)]


def holes_of_row(row: Row, columns: Sequence[Column]) -> Iterator[Hole]:
    asked = {
        column.title: found.holes
        for column, found in zip(columns, row.cells, strict=True)
        if found.holes != (NOT_ASKED,)
    }
    reasons = dict.fromkeys(reason for holes in asked.values() for reason in holes)
    together: dict[tuple[str, ...], list[str]] = {}
    for reason in reasons:
        lacking = tuple(title for title, holes in asked.items() if reason in holes)
        together.setdefault(lacking, []).append(reason)

    for lacking, found in together.items():
        where = row.title if len(lacking) == len(asked) else f"{row.title}: {', '.join(lacking)}"
        yield Hole(where, "; ".join(found))


def markdown(tables: Sequence[Table], gaps: Sequence[Gap], title: str, folder: Path) -> str:
    """The whole report as Markdown; jobs are named relative to `folder`."""
    parts = [f"# {escaped_markdown(title)}", *RULES]
    for table in tables:
        parts += [
            f"## {escaped_markdown(heading(table))}",
            f"Ours: {escaped_markdown(table.ours)}.",
        ]
        parts += [f"The paper's: {escaped_markdown(table.theirs)}."] if table.theirs else []
        parts += ["\n".join(pipes(table)), *map(escaped_markdown, table.notes)]
        notes = [f"Missing: {hole.where}: {hole.reason}" for hole in holes_of(table)]
        parts += (
            ["\n".join(f"- {escaped_markdown(note)}" for note in (*table.errata, *notes))]
            if table.errata or notes
            else []
        )

    if gaps:
        lost = (f"{relative_link(gap.folder, folder)}: {gap.reason}" for gap in gaps)
        parts += [
            "## Jobs without results",
            "\n".join(f"- {escaped_markdown(line)}" for line in lost),
        ]

    return "\n\n".join(parts) + "\n"


def heading(table: Table) -> str:
    """What stands above a table, with its place in the paper."""
    if table.name == "methods":
        return f"{table.title}: {table.ours}"
    return f"{printed(table.name)['where']}: {table.title}"


def pipes(table: Table) -> Iterator[str]:
    names = headers(table)
    yield f"| {' | '.join(map(escaped_markdown, names))} |"
    yield f"|---|{'---:|' * (len(names) - 2)}---|"
    for cells in table_lines(table, mark="**"):
        yield f"| {escaped_markdown(cells[0])} | {' | '.join(cells[1:])} |"


def relative_link(path: Path, folder: Path) -> str:
    """Where something lies, seen from the report's folder."""
    return Path(os.path.relpath(path, folder.resolve())).as_posix()


def escaped_markdown(text: str) -> str:
    """Text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_\[\]<>|#&~])", r"\\\1", " ".join(text.split()))


TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "±": r"$\pm$", "×": r"$\times$", "–": "--",
    "≥": r"$\geq$", "…": r"\dots{}",
}  # fmt: skip


def tex(text: str) -> str:
    """Text that LaTeX shows as it is, without control characters, which it refuses."""
    letters = (letter for letter in " ".join(text.split()) if unicodedata.category(letter) != "Cc")
    return "".join(TEX.get(letter, letter) for letter in letters)


def latex(tables: Sequence[Table], title: str) -> str:
    """A document with one table a page; a table alone can be cut out of it."""
    head = [
        r"\documentclass{article}", r"\usepackage[T1]{fontenc}",
        r"\usepackage[a4paper,landscape,margin=15mm]{geometry}",
        r"\usepackage{booktabs,graphicx}", rf"\title{{{tex(title)}}}", r"\begin{document}", r"\maketitle",
    ]  # fmt: skip
    rules = [f"{tex(rule)}\n" for rule in RULES]
    return (
        "\n".join([*head, *rules, *(latex_table(table) for table in tables), r"\end{document}"])
        + "\n"
    )


def latex_table(table: Table) -> str:
    names = headers(table)
    sides = f"Ours: {table.ours}." + (f" The paper's: {table.theirs}." if table.theirs else "")
    caption = " ".join((heading(table), "--", sides, *table.notes, *table.errata))
    best = table.best
    rows = []
    for place, cells in enumerate(table_lines(table)):
        marked = marked_places(table, place, best)
        # Behind braces: the `\\` of the line before would take a bracket or a star for its own.
        row = " & ".join(bold(tex(cell), number in marked) for number, cell in enumerate(cells))
        rows.append(("{}" if row.startswith(("[", "*")) else "") + row + r" \\")

    return "\n".join(
        [
            r"\begin{table}[p]", r"\centering", rf"\caption{{{tex(caption)}}}", r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{l{'r' * (len(names) - 2)}l}}", r"\toprule",
            " & ".join(map(tex, names)) + r" \\", r"\midrule", *rows,
            r"\bottomrule", r"\end{tabular}}", r"\end{table}",
        ]
    )  # fmt: skip


def bold(text: str, best: bool) -> str:
    return rf"\textbf{{{text}}}" if best else text


def marked_places(table: Table, row: int, best: Iterable[tuple[int, int]]) -> set[int]:
    """Places under `headers` of a row's best numbers."""
    places, found = 1, set()
    for number, column in enumerate(table.columns):
        if (row, number) in best:
            found.add(places)
        places += 1 if column.printed is None else 2
    return found


FIELDS = (
    "table", "title", "ours", "theirs", "row", "forgotten", "column", "unit", "value", "sd", "low", "high",
    "interval_of", "seeds", "at_least", "best", "paper", "missing", "runs",
)  # fmt: skip


def table_csv(tables: Sequence[Table], folder: Path) -> str:
    """One line for each cell, numbers in the units of the page with all their digits; runs relative
    to `folder`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        best = table.best
        for line, row in enumerate(table.rows):
            for number, column in enumerate(table.columns):
                facts = csv_cell(row, row.cells[number], column, row.printed[number])
                facts |= {
                    "table": table.name,
                    "title": table.title,
                    "ours": table.ours,
                    "theirs": table.theirs,
                }
                facts["runs"] = " ".join(
                    relative_link(run.folder, folder) for run in row.cells[number].runs
                )
                facts = {name: harmless(value) for name, value in facts.items()}
                writer.writerow(facts | {"best": int((line, number) in best)})

    return text.getvalue()


def csv_cell(
    row: Row, found: Cell, column: Column, paper: float | None
) -> dict[str, str | float | None]:
    """What a line of the CSV says of a cell."""
    scale, ends = column.unit.scale, found.interval

    def scaled(value: float | None) -> float | None:
        return None if value is None else float(f"{value * scale:.10g}")

    return {
        "row": row.title,
        "forgotten": standing(row),
        "column": column.title,
        "unit": column.unit.name,
        "value": scaled(found.value),
        "sd": scaled(found.sd),
        "low": scaled(ends.low if ends else None),
        "high": scaled(ends.high if ends else None),
        "interval_of": ends.kind if ends else "",
        "seeds": " ".join(str(run.seed) for run in found.runs),
        "at_least": int(found.at_least),
        "paper": paper,
        "missing": "; ".join(found.holes),
    }


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""What a spreadsheet takes for the start of a formula, some only where they are as wide as Chinese
letters."""


def harmless(value: str | float | None) -> str | float | None:
    """Text that a spreadsheet takes for one cell of text.

    Before what it would take for a formula stands an apostrophe, which it does not show. A line ends
    in one way only: a carriage return alone would not be quoted, and would end the row.
    """
    if not isinstance(value, str):
        return value

    marked = f"'{value}" if value.startswith(FORMULA) else value
    return marked.replace("\r\n", "\n").replace("\r", "\n")
