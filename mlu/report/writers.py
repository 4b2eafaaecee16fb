"""The tables as Markdown, LaTeX and CSV, with numbers written as they are on the page."""

import csv
import io
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mlu.metrics.verdict import MAX_EXCESS, MAX_LOSS, Verdict
from mlu.report.aggregate import Cell
from mlu.report.published import printed
from mlu.report.tables import NOT_ASKED, Column, Row, Table, Unit
from mlu.runs.markdown import escaped_markdown
from mlu.runs.read import Gap

ABSENT = "–"
RULES = (
    "A row holds runs that differ in seeds alone. A number is their mean ± standard "
    "deviation; in brackets its 95 % interval; its seeds are named or counted beside it. Over "
    "two or more seeds the interval is Student's t of the mean over seeds: each seed draws "
    "another split, other initial weights and another order, so their spread holds all of "
    "that, unless it is said to be over split_seed, train_seed or method_seed alone: then it "
    "holds that alone, and so does the interval. Where all seeds agree exactly it is the mean "
    "of the runs' own intervals; with one seed, that run's own, which knows only the sample of "
    "people in its test split. Seeds share one data set, and its people too unless each has a "
    "dataset.seed of its own: no interval speaks for another. Those of shares end at 0 and 100 %.",
    "That a method has forgotten is shown where the 95 % interval of the mean excess over Retrain "
    "ends at what policy.max_excess allows, or below "
    f"({100 * MAX_EXCESS:g} points of balanced accuracy where a run says no other), for each "
    "forgotten label and in two ways: the strongest reader of the model against the strongest of "
    "Retrain, and each reader against itself, over several seeds by its own mean (that of each "
    "run's largest is above 0 even between two Retrains). It is exceeded where one of these "
    "intervals begins above that, at 1 - 0.05 / k for k of them (Bonferroni), else not shown; "
    "beside that stands how many seeds it would take, were mean and spread as they are. "
    "Nothing is shown of a method that has lost the retained labels: whose plain or balanced "
    "accuracy is further below the original's and Retrain's than policy.max_loss allows "
    f"({100 * MAX_LOSS:g} points where a run says no other). "
    "With one seed all of this is of that one model, over test people; other seeds may differ. "
    "The strongest reader is the one of a panel that tells best, of people held out from it, what "
    "is to be forgotten: from outputs or from features, whichever shows more. A "
    "number with (silent) is chance by construction, for an output or an attacker says the same of "
    "every image: it is no evidence.",
    "Bold is the best of a column, and only where its interval touches that of no rival. "
    "Rivals are the methods, not original, Retrain or what has not been trained; for what is "
    "kept and what it costs only methods that have forgotten, since not to forget is no way to "
    "keep more. Reading less than Retrain is no merit: below 0 counts as 0. Two intervals may "
    "overlap and the numbers still differ, so what is not bold is undecided, not equal. The "
    "paper's numbers have no intervals and are never bold.",
    "Ours and the paper's stand side by side to be looked at, not subtracted: each side says "
    "which data, network and training it is of, and the paper gives one seed and no intervals.",
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

    if size >= 100:
        return f"{scaled:,.0f}"

    return f"{scaled:.1f}" if size >= 1 else f"{scaled:.2g}"


def main_text(found: Cell, unit: Unit) -> str:
    """`95.4 ± 0.5`, or the sign for nothing."""
    if found.value is None:
        return ABSENT

    text = value_text(found.value, unit)
    if found.at_least:
        text = f"≥ {text}"

    if found.sd is not None:
        text = f"{text} ± {value_text(found.sd, replace(unit, signed=False))}"

    return f"{text} (silent)" if found.silent else text


def interval_text(found: Cell, unit: Unit) -> str:
    """`[94.2, 96.6]`, or nothing."""
    ends = found.interval
    return f"[{value_text(ends.low, unit)}, {value_text(ends.high, unit)}]" if ends else ""


def cell_text(found: Cell, unit: Unit, best: bool, mark: str) -> str:
    """All of a cell in one line; `mark` stands before and after what is best."""
    if found.value is None:
        return ABSENT
    parts = (main_text(found, unit), interval_text(found, unit), f"({len(found.runs)})")
    text = " ".join(filter(None, parts))
    return f"{mark}{text}{mark}" if best else text


def printed_text(value: float | None) -> str:
    if value is None:
        return ABSENT
    return f"{value:g}" if value >= 1000 else f"{value:.2f}"


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
    if row.reference or not any(found.runs for found in row.cells):
        return ""
    return "not shown" if row.verdict is None else short_verdict(row.verdict)


def short_verdict(verdict: Verdict) -> str:
    """The word of a verdict, with why, what it would take, or that it is about a single seed."""
    if verdict.loss is not None:
        return f"{verdict.word}: retained labels lost"
    if verdict.needed is not None:
        return f"{verdict.word}: would take {verdict.needed:,} seeds"
    if verdict.alone:
        return f"{verdict.word}: {'this model' if verdict.replicates == 1 else 'these models'} only"
    return verdict.word


def holes_of(table: Table) -> list[Hole]:
    """Everything that is missing, and why; what a row lacks everywhere is said once."""
    return [hole for row in table.rows for hole in holes_of_row(row, table.columns)]


def holes_of_row(row: Row, columns: Sequence[Column]) -> Iterator[Hole]:
    """The holes of one row, those of the same columns together."""
    asked = {}
    for column, found in zip(columns, row.cells, strict=True):
        if found.holes != (NOT_ASKED,):
            asked[column.title] = found.holes

    reasons = dict.fromkeys(reason for holes in asked.values() for reason in holes)
    together: dict[tuple[str, ...], list[str]] = {}
    for reason in reasons:
        lacking = tuple(title for title, holes in asked.items() if reason in holes)
        together.setdefault(lacking, []).append(reason)

    for lacking, said in together.items():
        where = row.title if len(lacking) == len(asked) else f"{row.title}: {', '.join(lacking)}"
        yield Hole(where, "; ".join(said))


def markdown(tables: Sequence[Table], gaps: Sequence[Gap], title: str, folder: Path) -> str:
    """The whole report as Markdown; jobs are named relative to `folder`."""
    parts = [f"# {escaped_markdown(title)}", *RULES]
    for table in tables:
        parts += markdown_parts(table)

    if gaps:
        lost = (f"{relative_link(gap.folder, folder)}: {gap.reason}" for gap in gaps)
        parts += [
            "## Jobs without results",
            "\n".join(f"- {escaped_markdown(line)}" for line in lost),
        ]

    return "\n\n".join(parts) + "\n"


def markdown_parts(table: Table) -> Iterator[str]:
    """Paragraphs of Markdown for one table."""
    yield f"## {escaped_markdown(heading(table))}"
    yield f"Ours: {escaped_markdown(table.ours)}."
    if table.theirs:
        yield f"The paper's: {escaped_markdown(table.theirs)}."

    yield "\n".join(pipes(table))
    yield from map(escaped_markdown, table.notes)

    holes = [f"Missing: {hole.where}: {hole.reason}" for hole in holes_of(table)]
    if remarks := [*table.errata, *holes]:
        yield "\n".join(f"- {escaped_markdown(remark)}" for remark in remarks)


def heading(table: Table) -> str:
    """The title above a table, with its place in the paper."""
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


_TEX = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "≥": r"$\geq$",
    "…": r"\dots{}",
}
"""Sign -> how LaTeX writes it."""

_LATEX_HEAD = (
    r"\documentclass{article}",
    r"\usepackage[T1]{fontenc}",
    r"\usepackage[a4paper,landscape,margin=15mm]{geometry}",
    r"\usepackage{booktabs,graphicx}",
)


def tex(text: str) -> str:
    """Text that LaTeX shows as it is, without control characters, which it refuses."""
    letters = (letter for letter in " ".join(text.split()) if unicodedata.category(letter) != "Cc")
    return "".join(_TEX.get(letter, letter) for letter in letters)


def latex(tables: Sequence[Table], title: str) -> str:
    """A document with one table a page; a table alone can be cut out of it."""
    parts = [*_LATEX_HEAD, rf"\title{{{tex(title)}}}", r"\begin{document}", r"\maketitle"]
    parts += [f"{tex(rule)}\n" for rule in RULES]
    parts += [latex_table(table) for table in tables]
    return "\n".join([*parts, r"\end{document}"]) + "\n"


def latex_table(table: Table) -> str:
    """One table with its caption."""
    names = headers(table)
    alignment = f"l{'r' * (len(names) - 2)}l"

    return "\n".join(
        [
            r"\begin{table}[p]",
            r"\centering",
            rf"\caption{{{tex(caption_of(table))}}}",
            r"\resizebox{\textwidth}{!}{%",
            rf"\begin{{tabular}}{{{alignment}}}",
            r"\toprule",
            " & ".join(map(tex, names)) + r" \\",
            r"\midrule",
            *latex_rows(table),
            r"\bottomrule",
            r"\end{tabular}}",
            r"\end{table}",
        ]
    )


def caption_of(table: Table) -> str:
    """All that a table's caption says, in one line."""
    parts = [heading(table), "--", f"Ours: {table.ours}."]
    if table.theirs:
        parts.append(f"The paper's: {table.theirs}.")
    return " ".join([*parts, *table.notes, *table.errata])


def latex_rows(table: Table) -> Iterator[str]:
    """Lines of a tabular, the best numbers in bold."""
    best = table.best
    for place, cells in enumerate(table_lines(table)):
        marked = marked_places(table, place, best)
        row = " & ".join(bold(tex(cell), number in marked) for number, cell in enumerate(cells))
        # Behind braces: the `\\` of the line before would take a bracket or a star for its own.
        start = "{}" if row.startswith(("[", "*")) else ""
        yield rf"{start}{row} \\"


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


_FIELDS = (
    *("table", "title", "ours", "theirs", "row", "forgotten", "column", "unit", "value", "sd"),
    *(
        "low",
        "high",
        "interval_of",
        "seeds",
        "at_least",
        "silent",
        "best",
        "paper",
        "missing",
        "runs",
    ),
)


def table_csv(tables: Sequence[Table], folder: Path) -> str:
    """One line for each cell, numbers in the units of the page with all their digits.

    Runs are named relative to `folder`.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, _FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in tables:
        writer.writerows(csv_lines(table, folder))
    return text.getvalue()


def csv_lines(table: Table, folder: Path) -> Iterator[dict[str, str | float | None]]:
    """The lines of one table."""
    best = table.best
    facts = {
        "table": table.name,
        "title": table.title,
        "ours": table.ours,
        "theirs": table.theirs,
    }

    for line, row in enumerate(table.rows):
        for number, column in enumerate(table.columns):
            found = row.cells[number]
            runs = " ".join(relative_link(run.folder, folder) for run in found.runs)
            said = {**csv_cell(row, found, column, row.printed[number]), **facts, "runs": runs}
            plain = {name: harmless(value) for name, value in said.items()}
            yield {**plain, "best": int((line, number) in best)}


def csv_cell(
    row: Row, found: Cell, column: Column, paper: float | None
) -> dict[str, str | float | None]:
    """The part of a line of the CSV that is about the cell."""
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
        "seeds": " ".join(str(run.seeds).replace(" ", ",") for run in found.runs),
        "at_least": int(found.at_least),
        "silent": int(found.silent),
        "paper": paper,
        "missing": "; ".join(found.holes),
    }


FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Starts of a formula to a spreadsheet, some only if they are as wide as Chinese letters."""


def harmless(value: str | float | None) -> str | float | None:
    """Text that a spreadsheet takes for one cell of text.

    Before what it would take for a formula stands an apostrophe, which it does not show. A line
    ends in one way only: a carriage return alone would not be quoted, and would end the row.
    """
    if not isinstance(value, str):
        return value

    marked = f"'{value}" if value.startswith(FORMULA) else value
    return marked.replace("\r\n", "\n").replace("\r", "\n")
