"""What a run leaves: `results.json` and the files beside it."""

import importlib.metadata
import math
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mlu.contracts import NO_REFERENCE, Finding
from mlu.data.base import LabelledImages
from mlu.errors import UserError, did_you_mean
from mlu.experiment import Experiment
from mlu.record import PLACES, SCHEMA, UNDECISIVE, figures_of
from mlu.stages import Cost
from mlu.store import content_of, digest

LIBRARIES = ("mlu", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "scikit-learn")
PHASES = ("score", "edit", "finetune")


def results_of(
    experiment: Experiment,
    data: LabelledImages,
    costs: Mapping[str, Cost | None],
    findings: Iterable[Finding],
    attack_seconds: float,
) -> dict[str, Any]:
    """The content of `results.json`.

    Args:
        experiment: The run.
        data: Its data set.
        costs: Of `original`, `retrain` and `unlearned`; None where there is none.
        findings: Everything that was measured.
        attack_seconds: What attacks took.
    """
    findings = list(findings)
    unlearn, reference = costs["unlearned"], costs["retrain"]
    assert unlearn is not None
    speedup, reason = cost_ratio(reference, unlearn, "seconds")
    work_ratio, work_reason = cost_ratio(reference, unlearn, "work")
    missing = {finding.path: finding.missing for finding in findings if finding.missing is not None}
    absent = {
        "speedup": reason,
        "work_ratio": work_reason,
        "seconds/original": None if costs["original"] else "the original was given (original.weights)",
        "seconds/retrain": None if reference else NO_REFERENCE,
    }
    missing |= {key: why for key, why in absent.items() if why is not None}
    return {
        "schema": SCHEMA,
        "run": {
            "dataset": experiment.dataset.name,
            "backbone": experiment.backbone.name,
            "method": experiment.method.name,
            "forget_label": list(experiment.forget),
            "requests": [list(names) for names in experiment.requests],
            "seed": experiment.seed,
            "experiment": experiment.config["experiment"],
            "budget": experiment.config["budget"],
            "task": data.task,
            "data": data.fingerprint,
            "config_hash": digest(identity(experiment.config)),
            "commit": commit(),
            "device": unlearn.device,
            "date": unlearn.date,
            "versions": {library: importlib.metadata.version(library) for library in LIBRARIES},
        },
        "seconds": {
            "original": total(costs["original"]),
            "retrain": total(reference),
            "unlearn": unlearn.seconds["total"],
            **{phase: unlearn.seconds.get(phase, 0.0) for phase in PHASES},
            "attack": attack_seconds,
        },
        "speedup": speedup,
        "work": {
            stage: {"forward": cost.forward, "backward": cost.backward} if cost else None
            for stage, cost in (("original", costs["original"]), ("retrain", reference), ("unlearn", unlearn))
        },
        "work_ratio": work_ratio,
        "measured": {
            stage: {"device": cost.device, "date": cost.date, "cached": cost.cached} if cost else None
            for stage, cost in costs.items()
        },
        "metrics": flatten(findings),
        "missing": missing,
    }


def identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a configuration decides the figures: not where files lie, who is told, or how many processes load."""
    kept = {key: value for key, value in config.items() if key not in UNDECISIVE}
    kept["dataset"] = {key: value for key, value in config["dataset"].items() if key not in PLACES}
    kept["trainer"] = {key: value for key, value in config["trainer"].items() if key != "workers"}
    for group in ("backbone", "original"):
        kept[group] = {**config[group], "weights": content_of(config[group]["weights"])}
    return kept


def objective_of(results: Mapping[str, Any], paths: str | Sequence[str] | None) -> Any:
    """What a sweeper optimises: the figure at each path, or None where no path is given.

    Raises:
        UserError: If there is no such figure, with the nearest one; or if it has no value, with the reason.
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


def total(cost: Cost | None) -> float | None:
    return None if cost is None else cost.seconds["total"]


def cost_ratio(reference: Cost | None, unlearn: Cost, of: str) -> tuple[float | None, str | None]:
    """How many times more Retrain cost than the method, in seconds or in image passes; or why that has no meaning."""
    if reference is None:
        return None, NO_REFERENCE
    if unlearn.work == 0:
        return None, "nothing was trained or scored"
    if of == "work":
        return reference.work / unlearn.work, None
    if reference.device != unlearn.device:
        return None, f"Retrain was measured on {reference.device}, the method on {unlearn.device}"
    return reference.seconds["total"] / unlearn.seconds["total"], None


def flatten(findings: Iterable[Finding]) -> dict[str, float | None]:
    """Path -> value, with `/low` and `/high` for those that have an interval, and `/p_value` where it was asked."""
    metrics: dict[str, float | None] = {}
    for finding in findings:
        metrics[finding.path] = finding.value
        if finding.low is not None and finding.high is not None:
            metrics[f"{finding.path}/low"], metrics[f"{finding.path}/high"] = finding.low, finding.high
        if finding.p_value is not None:
            metrics[f"{finding.path}/p_value"] = finding.p_value
    refuse_infinite(metrics)
    return metrics


def refuse_infinite(metrics: Mapping[str, float | None]) -> None:
    """UserError with the first figure that is no finite number: what cannot be computed is None and has a reason."""
    strange = [path for path, value in metrics.items() if value is not None and not math.isfinite(value)]
    if strange:
        raise UserError(
            f"{len(strange)} figures are no finite numbers, first {strange[0]} = {metrics[strange[0]]}: no results are "
            "written, please report this with the command that led here"
        )


def commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None where mlu is not in a checkout."""
    folder = Path(__file__).parent.parent

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        tracked = git("ls-files", "mlu/results.py")
        return (
            git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--", "mlu") else "") if tracked else None
        )
    except (OSError, subprocess.CalledProcessError):
        return None


def write_config(experiment: Experiment, path: Path) -> None:
    path.write_text(yaml.safe_dump(experiment.config, sort_keys=False))
