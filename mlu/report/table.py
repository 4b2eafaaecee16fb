"""The table at the end of a run and of a sweep."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

SHOWN = {
    "retained accuracy": "test/retained/accuracy",
    "forgotten balanced acc.": "test/forgotten/balanced_accuracy",
    "forgotten AUROC": "test/forgotten/auroc",
}


def run_table(results: Mapping[str, Any]) -> Table:
    """Rows original, retrain and unlearned of one run; test split, 95 % intervals in brackets."""
    run, seconds = results["run"], results["seconds"]
    table = headed(f"{run['dataset']}, {run['backbone']}: forget {', '.join(run['forget_label'])}", "model")
    table.add_row("original", *figures(results, "original"), number(seconds["original"], " s"), "")
    table.add_row(
        "retrain", *figures(results, "retrain"), number(seconds["retrain"], " s"), "1×" if seconds["retrain"] else ""
    )
    table.add_row(
        f"[bold]unlearned ({run['method']})",
        *figures(results, "unlearned"),
        number(seconds["unlearn"], " s"),
        number(results["speedup"], "×"),
    )
    return table


def sweep_table(jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> Table:
    """One row for each job of a sweep, by its overrides."""
    table = headed("after forgetting, test split", "job")
    for name, results in jobs:
        seconds = number(results["seconds"]["unlearn"], " s")
        table.add_row(escape(name), *figures(results, "unlearned"), seconds, number(results["speedup"], "×"))
    return table


def headed(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column(first)
    for column in (*SHOWN, "time", "speed-up"):
        table.add_column(column, justify="right")
    return table


def figures(results: Mapping[str, Any], model: str) -> list[str]:
    metrics = results["metrics"]
    return [interval(metrics, f"{model}/{path}") for path in SHOWN.values()]


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
