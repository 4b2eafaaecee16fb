"""The report as one HTML page with style, script and pictures in it."""

import base64
import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mlu.metrics.verdict import verdict_sentence
from mlu.report.aggregate import Cell
from mlu.report.groups import Setting
from mlu.report.pictures.base import Picture
from mlu.report.published import printed
from mlu.report.tables import Column, Row, Table
from mlu.report.writers import (
    ABSENT,
    RULES,
    heading,
    holes_of,
    interval_text,
    main_text,
    printed_text,
    relative_link,
    standing,
)
from mlu.runs.layout import RESULTS
from mlu.runs.read import Collection, Gap, Run

_TEMPLATES = Path(__file__).with_name("templates")
VERDICT_MARKS = {"shown": "yes", "exceeded": "no", "not shown": ""}
"""Word of a verdict -> class of its mark on the page."""


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        title: Of the page.
        collection: What was found.
        settings: Of the runs.
        general: A table for each setting, in the same order.
        paper: Tables beside the paper's.
        absent: The paper's tables that no run fills.
        pictures: Those of each setting, in the same order.
        together: Pictures of several settings.
    """

    title: str
    collection: Collection
    settings: Sequence[Setting]
    general: Sequence[Table]
    paper: Sequence[Table]
    absent: Sequence[str]
    pictures: Sequence[Sequence[Picture]]
    together: Sequence[Picture]


def report_page(report: Report, folder: Path) -> str:
    """The page's HTML; links are relative to `folder`, in which it will lie."""
    sections = []
    shown = zip(report.settings, report.general, report.pictures, strict=True)
    for number, (setting, table, pictures) in enumerate(shown, 1):
        about = {"id": f"setting-{number}", "title": setting.title, "about": setting.budget}
        sections.append({**about, "table": page_table(table, folder), "pictures": pictures})

    paper = []
    for number, table in enumerate(report.paper, 1):
        paper.append({"id": f"table-{number}", **page_table(table, folder)})

    return filled_template(
        "page.html.j2",
        title=report.title,
        rules=RULES,
        counts=counts(report),
        sections=sections,
        paper=paper,
        contents=contents(report.paper),
        absent=report.absent,
        together=report.together,
        gaps=[gap_facts(gap, folder) for gap in report.collection.gaps],
        runs=[run_facts(run, folder) for run in report.collection.runs],
    )


def filled_template(name: str, **facts: Any) -> str:
    """A page of a template, with the style and the script that all pages have."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    return environment.get_template(name).render(
        **facts,
        # Both are files of ours; whatever else stands on the page is escaped.
        style=Markup((_TEMPLATES / "page.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=script_hash,
    )


def contents(tables: Sequence[Table]) -> dict[str, list[tuple[str, str]]]:
    """Place in the paper -> address on the page and what it is of, for each table of ours."""
    found: dict[str, list[tuple[str, str]]] = {}
    for number, table in enumerate(tables, 1):
        found.setdefault(printed(table.name)["where"], []).append((f"table-{number}", table.ours))
    return found


def counts(report: Report) -> str:
    """One line that says how much was found."""
    runs, gaps = len(report.collection.runs), len(report.collection.gaps)
    settings = len(report.settings)
    found = f"{runs} run{'s' * (runs != 1)} in {settings} setting{'s' * (settings != 1)}"

    dates = sorted(run.date[:10] for run in report.collection.runs if run.date)
    if dates:
        found += f", made {dates[0]}"

    if dates and dates[-1] != dates[0]:
        found += f" to {dates[-1]}"

    if gaps:
        found += f"; {gaps} job{'s' * (gaps != 1)} without results"

    return f"{found}."


def link(run: Run, folder: Path) -> str:
    """From the page to a run's results."""
    return address(run.folder / RESULTS, folder)


def address(path: Path, folder: Path) -> str:
    """The address of something on disk, seen from the page; a name may be of any bytes."""
    return quote(os.fsencode(relative_link(path, folder)))


def run_title(run: Run) -> str:
    commit = run.results.run.commit
    facts = [f"seed {run.seeds}", run.date, run.device, f"commit {commit}" if commit else ""]
    return ", ".join(filter(None, facts))


def page_table(table: Table, folder: Path) -> dict[str, Any]:
    """A table as the template takes it."""
    best: dict[int, set[int]] = defaultdict(set)
    for place, column in table.best:
        best[place].add(column)

    rows = [
        page_row(row, table.columns, folder, best[place]) for place, row in enumerate(table.rows)
    ]

    return {
        "title": heading(table) if table.name != "methods" else table.title,
        "ours": table.ours,
        "theirs": table.theirs,
        "headers": list(shown_headers(table.columns)),
        "rows": rows,
        "standings": any(row["standing"] for row in rows),
        "notes": table.notes,
        "errata": table.errata,
        "holes": holes_of(table),
    }


def page_row(
    row: Row, columns: Sequence[Column], folder: Path, best: Iterable[int]
) -> dict[str, Any]:
    """A row as the template takes it; `best` are the places of its best numbers."""
    title, variant = row.title, ""
    if "=" in title:
        title, _, variant = title.partition(" ")

    standing_of = standing(row)
    judged = row.verdict if standing_of else None

    return {
        "title": title,
        "variant": variant,
        "reference": row.reference,
        "standing": standing_of,
        "mark": VERDICT_MARKS[judged.word] if judged else "",
        "verdict": verdict_sentence(judged) if judged else "",
        "cells": list(shown_cells(row, columns, folder, best)),
    }


def shown_headers(columns: Iterable[Column]) -> Iterable[dict[str, Any]]:
    """Headers of our columns, each followed by the paper's where it has such a number."""
    for column in columns:
        ours = {"title": column.title, "unit": column.unit.name, "about": column.about}
        yield {**ours, "paper": False}
        if column.printed is not None:
            title = column.called or column.title
            yield {"title": title, "unit": "", "about": "as the paper prints it", "paper": True}


def shown_cells(
    row: Row, columns: Sequence[Column], folder: Path, best: Iterable[int]
) -> Iterable[dict[str, Any]]:
    """Cells under `shown_headers`."""
    for number, (column, found) in enumerate(zip(columns, row.cells, strict=True)):
        yield {"paper": False, "best": number in best, **page_cell(found, column, folder)}
        if column.printed is not None:
            yield {"paper": True, **printed_cell(row.printed[number])}


def printed_cell(value: float | None) -> dict[str, Any]:
    """One of the paper's numbers as the template takes it."""
    if value is None:
        return {"sort": "", "text": ABSENT, "title": "the paper prints no such number"}
    return {"sort": value, "text": printed_text(value), "title": ""}


def page_cell(found: Cell, column: Column, folder: Path) -> dict[str, Any]:
    """One of our numbers as the template takes it."""
    # Where `seed` tells them apart it is enough: the whole stands in the title.
    short = len({run.seeds.seed for run in found.runs}) == len(found.runs)

    runs = []
    for run in found.runs:
        seed = str(run.seeds.seed if short else run.seeds)
        runs.append({"href": link(run, folder), "seed": seed, "title": run_title(run)})

    return {
        "sort": "" if found.value is None else repr(found.value * column.unit.scale),
        "text": main_text(found, column.unit) if found.value is not None else ABSENT,
        "interval": interval_text(found, column.unit),
        "runs": runs,
        "title": "; ".join(found.holes),
        "holes": found.holes if found.runs else (),
    }


def gap_facts(gap: Gap, folder: Path) -> dict[str, str]:
    """A job without results as the template takes it."""
    return {
        "place": relative_link(gap.folder, folder),
        "href": address(gap.folder, folder),
        "reason": gap.reason,
        "command": gap.command or "",
    }


def run_facts(run: Run, folder: Path) -> dict[str, Any]:
    """A run as the template takes it."""
    facts = run.results.run

    return {
        "href": link(run, folder),
        "place": relative_link(run.folder, folder),
        "method": run.method,
        "forget": ", ".join(facts.forget_label),
        "dataset": f"{facts.dataset}, {facts.backbone}",
        "seed": str(run.seeds),
        "experiment": run.experiment or ABSENT,
        "date": run.date.replace("T", " ")[:16],
        "device": run.device,
        "commit": (facts.commit or ABSENT)[:10],
    }
