"""From what a run has measured to the content of `results.json`."""

import importlib.metadata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from mlu.data.base import LabelledImages
from mlu.metrics.findings import NO_REFERENCE, Finding
from mlu.pipeline.experiment import Experiment
from mlu.runs.layout import SCHEMA
from mlu.runs.results import commit, identity, metrics_of
from mlu.system.store import digest
from mlu.training.meter import Cost

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
        "seconds/original": None
        if costs["original"]
        else "the original was given (original.weights)",
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
            "original": total_seconds(costs["original"]),
            "retrain": total_seconds(reference),
            "unlearn": unlearn.seconds["total"],
            **{phase: unlearn.seconds.get(phase, 0.0) for phase in PHASES},
            "attack": attack_seconds,
        },
        "speedup": speedup,
        "work": {
            stage: {"forward": cost.forward, "backward": cost.backward} if cost else None
            for stage, cost in (
                ("original", costs["original"]),
                ("retrain", reference),
                ("unlearn", unlearn),
            )
        },
        "work_ratio": work_ratio,
        "measured": {
            stage: {"device": cost.device, "date": cost.date, "cached": cost.cached}
            if cost
            else None
            for stage, cost in costs.items()
        },
        "metrics": metrics_of(findings),
        "missing": missing,
    }


def total_seconds(cost: Cost | None) -> float | None:
    return None if cost is None else cost.seconds["total"]


def cost_ratio(reference: Cost | None, unlearn: Cost, of: str) -> tuple[float | None, str | None]:
    """How many times more Retrain cost than the method, in seconds or in image passes; or why that
    has no meaning."""
    if reference is None:
        return None, NO_REFERENCE
    if unlearn.work == 0:
        return None, "nothing was trained or scored"
    if of == "work":
        return reference.work / unlearn.work, None
    if reference.device != unlearn.device:
        return None, f"Retrain was measured on {reference.device}, the method on {unlearn.device}"
    return reference.seconds["total"] / unlearn.seconds["total"], None


def write_config(experiment: Experiment, path: Path) -> None:
    path.write_text(yaml.safe_dump(experiment.config, sort_keys=False))
