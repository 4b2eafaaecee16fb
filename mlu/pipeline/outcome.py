"""From what a run has measured to its results."""

import importlib.metadata
import math
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import yaml

from mlu.data.base import LabelledImages
from mlu.metrics.findings import NO_REFERENCE, Finding
from mlu.pipeline.experiment import Experiment
from mlu.pipeline.trace import Trace
from mlu.runs.identity import identity
from mlu.runs.results import Measured, Passes, Results, RunFacts
from mlu.system.errors import UserError
from mlu.system.store import digest
from mlu.training.meter import Cost

_LIBRARIES = ("mlu", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "scikit-learn")
_PHASES = ("score", "edit", "finetune")
_STAGES = {"original": "original", "retrain": "retrain", "unlearn": "unlearned"}
"""Stage -> the model that it leaves."""

_NO_RETRAIN = "there is no Retrain: the original does not output it, and has never learnt it"
_GIVEN = "the original was given (original.weights)"


def results_of(
    experiment: Experiment,
    data: LabelledImages,
    costs: Mapping[str, Cost | None],
    findings: Iterable[Finding],
    attack_seconds: float,
    trace: Trace,
) -> Results:
    """The results of a run.

    Args:
        experiment: The run.
        data: Its data set.
        costs: Of `original`, `retrain` and `unlearned`; None where there is none.
        findings: Everything that was measured.
        attack_seconds: What attacks took.
        trace: What validation people showed meanwhile.
    """
    findings = list(findings)
    unlearn, reference = costs["unlearned"], costs["retrain"]
    assert unlearn is not None
    speedup, no_speedup = cost_ratio(reference, unlearn, "seconds")
    work_ratio, no_work_ratio = cost_ratio(reference, unlearn, "work")

    reasons = {found.path: found.missing for found in findings} | {
        "speedup": no_speedup,
        "work_ratio": no_work_ratio,
        "seconds/original": None if costs["original"] else _GIVEN,
        "seconds/retrain": None if reference else NO_REFERENCE,
    }

    no_retrain = _NO_RETRAIN if experiment.concept else NO_REFERENCE

    return Results(
        run=facts_of_run(experiment, data, unlearn),
        seconds=seconds_of(costs, unlearn, attack_seconds, trace.seconds),
        speedup=speedup,
        work={stage: passes_of(costs[model]) for stage, model in _STAGES.items()},
        work_ratio=work_ratio,
        measured={model: measured_of(cost) for model, cost in costs.items()},
        metrics=metrics_of(findings),
        missing={
            path: no_retrain if reason == NO_REFERENCE else reason
            for path, reason in reasons.items()
            if reason is not None
        },
        chosen={**chosen_of(findings), **trace.chosen},
        trace=trace.points,
    )


def facts_of_run(experiment: Experiment, data: LabelledImages, unlearn: Cost) -> RunFacts:
    """The run, its data, and where and when it was made."""
    seeds = experiment.seeds

    return RunFacts(
        dataset=experiment.dataset.name,
        backbone=experiment.backbone.name,
        method=experiment.method.name,
        forget_label=experiment.forget,
        requests=experiment.requests,
        seed=seeds.seed,
        split_seed=seeds.split,
        train_seed=seeds.train,
        method_seed=seeds.method,
        experiment=experiment.name,
        budget=experiment.budget,
        task=data.task,
        data=data.fingerprint,
        config_hash=digest(identity(experiment.config)),
        commit=commit(),
        device=unlearn.device,
        date=unlearn.date,
        versions=library_versions(),
        concept=experiment.concept,
    )


def library_versions() -> dict[str, str]:
    """Versions of the libraries on which figures depend, and of this one."""
    return {library: importlib.metadata.version(library) for library in _LIBRARIES}


def seconds_of(
    costs: Mapping[str, Cost | None],
    unlearn: Cost,
    attack_seconds: float,
    watch_seconds: float,
) -> dict[str, float | None]:
    """Seconds of each stage, of each phase of unlearning, and of watching it, which is no part."""
    totals = {stage: total_seconds(costs[model]) for stage, model in _STAGES.items()}
    phases = {phase: unlearn.seconds.get(phase, 0.0) for phase in _PHASES}
    return {**totals, **phases, "watch": watch_seconds, "attack": attack_seconds}


def total_seconds(cost: Cost | None) -> float | None:
    return None if cost is None else cost.seconds["total"]


def passes_of(cost: Cost | None) -> Passes | None:
    return None if cost is None else Passes(cost.forward, cost.backward)


def measured_of(cost: Cost | None) -> Measured | None:
    return None if cost is None else Measured(cost.device, cost.date, cost.cached)


def cost_ratio(reference: Cost | None, unlearn: Cost, of: str) -> tuple[float | None, str | None]:
    """The cost of Retrain over that of the method, or why that has no meaning.

    Args:
        reference: Of Retrain.
        unlearn: Of the method.
        of: `seconds`, or `work` for image passes.
    """
    if reference is None:
        return None, NO_REFERENCE
    if unlearn.work == 0:
        return None, "nothing was trained or scored"
    if of == "work":
        return reference.work / unlearn.work, None
    if reference.device != unlearn.device:
        return None, f"Retrain was measured on {reference.device}, the method on {unlearn.device}"

    return reference.seconds["total"] / unlearn.seconds["total"], None


def metrics_of(findings: Iterable[Finding]) -> dict[str, float | None]:
    """Path -> value, and `/low`, `/high` and `/p_value` for a finding that has them."""
    metrics: dict[str, float | None] = {}
    for finding in findings:
        metrics[finding.path] = finding.value
        if finding.low is not None and finding.high is not None:
            metrics[f"{finding.path}/low"] = finding.low
            metrics[f"{finding.path}/high"] = finding.high
        if finding.p_value is not None:
            metrics[f"{finding.path}/p_value"] = finding.p_value

    refuse_infinite_figures(metrics)

    return metrics


def chosen_of(findings: Iterable[Finding]) -> dict[str, Mapping[str, str]]:
    """Path without the metric -> what was chosen to give the figures there."""
    return {
        finding.path.rpartition("/")[0]: finding.chosen
        for finding in findings
        if finding.chosen is not None
    }


def refuse_infinite_figures(metrics: Mapping[str, float | None]) -> None:
    """Refuse figures that are no finite numbers: what cannot be computed is None and has a reason.

    Raises:
        UserError: With the first of them.
    """
    strange = [
        path for path, value in metrics.items() if value is not None and not math.isfinite(value)
    ]
    if strange:
        raise UserError(
            f"{len(strange)} figures are no finite numbers, first {strange[0]} = "
            f"{metrics[strange[0]]}: no results are written, please report this with the command "
            "that led here"
        )


def commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    folder = Path(__file__).parents[2]

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        if not git("ls-files", "mlu/pipeline/outcome.py"):
            return None
        changed = "+" if git("status", "--porcelain", "--", "mlu") else ""
        return git("rev-parse", "HEAD") + changed
    except (OSError, subprocess.CalledProcessError):
        return None


def write_config(experiment: Experiment, path: Path) -> None:
    """Leave the resolved configuration; it says how the attacks' figures are shown, too."""
    path.write_text(yaml.safe_dump(experiment.config, sort_keys=False))
