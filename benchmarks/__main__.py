"""python -m benchmarks [NAME...]: run all benchmarks, or those named; a table, and outputs/benchmarks.json."""

import dataclasses
import importlib
import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mlu.process import tune_process

BENCHMARKS = ("training", "augmentation", "scores", "trials", "data")


def main(names: list[str]) -> None:
    tune_process()
    from mlu.progress import quiet_lightning

    quiet_lightning()
    found = [one for name in names or BENCHMARKS for one in importlib.import_module(f"benchmarks.{name}").run()]
    table = Table("what", "against", "ours", "alternative", "ratio")
    for one in found:
        figures = (f"{value:.3g} {one.unit}" for value in (one.ours, one.theirs))
        table.add_row(one.name, one.alternative, *figures, f"{one.ratio:.2f}")
    Console().print(table)
    file = Path("outputs/benchmarks.json")
    file.write_text(json.dumps([dataclasses.asdict(one) for one in found], indent=1))


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(BENCHMARKS)
    if unknown:
        sys.exit(f"there is no benchmark {', '.join(sorted(unknown))}: there are {', '.join(BENCHMARKS)}")
    main(sys.argv[1:])
