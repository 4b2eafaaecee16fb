"""python -m benchmarks [NAME...]: run those named, or all but rivals, which takes minutes,
paper_budget, which takes half an hour, and forgetting, which takes hours.

Each ends with a table. All figures go to outputs/benchmarks.json, by benchmark; those that do not
run now keep theirs.
"""

import dataclasses
import importlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from mlu.system.process import tune_process

if TYPE_CHECKING:
    from benchmarks.measure import Comparison

BENCHMARKS = (
    "training",
    "augmentation",
    "scores",
    "trials",
    "data",
    "baselines",
    "unlearning",
    "sweep",
    "memory",
    "growth",
    "ranking",
)
LONG = ("rivals", "paper_budget", "forgetting")
"""Run where they are named."""
FILE = Path("outputs/benchmarks.json")


def main(names: list[str]) -> None:
    tune_process()
    from mlu.runs.tables import show_table
    from mlu.training.trainer import quiet_lightning

    quiet_lightning()
    found = json.loads(FILE.read_text()) if FILE.is_file() else {}
    for name in names or BENCHMARKS:
        comparisons = importlib.import_module(f"benchmarks.{name}").run()
        show_table(table_of(name, comparisons))
        found[name] = [dataclasses.asdict(one) for one in comparisons]
        FILE.write_text(json.dumps(found, indent=1))


def table_of(name: str, comparisons: Iterable["Comparison"]) -> Table:
    table = Table("what", "against", title=name, title_justify="left", title_style="bold")
    for column in ("ours", "alternative", "ratio", "target"):
        table.add_column(column, justify="right")
    for one in comparisons:
        figures = (
            f"{value:,.0f} {one.unit}" if value >= 1000 else f"{value:.3g} {one.unit}"
            for value in (one.ours, one.theirs)
        )
        target = (
            ""
            if one.target is None
            else f"≤ {one.target:g} {'[red]✗[/red]' if one.missed else '✓'}"
        )
        table.add_row(one.name, one.alternative, *figures, f"{one.ratio:.3g}", target)
    return table


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - {*BENCHMARKS, *LONG}
    if unknown:
        sys.exit(
            f"there is no benchmark {', '.join(sorted(unknown))}: "
            f"there are {', '.join((*BENCHMARKS, *LONG))}"
        )
    main(sys.argv[1:])
