"""What a run leaves: `results.json` and the files beside it."""

import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mlu.metrics.findings import Finding
from mlu.runs.layout import PLACES, UNDECISIVE, figures_of
from mlu.system.errors import UserError, did_you_mean
from mlu.system.store import content_of


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides the figures: not where files lie, who is told, or how many
    processes load."""
    kept = {key: value for key, value in config.items() if key not in UNDECISIVE}
    kept["dataset"] = {key: value for key, value in config["dataset"].items() if key not in PLACES}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key != "workers"}
    for group in ("backbone", "original"):
        kept[group] = {**config[group], "weights": content_of(config[group]["weights"])}
    return kept


def objective_of(results: Mapping[str, Any], paths: str | Sequence[str] | None) -> Any:
    """What a sweeper optimises: the figure at each path, or None where no path is given.

    Raises:
        UserError: If there is no such figure, with the nearest one; or if it has no value, with the
            reason.
    """
    if paths is None or not isinstance(paths, str):
        return None if paths is None else tuple(objective_of(results, path) for path in paths)
    figures = figures_of(results)
    if paths not in figures:
        raise UserError(
            f"objective={paths} is no figure of a run{did_you_mean(paths, figures) or '.'} See results.json"
        )
    if figures[paths] is None:
        raise UserError(f"objective={paths} has no value: {results['missing'][paths]}")
    return figures[paths]


def metrics_of(findings: Iterable[Finding]) -> dict[str, float | None]:
    """Path -> value, with `/low` and `/high` for those that have an interval, and `/p_value` where
    it was asked."""
    metrics: dict[str, float | None] = {}
    for finding in findings:
        metrics[finding.path] = finding.value
        if finding.low is not None and finding.high is not None:
            metrics[f"{finding.path}/low"], metrics[f"{finding.path}/high"] = (
                finding.low,
                finding.high,
            )
        if finding.p_value is not None:
            metrics[f"{finding.path}/p_value"] = finding.p_value

    refuse_infinite_figures(metrics)

    return metrics


def refuse_infinite_figures(metrics: Mapping[str, float | None]) -> None:
    """UserError with the first figure that is no finite number: what cannot be computed is None and
    has a reason."""
    strange = [
        path for path, value in metrics.items() if value is not None and not math.isfinite(value)
    ]
    if strange:
        raise UserError(
            f"{len(strange)} figures are no finite numbers, first {strange[0]} = {metrics[strange[0]]}: no results are "
            "written, please report this with the command that led here"
        )


def commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None where mlu is not in a
    checkout."""
    folder = Path(__file__).parents[2]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        tracked = git("ls-files", "mlu/runs/results.py")
        return (
            git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "mlu") else "")
            if tracked
            else None
        )
    except (OSError, subprocess.CalledProcessError):
        return None
