"""The table at the end of a run and of a sweep."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN = {
    "retained accuracy": "test/retained/accuracy",
    "forgotten balanced acc.": "test/forgotten/balanced_accuracy",
    "read from features": "attack/aia/features/balanced_accuracy",
}
"""Column -> path of the metric. The last column is there only where the attack was run."""


def run_table(results: Mapping[str, Any]) -> Table:
    """Rows original, retrain and unlearned of one run; test split, 95 % intervals in brackets."""
    run, seconds, columns = results["run"], results["seconds"], shown([results])
    table = headed(f"{run['dataset']}, {run['backbone']}: forget {', '.join(run['forget_label'])}", "model", columns)
    for model, label, speedup in (
        ("original", "original", ""),
        ("retrain", "retrain", "1×" if seconds["retrain"] else ""),
        ("unlearned", f"[bold]unlearned ({run['method']})", number(results["speedup"], "×")),
    ):
        cost = seconds["unlearn" if model == "unlearned" else model]
        table.add_row(label, *figures(results, model, columns), number(cost, " s"), speedup)
    return table


def sweep_table(jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """One row for each job of a sweep, by its overrides."""
    columns = shown([results for _, results in jobs])
    table = headed("after forgetting, test split", "job", columns)
    for name, results in jobs:
        seconds = number(results["seconds"]["unlearn"], " s")
        table.add_row(escape(name), *figures(results, "unlearned", columns), seconds, number(results["speedup"], "×"))
    return table


def shown(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The columns that some run has."""
    paths = {path for results in runs for path in results["metrics"]}
    return {name: path for name, path in SHOWN.items() if f"unlearned/{path}" in paths}


def headed(title: str, first: str, columns: Iterable[str]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for column in (*columns, "time", "speed-up"):
        table.add_column(column, justify="right")
    return table


def figures(results: Mapping[str, Any], model: str, columns: Mapping[str, str]) -> list[str]:
    return [interval(results["metrics"], f"{model}/{path}") for path in columns.values()]


def interval(metrics: Mapping[str, float | None], path: str) -> str:
    value, low, high = (metrics.get(key) for key in (path, f"{path}/low", f"{path}/high"))
    if value is None:
        return "–"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} [dim][{low:.3f}, {high:.3f}][/dim]"


def number(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"


def show(table: Table) -> None:
    console = Console()
    # In a pipe or a log there is no width to keep to, and a cut figure is worth nothing.
    console.print(table) if console.is_terminal else Console(width=140).print(table)
