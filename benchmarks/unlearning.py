"""What each method costs on the faces under the small budget, against Retrain, by the pipeline's own meter."""

import statistics
from collections.abc import Callable, Mapping, Sequence

from rich.table import Table

from benchmarks.measure import Comparison, context_with, method_named
from mlu import stages
from mlu.config import CONF
from mlu.contracts import Method
from mlu.meter import Meter
from mlu.methods.retrain import Retrain
from mlu.models.network import Network
from mlu.report.table import number, show
from mlu.stages import Context, Cost

ROUNDS = 3
"""Of all methods in turn, and of Retrain."""


def run() -> list[Comparison]:
    context = context_with()
    methods = {file.stem: method_named(file.stem) for file in sorted((CONF / "method").glob("*.yaml"))}
    served = {
        name: method
        for name, method in methods.items()
        if context.data.task in method.tasks and not isinstance(method, Retrain)
    }
    original = stages.original(context).net
    return against_retrain(context, served, original, lambda: stages.from_scratch_without(context, "retrain")[1])


def against_retrain(
    context: Context,
    methods: Mapping[str, Method],
    original: Network,
    retrain: Callable[[], Meter | Cost],
    targets: Mapping[str, float] | None = None,
) -> list[Comparison]:
    """Seconds and images passed of each method; shows its speed-up and its ratio of work.

    Args:
        context: Of the data and the label to forget.
        methods: By name.
        original: What they unlearn.
        retrain: What Retrain costs; asked once a round.
        targets: Largest share of Retrain's seconds that is good, by the name of the method.
    """
    costs: dict[str, list[Meter | Cost]] = {name: [] for name in ("retrain", *methods)}
    for _ in range(ROUNDS):
        costs["retrain"].append(retrain())
        for name, method in methods.items():
            costs[name].append(stages.forgetting(context, method, original)[1])
    reference, passed = total(costs["retrain"]), work(costs["retrain"])
    table = Table("method", title=f"Retrain: {number(reference, ' s')}", title_justify="left", title_style="bold")
    for column in ("time", "speed-up", "work ratio"):
        table.add_column(column, justify="right")
    found = []
    for name in methods:
        time, images, target = total(costs[name]), work(costs[name]), (targets or {}).get(name)
        found.append(Comparison(name, "Retrain", "s", time, reference, time / reference, target))
        found.append(Comparison(f"{name}, passed", "Retrain", "images", images, passed, images / passed))
        ratios = (reference / time, passed / images) if images else (None, None)
        table.add_row(name, number(time, " s"), *(number(ratio, "×") for ratio in ratios))
    show(table)
    return found


def total(costs: Sequence[Meter | Cost]) -> float:
    return statistics.median(cost.seconds["total"] for cost in costs)


def work(costs: Sequence[Meter | Cost]) -> int:
    """Images passed forward and backward: as many at every run."""
    return costs[0].forward + costs[0].backward
