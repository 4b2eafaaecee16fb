"""The table at the end of a run and of a sweep."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlu.system.errors import printable

SHOWN = {
    "retained accuracy": "test/retained/accuracy",
    "forgotten balanced acc.": "test/forgotten/balanced_accuracy",
    "read from features": "attack/aia/features/folded_balanced_accuracy",
    "excess over retrain": "attack/aia/features/excess",
}
"""Column -> path of the metric; of an attack only where it was run."""

READ, MEMBER = "folded_balanced_accuracy", "auroc"
ATTACKS = {
    "read from the output": ("aia/output", READ),
    "read from all outputs": ("aia/outputs", READ),
    "read from retained outputs": ("aia/retained_outputs", READ),
    "read from features": ("aia/features", READ),
    "… by a perceptron": ("aia/features/mlp", READ),
    "member, by the label's loss": ("mia/loss_forgotten", MEMBER),
    "member, by all statistics": ("mia/combined", MEMBER),
    "member, LiRA": ("lira", MEMBER),
    "member, U-LiRA": ("ulira", MEMBER),
    "member, RMIA": ("rmia", MEMBER),
    "label was learnt": ("label_membership", "folded_auroc"),
}
"""Row of the table of attacks -> what it shows."""
CHANCE = "0.500"


def run_table(results: Mapping[str, Any]) -> Table:
    """Rows original, retrain and unlearned of one run; test split, 95 % intervals in brackets."""
    run, seconds, columns = results["run"], results["seconds"], shown_columns([results])
    title = f"{run['dataset']}, {run['backbone']}: forget {', '.join(run['forget_label'])}"
    table = headed(text_of(title), "model", columns)
    for model, label, speedup in (
        ("original", "original", ""),
        ("retrain", "retrain", "1×" if seconds["retrain"] else ""),
        (
            "unlearned",
            f"[bold]unlearned ({text_of(run['method'])})",
            number_text(results["speedup"], "×"),
        ),
    ):
        cost = seconds["unlearn" if model == "unlearned" else model]
        table.add_row(label, *figures(results, model, columns), number_text(cost, " s"), speedup)

    return table


def sweep_table(jobs: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """One row for each job of a sweep, by its overrides."""
    columns = shown_columns([results for _, results in jobs])
    table = headed("after forgetting, test split", "job", columns)
    for name, results in jobs:
        seconds = number_text(results["seconds"]["unlearn"], " s")
        table.add_row(
            text_of(name),
            *figures(results, "unlearned", columns),
            seconds,
            number_text(results["speedup"], "×"),
        )

    return table


def attack_table(results: Mapping[str, Any]) -> Table:
    """One row for each attack of one run, one column for each model, with 95 % intervals."""
    metrics = results["metrics"]
    table = Table(
        title="what an attacker learns: balanced accuracy of reading, AUROC of membership, steps to relearn",
        title_justify="left",
        title_style="bold",
    )
    table.add_column("attack")
    for column in (
        "chance",
        "retained labels",
        "random",
        "original",
        "retrain",
        "unlearned",
        "excess over retrain",
    ):
        table.add_column(column, justify="right")

    for row, (path, metric) in ATTACKS.items():
        if f"unlearned/attack/{path}/{metric}" in metrics:
            deep = "/mlp" * path.endswith("/mlp")
            known = (
                measured_text(metrics, f"proxy/attack/aia{deep}/{metric}", ends=False)
                if path.startswith("aia")
                else ""
            )
            cells = [
                measured_text(metrics, f"{model}/attack/{path}/{metric}", ends=False)
                for model in ("random", "original")
            ]
            cells += [
                measured_text(metrics, f"{model}/attack/{path}/{metric}")
                for model in ("retrain", "unlearned")
            ]
            excess = (
                measured_text(metrics, f"unlearned/attack/{path}/excess") if metric == READ else ""
            )
            table.add_row(row, CHANCE, known, *cells, excess)

    for samples in relearnt(metrics):
        cells = [
            steps(metrics, f"{model}/attack/relearn/{samples}")
            for model in ("random", "original", "retrain", "unlearned")
        ]
        ratio = metrics[f"unlearned/attack/relearn/{samples}/ratio"]
        table.add_row(
            f"steps to relearn, {samples} images", "", "", *cells, number_text(ratio, "×")
        )

    return table


def relearnt(metrics: Mapping[str, float | None]) -> list[str]:
    """Numbers of images from which the label was learnt again."""
    start, end = "unlearned/attack/relearn/", "/steps"
    return [
        path[len(start) : -len(end)]
        for path in metrics
        if path.startswith(start) and path.endswith(end)
    ]


def steps(metrics: Mapping[str, float | None], path: str) -> str:
    """How many; of a label that is not back at the cap, `>` and the balanced accuracy that it has
    come to."""
    value, censored, reached = (
        metrics.get(f"{path}/{name}") for name in ("steps", "censored", "balanced_accuracy")
    )
    if value is None or censored is None:
        return "–"
    return f"{value:g}" if censored < 0.5 else f">{value:g} ({reached:.3f})"


def shown_columns(runs: Iterable[Mapping[str, Any]]) -> dict[str, str]:
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
    return [measured_text(results["metrics"], f"{model}/{path}") for path in columns.values()]


def measured_text(metrics: Mapping[str, float | None], path: str, ends: bool = True) -> str:
    value, low, high = (metrics.get(key) for key in (path, f"{path}/low", f"{path}/high"))
    if value is None:
        return "–"
    return (
        f"{value:.3f}"
        if not ends or low is None or high is None
        else f"{value:.3f} [dim][{low:.3f}, {high:.3f}][/dim]"
    )


def number_text(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}{unit}" if value >= 100 else f"{value:.1f}{unit}"


def text_of(name: str) -> str:
    """A name from a file as a terminal's table shows it: no markup, and no command to the terminal."""
    return escape(printable(name))


def show_table(table: Table) -> None:
    console = Console()
    # In a pipe or a log there is no width to keep to, and a cut figure is worth nothing.
    console.print(table) if console.is_terminal else Console(width=160).print(table)
