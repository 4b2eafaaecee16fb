"""What each method costs on the faces under the small budget, against Retrain, by the pipeline's
own meter."""

import statistics
from collections.abc import Sequence

from rich.table import Table

from benchmarks.measure import Comparison, context_with, method_named
from mlu.launch.options import CONF
from mlu.methods.retrain import Retrain
from mlu.pipeline.trained import from_scratch_without, original_model
from mlu.pipeline.unlearned import unlearn_in_turn
from mlu.runs.tables import number_text, show_table
from mlu.training.meter import Meter

ROUNDS = 3
"""Of all methods in turn, and of Retrain."""


def run() -> list[Comparison]:
    context = context_with()
    methods = {
        file.stem: method_named(file.stem) for file in sorted((CONF / "method").glob("*.yaml"))
    }
    served = {
        name: method
        for name, method in methods.items()
        if context.data.task in method.tasks and not isinstance(method, Retrain)
    }
    original = original_model(context).net
    costs: dict[str, list[Meter]] = {name: [] for name in ("retrain", *served)}
    for _ in range(ROUNDS):
        costs["retrain"].append(from_scratch_without(context, "retrain")[1])
        for name, method in served.items():
            costs[name].append(unlearn_in_turn(context, method, original)[1])
    reference, passed = total(costs["retrain"]), work(costs["retrain"])
    table = Table(
        "method",
        title=f"Retrain: {number_text(reference, ' s')}",
        title_justify="left",
        title_style="bold",
    )
    for column in ("time", "speed-up", "work ratio"):
        table.add_column(column, justify="right")
    found = []
    for name in served:
        time, images = total(costs[name]), work(costs[name])
        found.append(Comparison(name, "Retrain", "s", time, reference, time / reference))
        found.append(
            Comparison(f"{name}, passed", "Retrain", "images", images, passed, images / passed)
        )
        ratios = (reference / time, passed / images) if images else (None, None)
        table.add_row(name, number_text(time, " s"), *(number_text(ratio, "×") for ratio in ratios))
    show_table(table)
    return found


def total(costs: Sequence[Meter]) -> float:
    return statistics.median(cost.seconds["total"] for cost in costs)


def work(costs: Sequence[Meter]) -> int:
    """Images passed forward and backward: as many at every run."""
    return costs[0].forward + costs[0].backward
