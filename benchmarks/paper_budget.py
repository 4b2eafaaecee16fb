"""wp and wf against Retrain under the paper's budget of 50 epochs: time, what is retained, and what
attackers read."""

import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.measure import Comparison, context_with, within
from mlu.pipeline import run as pipeline
from mlu.runs.results import Results
from mlu.runs.tables import number_text, show_table

SEEDS = (42, 1, 2)
TARGETS = {"wp": 1 / 100, "wf": 1 / 50}
"""Largest share of Retrain's seconds that is good."""
RETAINED, READ = "test/retained/accuracy", "attack/aia/features/folded_balanced_accuracy"
LOSS, EXCESS = 0.02, 0.02
"""Most of retained accuracy that may be lost, and most that may be read beyond what Retrain shows:
means over seeds."""


def run() -> list[Comparison]:
    """Per seed the original and Retrain are trained once, here and now, and each method runs once,
    with its attack."""
    runs: dict[str, list[Results]] = {name: [] for name in TARGETS}
    for seed in SEEDS:
        with tempfile.TemporaryDirectory() as outputs:
            Path(outputs, "benchmarks").mkdir()
            for name, found in runs.items():
                context = context_with(
                    f"method={name}", "budget=paper", f"seed={seed}", f"outputs={outputs}"
                )
                found.append(pipeline.walk(context))
    show_table(table_of(runs))
    return [figure for name, found in runs.items() for figure in figures_of(name, found)]


def table_of(runs: Mapping[str, Sequence[Results]]) -> Table:
    """Every run, beside its Retrain."""
    table = Table("method", "seed", title="budget=paper", title_justify="left", title_style="bold")
    for column in (
        "time",
        "Retrain",
        "speed-up",
        "retained",
        "Retrain",
        "read from features",
        "Retrain",
    ):
        table.add_column(column, justify="right")
    for name, found in runs.items():
        for seed, results in zip(SEEDS, found, strict=True):
            seconds, metrics = results.seconds, results.metrics
            table.add_row(
                name,
                str(seed),
                number_text(seconds["unlearn"], " s"),
                number_text(seconds["retrain"], " s"),
                number_text(results.speedup, "×"),
                *(
                    f"{metrics[f'{model}/{path}']:.3f}"
                    for path in (RETAINED, READ)
                    for model in ("unlearned", "retrain")
                ),
            )
    return table


def figures_of(method: str, runs: Sequence[Results]) -> list[Comparison]:
    """Medians of time, means of quality."""
    time, retrain = (
        statistics.median(known(run.seconds[stage]) for run in runs)
        for stage in ("unlearn", "retrain")
    )
    ratio = 1 / statistics.median(known(run.speedup) for run in runs)
    return [
        Comparison(method, "Retrain", "s", time, retrain, ratio, TARGETS[method]),
        within(
            f"{method}, retained accuracy lost",
            "",
            mean(runs, "retrain", "unlearned", RETAINED),
            LOSS,
        ),
        within(
            f"{method}, read beyond Retrain", "", mean(runs, "unlearned", "retrain", READ), EXCESS
        ),
    ]


def mean(runs: Sequence[Results], more: str, less: str, path: str) -> float:
    """Of the difference of a figure between two models."""
    found = [
        known(run.metrics[f"{more}/{path}"]) - known(run.metrics[f"{less}/{path}"]) for run in runs
    ]
    return statistics.mean(found)


def known(figure: float | None) -> float:
    assert figure is not None
    return figure
