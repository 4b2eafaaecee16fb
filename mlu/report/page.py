"""The report as one HTML page that needs nothing beside it: style, script and pictures are in it."""

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mlu.report.aggregate import Cell
from mlu.report.groups import Setting
from mlu.report.pictures.base import Picture
from mlu.report.published import printed
from mlu.report.tables import Column, Row, Table
from mlu.report.writers import (
    ABSENT,
    FORGOTTEN,
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

TEMPLATES = Path(__file__).with_name("templates")


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
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (TEMPLATES / "page.js").read_text()
    sections = [
        {"id": f"setting-{number}", "title": setting.title, "table": page_table(table, folder), "about": setting.budget,
         "pictures": pictures}
        for number, (setting, table, pictures) in enumerate(
            zip(report.settings, report.general, report.pictures, strict=True), 1)
    ]  # fmt: skip

    return environment.get_template("page.html.j2").render(
        title=report.title,
        rules=RULES,
        counts=counts(report),
        sections=sections,
        paper=[
            {"id": f"table-{number}", **page_table(table, folder)}
            for number, table in enumerate(report.paper, 1)
        ],
        contents=contents(report.paper),
        absent=report.absent,
        together=report.together,
        gaps=[gap_facts(gap, folder) for gap in report.collection.gaps],
        runs=[run_facts(run, folder) for run in report.collection.runs],
        # Both are files of ours; whatever else stands on the page is escaped.
        style=Markup((TEMPLATES / "page.css").read_text()),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def contents(tables: Sequence[Table]) -> dict[str, list[tuple[str, str]]]:
    """Place in the paper -> address on the page and what it is of, for each table of ours."""
    found: dict[str, list[tuple[str, str]]] = {}
    for number, table in enumerate(tables, 1):
        found.setdefault(printed(table.name)["where"], []).append((f"table-{number}", table.ours))
    return found


def counts(report: Report) -> str:
    """What was found, in a line."""
    runs, gaps = len(report.collection.runs), len(report.collection.gaps)
    dates = sorted(run.date[:10] for run in report.collection.runs if run.date)
    when = (
        f", made {dates[0]}" + (f" to {dates[-1]}" if dates[-1] != dates[0] else "")
        if dates
        else ""
    )
    lost = f"; {gaps} job{'s' * (gaps != 1)} without results" if gaps else ""
    where = f"{len(report.settings)} setting{'s' * (len(report.settings) != 1)}"
    return f"{runs} run{'s' * (runs != 1)} in {where}{when}{lost}."


def link(run: Run, folder: Path) -> str:
    """From the page to a run's results."""
    return address(run.folder / RESULTS, folder)


def address(path: Path, folder: Path) -> str:
    """Of something on disk, for a link from the page; a name may be of any bytes."""
    return quote(os.fsencode(relative_link(path, folder)))


def run_title(run: Run) -> str:
    commit = run.results.run.commit
    return ", ".join(
        filter(
            None, (f"seed {run.seed}", run.date, run.device, f"commit {commit}" if commit else "")
        )
    )


def page_table(table: Table, folder: Path) -> dict[str, Any]:
    """A table as the template takes it."""
    best = table.best
    rows = [
        {
            "title": row.title if "=" not in row.title else row.title.partition(" ")[0],
            "variant": "" if "=" not in row.title else row.title.partition(" ")[2],
            "reference": row.reference,
            "standing": standing(row),
            "mark": next(
                (
                    name
                    for name, text in (("yes", FORGOTTEN[True]), ("no", FORGOTTEN[False]))
                    if standing(row) == text
                ),
                "",
            ),
            "cells": list(
                shown_cells(
                    row, table.columns, folder, {column for line, column in best if line == number}
                )
            ),
        }
        for number, row in enumerate(table.rows)
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


def shown_headers(columns: Iterable[Column]) -> Iterable[dict[str, Any]]:
    for column in columns:
        yield {
            "title": column.title,
            "unit": column.unit.name,
            "about": column.about,
            "paper": False,
        }
        if column.printed is not None:
            title = column.called or column.title
            yield {"title": title, "unit": "", "about": "as the paper prints it", "paper": True}


def shown_cells(
    row: Row, columns: Sequence[Column], folder: Path, best: Iterable[int]
) -> Iterable[dict[str, Any]]:
    for number, (column, found) in enumerate(zip(columns, row.cells, strict=True)):
        yield {"paper": False, "best": number in best, **page_cell(found, column, folder)}
        if column.printed is not None:
            value = row.printed[number]
            reason = "" if value is not None else "the paper prints no such number"
            yield {
                "paper": True,
                "sort": "" if value is None else value,
                "text": printed_text(value),
                "title": reason,
            }


def page_cell(found: Cell, column: Column, folder: Path) -> dict[str, Any]:
    """One of our numbers as the template takes it."""
    runs = [
        {"href": link(run, folder), "seed": run.seed, "title": run_title(run)} for run in found.runs
    ]
    return {
        "sort": "" if found.value is None else repr(found.value * column.unit.scale),
        "text": main_text(found, column.unit) if found.value is not None else ABSENT,
        "interval": interval_text(found, column.unit),
        "runs": runs,
        "title": "; ".join(found.holes),
        "holes": found.holes if found.runs else (),
    }


def gap_facts(gap: Gap, folder: Path) -> dict[str, str]:
    where = relative_link(gap.folder, folder)
    return {
        "place": where,
        "href": address(gap.folder, folder),
        "reason": gap.reason,
        "command": gap.command or "",
    }


def run_facts(run: Run, folder: Path) -> dict[str, Any]:
    facts = run.results.run
    return {
        "href": link(run, folder),
        "place": relative_link(run.folder, folder),
        "method": run.method,
        "forget": ", ".join(facts.forget_label),
        "dataset": f"{facts.dataset}, {facts.backbone}",
        "seed": run.seed,
        "experiment": run.experiment or ABSENT,
        "date": run.date.replace("T", " ")[:16],
        "device": run.device,
        "commit": (facts.commit or ABSENT)[:10],
    }
