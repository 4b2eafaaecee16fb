"""python tools/evidence.py FOLDER...: what runs of `experiment=evidence` found, for docs/results.

Writes docs/results/evidence.csv, a line for each model and draw of faces, and prints the table of
docs/results/evidence.md. Whoever doubts the table computes it from the lines.
"""

import csv
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from mlu.attacks.parts.panel import STANDARD, Look
from mlu.metrics.verdict import Excess, Verdict, student_interval, verdict_on
from mlu.report.groups import Setting, settings_in
from mlu.runs.read import Run, collect
from mlu.runs.verdicts import HEADLINE, PLACES, VIEWS, by_seed, reader_words

FILE = Path(__file__).parents[1] / "docs" / "results" / "evidence.csv"

WHOLE = "wf"
"""The method of which parts are taken out."""
WITHOUT_WEIGHTS = "decorrelate"
"""What is left of it where no weights are chosen."""
RETAINED = "retained accuracy"
STRONGEST = ("features", "outputs", "stages")
READINGS = tuple(Look(view, reader).path for view in VIEWS for reader in STANDARD[view])
COLUMNS = {
    RETAINED: "test/retained/accuracy",
    **{f"strongest {place}": f"attack/aia/strongest/{place}/excess" for place in STRONGEST},
    **{path: f"attack/aia/{path}/excess" for path in READINGS},
}
"""Column of the file -> path of a figure below the model's name; excesses are over Retrain."""

Line = Mapping[str, str]


def lines_of(setting: Setting) -> Iterator[Line]:
    """A line for each model and draw: the original and Retrain of the first variant, then all."""
    first = setting.methods[0]
    for name, model, group in (
        ("original", "original", first),
        ("retrain", "retrain", first),
        *((group.title, "unlearned", group) for group in setting.methods),
    ):
        for run, _ in by_seed(group.runs, HEADLINE).values():
            yield line_of(name, model, run)


def line_of(name: str, model: str, run: Run) -> Line:
    values = {column: run.figures.get(f"{model}/{path}") for column, path in COLUMNS.items()}
    return {
        "model": name,
        "draw": str(run.seeds.images),
        **{column: "" if value is None else f"{value:.6f}" for column, value in values.items()},
    }


def of_all_draws(lines: Sequence[Line]) -> list[Line]:
    """Lines of models that were tried on every draw; others are not for the same table."""
    draws = Counter(line["model"] for line in lines)
    most = max(draws.values())
    for model, number in draws.items():
        if number < most:
            print(f"left out, {number} of {most} draws: {model}")
    return [line for line in lines if draws[line["model"]] == most]


def table_of(lines: Iterable[Line]) -> str:
    """The table in Markdown: means over draws with Student's 95 % interval."""
    models: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        models[line["model"]].append(line)

    rows = [
        "| | Retained accuracy | Strongest reader: features | … outputs | … all stages "
        "| One reader against itself | Verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, found in models.items():
        cells = [f"`{name}`", accuracy(values_of(found, RETAINED))]
        if name == "retrain":
            cells += ["0"] * 4 + ["–"]
        else:
            cells += [points(values_of(found, f"strongest {place}")) for place in STRONGEST]
            cells += [largest(found), "–" if name == "original" else words_of(verdict_of(found))]
        rows.append(f"| {' | '.join(cells)} |")

    return "\n".join(rows)


def differences_of(lines: Iterable[Line]) -> str:
    """What `wf` does differently from each of its variants on the same draws, in Markdown."""
    lines = list(lines)
    names = dict.fromkeys(line["model"] for line in lines)
    columns = [RETAINED, *(f"strongest {place}" for place in STRONGEST)]

    rows = [
        "| `wf` less | Retained accuracy | Strongest reader: features | … outputs | … all stages |",
        "|---|---|---|---|---|",
    ]
    for name in names:
        if name == WITHOUT_WEIGHTS or name.startswith(f"{WHOLE} "):
            cells = [points(difference(lines, name, column)) for column in columns]
            rows.append(f"| `{name}` | {' | '.join(cells)} |")

    return "\n".join(rows)


def difference(lines: Sequence[Line], name: str, column: str) -> list[float]:
    """A figure of `wf` less that of a variant, on each draw."""
    ours, theirs = (
        {line["draw"]: float(line[column]) for line in lines if line["model"] == model}
        for model in (WHOLE, name)
    )
    return [ours[draw] - theirs[draw] for draw in sorted(ours.keys() & theirs.keys())]


def values_of(lines: Sequence[Line], column: str) -> tuple[float, ...]:
    return tuple(float(line[column]) for line in lines if line[column])


def accuracy(values: Sequence[float]) -> str:
    low, high = student_interval(values) or (np.nan, np.nan)
    return f"{np.mean(values):.3f} [{low:.3f}, {high:.3f}]"


def points(values: Sequence[float]) -> str:
    low, high = student_interval(values) or (np.nan, np.nan)
    return f"{100 * np.mean(values):+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def largest(lines: Sequence[Line]) -> str:
    """The reader with the largest mean excess over itself."""
    values = {path: values_of(lines, path) for path in READINGS}
    path = max(values, key=lambda path: np.mean(values[path]))
    return f"{points(values[path])}, {reader_words(path)}"


def verdict_of(lines: Sequence[Line]) -> Verdict:
    """The verdict of the report on one model."""
    columns = [*(f"strongest {place}" for place in PLACES), *READINGS]
    return verdict_on([Excess(values) for values in {values_of(lines, one) for one in columns}])


def words_of(verdict: Verdict) -> str:
    needed = "" if verdict.needed is None else f"; would take {verdict.needed:,} draws"
    return f"{verdict.word}{needed}"


def read() -> list[Line]:
    """The lines of the file."""
    with FILE.open(newline="") as stream:
        return list(csv.DictReader(stream))


def main(folders: Sequence[str]) -> None:
    (setting,) = settings_in(collect(map(Path, folders)))
    lines = of_all_draws(list(lines_of(setting)))
    with FILE.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)

    print(setting.description)
    print(table_of(lines), differences_of(lines), sep="\n\n")


if __name__ == "__main__":
    main(sys.argv[1:])
