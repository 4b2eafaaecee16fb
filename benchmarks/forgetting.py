"""What the methods are meant to reach, measured on people on whom nothing was chosen.

In pieces, each of them a run in a folder of its own: what has been run is not run again. All of it
takes hours.
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from scipy import stats

from benchmarks.measure import Comparison
from mlu.attacks.parts.panel import STANDARD, Look
from mlu.metrics.verdict import student_interval
from mlu.runs.read import Run, read_run
from mlu.runs.tables import show_table

FOLDER = Path("outputs/forgetting")
METHODS = ("wf", "wp", "decorrelate")
FIRST_DRAW = 1000
"""The draw of faces of seed s is this one plus s, as in `experiment=evidence`."""
RETAINED = "test/retained/accuracy"
PLACES = ("outputs", "features")
TREATED = ("untreated", "finetune_50", "finetune_200", "finetune_800", "int8", "int4", "pruned")
"""What `attack=durability` reads: the model as released, and after what a holder may do to it."""
SURE = 0.05
"""Error that all readers of a panel together may make (Holm)."""


@dataclass(frozen=True)
class Limits:
    """What one piece is meant to keep to; None where it is only to be known.

    Attributes:
        excess: Most that the strongest reader of outputs or features may find above Retrain: the
            upper end of the mean's 95 % interval.
        reader: Above what no single reader or stage may be beyond doubt.
        retained: Most accuracy of the retained labels below the lesser of original and Retrain.
        cheaper: How many times cheaper than Retrain at least, in image passes.
        read: Most that may be read from the features at all.
        durable: Most above Retrain after any treatment of `attack=durability`, like `excess`.
    """

    excess: float | None = None
    reader: float | None = None
    retained: float | None = None
    cheaper: float | None = None
    read: float | None = None
    durable: float | None = None


@dataclass(frozen=True)
class Piece:
    """Runs of one kind.

    Attributes:
        words: Of the command line.
        seeds: How many.
        limits: What their means are held to.
    """

    words: tuple[str, ...]
    seeds: int
    limits: Limits


PIECES = {
    "small": Piece((), 20, Limits(0.01, 0.005, 0.005, cheaper=8)),
    "durability": Piece(("attack=durability",), 5, Limits(durable=0.02)),
    "two labels": Piece(("forget_label.names=[Male,Oval_Face]",), 5, Limits(0.01)),
    "correlation 0": Piece(("dataset.correlation=0",), 5, Limits(retained=0.02, read=0.60)),
    "multidigits": Piece(("dataset=multidigits",), 5, Limits()),
    "paper budget": Piece(("budget=paper",), 3, Limits(0.01, 0.005, 0.005, cheaper=60)),
    "resnet18": Piece(("backbone=resnet18",), 3, Limits(0.02, 0.01, 0.01, cheaper=6)),
}


def run() -> list[Comparison]:
    """Runs all pieces that have not been run, and holds them against their limits."""
    found = []
    for name, piece in PIECES.items():
        for method in METHODS:
            runs = [run_of(name, piece, method, seed) for seed in range(1, piece.seeds + 1)]
            goals = list(goals_of(runs, piece.limits))
            show_table(table_of(f"{name}, {method}, {len(runs)} seeds", goals))
            found += [goal.comparison(f"{name}, {method}") for goal in goals]
    return found


def run_of(name: str, piece: Piece, method: str, seed: int) -> Run:
    """One run, which is made where it is not there."""
    folder = FOLDER / name.replace(" ", "_") / method / str(seed)
    if not (folder / "results.json").is_file():
        draw = [] if "dataset=multidigits" in piece.words else [f"dataset.seed={FIRST_DRAW + seed}"]
        words = [f"method={method}", f"seed={seed}", *draw, *piece.words, "logger=none"]
        command = [sys.executable, "launch.py", f"hydra.run.dir={folder}", *words]
        subprocess.run(command, check=True)
    return read_run(folder)


@dataclass(frozen=True)
class Goal:
    """A figure over seeds and its limit.

    Attributes:
        name: What it is.
        values: One of each seed.
        limit: What it is held to; None where it is only to be known.
        by: What of the values is held to it: the `upper` end of the mean's 95 % interval, the
            `mean`, or the mean as `least` that there must be.
    """

    name: str
    values: tuple[float, ...]
    limit: float | None
    by: str = "mean"

    @property
    def judged(self) -> float:
        """The figure that is held against the limit."""
        ends = student_interval(self.values)
        if self.by == "upper":
            return float("inf") if ends is None else ends[1]
        return float(np.mean(self.values))

    @property
    def is_met(self) -> bool | None:
        """Whether the limit is kept; None without one."""
        if self.limit is None:
            return None
        return self.judged >= self.limit if self.by == "least" else self.judged <= self.limit

    def comparison(self, of: str) -> Comparison:
        """The figure as `python -m benchmarks` keeps it: a ratio above 1 misses."""
        if self.limit is None:
            return Comparison(f"{of}: {self.name}", "", "", self.judged, 0.0, 0.0)
        ratio = 1 - (self.limit - self.judged)
        if self.by == "least":
            ratio = 1 + (self.limit - self.judged)
        return Comparison(
            f"{of}: {self.name}", "allowed", "", self.judged, self.limit, ratio, target=1.0
        )


def goals_of(runs: Sequence[Run], limits: Limits) -> Iterator[Goal]:
    """Every figure of a piece, in the order of its limits."""
    labels = runs[0].results.run.forget_label
    if limits.durable is not None:
        for treated in TREATED:
            path = f"unlearned/attack/durability/{treated}/excess"
            values = values_of(runs, path)
            yield Goal(f"above Retrain, {treated}", values, limits.durable, "upper")
        return

    for label in labels:
        start = f"attack/aia/label/{label}"
        for place in PLACES:
            values = values_of(runs, f"unlearned/{start}/strongest/{place}/excess")
            yield Goal(f"{label}, strongest reader of {place}", values, limits.excess, "upper")
        stages = values_of(runs, f"unlearned/{start}/strongest/stages/excess")
        yield Goal(f"{label}, strongest reader of all stages", stages, None)
        yield readers_above(runs, label, limits.reader)

        read = values_of(runs, f"unlearned/{start}/strongest/features/balanced_accuracy")
        yield Goal(f"{label}, read from the features", read, limits.read)

    yield Goal("retained accuracy lost", lost(runs), limits.retained)
    works = tuple(run.results.work_ratio or 0.0 for run in runs)
    yield Goal("times cheaper than Retrain, image passes", works, limits.cheaper, "least")
    speeds = tuple(run.results.speedup or 0.0 for run in runs)
    yield Goal("times faster than Retrain", speeds, limits.cheaper, "least")


def readers_above(runs: Sequence[Run], label: str, limit: float | None) -> Goal:
    """How many readers and stages find more than the limit above themselves, beyond doubt.

    By one-sided t tests of their means, corrected for their number (Holm 1979).
    """
    start = f"unlearned/attack/aia/label/{label}"
    looks = [Look(view, reader).path for view in STANDARD for reader in STANDARD[view]]
    paths = [f"{start}/{path}/excess" for path in looks]
    stages = [path for path in runs[0].figures if path.startswith(f"{start}/features/")]
    paths += [path for path in stages if path.endswith("/excess")]

    values = [values_of(runs, path) for path in dict.fromkeys(paths) if is_read(runs, path)]
    above = holm([greater_than(one, limit or 0.0) for one in values])
    return Goal(f"{label}, readers above {limit or 0.0:g}", (float(sum(above)),), 0.0)


def is_read(runs: Sequence[Run], path: str) -> bool:
    return all(run.figures.get(path) is not None for run in runs)


def greater_than(values: Sequence[float], limit: float) -> float:
    """The p value of a mean that is at most the limit; 1 where the values do not vary."""
    if len(set(values)) < 2:
        return 1.0
    return float(stats.ttest_1samp(values, limit, alternative="greater").pvalue)


def holm(pvalues: Sequence[float], error: float = SURE) -> list[bool]:
    """Which of several hypotheses are rejected, with one error for all (Holm 1979).

    >>> holm([0.01, 0.04, 0.02]), holm([0.01, 0.04, 0.03])
    ([True, True, True], [True, False, False])
    """
    rejected = [False] * len(pvalues)
    for rank, number in enumerate(np.argsort(pvalues, kind="stable")):
        if pvalues[number] > error / (len(pvalues) - rank):
            break
        rejected[number] = True
    return rejected


def values_of(runs: Sequence[Run], path: str) -> tuple[float, ...]:
    """A figure of each run; ends the benchmark where one has none."""
    found = [run.figures.get(path) for run in runs]
    if None in found:
        sys.exit(f"a run of {runs[0].method} has no {path}")
    return tuple(float(value) for value in found if value is not None)


def lost(runs: Sequence[Run]) -> tuple[float, ...]:
    """Accuracy of the retained labels below the lesser of original and Retrain."""
    before, retrain, after = (
        values_of(runs, f"{model}/{RETAINED}") for model in ("original", "retrain", "unlearned")
    )
    return tuple(min(pair) - kept for *pair, kept in zip(before, retrain, after, strict=True))


def table_of(title: str, goals: Sequence[Goal]) -> Table:
    """The figures of a piece with their intervals and limits."""
    table = Table("what", title=title, title_justify="left", title_style="bold")
    for column in ("mean", "95 % interval", "limit", "met"):
        table.add_column(column, justify="right")
    for goal in goals:
        ends = student_interval(goal.values)
        marks: Mapping[bool | None, str] = {True: "✓", False: "[red]✗[/red]", None: ""}
        table.add_row(
            goal.name,
            f"{np.mean(goal.values):.3f}",
            "" if ends is None else f"[{ends[0]:.3f}, {ends[1]:.3f}]".replace("[", "\\["),
            "" if goal.limit is None else f"{goal.limit:g}",
            marks[goal.is_met],
        )
    return table
