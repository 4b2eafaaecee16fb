"""The figures of an audit as a run has them, so that reports and certificates read both alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mlu.auditing.inquiry import Inquiry
from mlu.auditing.population import Population
from mlu.metrics.findings import Finding
from mlu.pipeline.outcome import chosen_of, commit, library_versions, metrics_of
from mlu.runs.identity import identity
from mlu.runs.layout import AUDITED
from mlu.runs.read import Run
from mlu.runs.results import Results, RunFacts
from mlu.system.store import checksum, digest, now

_OF_TRAINING = (
    *("preset", "ablation", "experiment", "budget", "training", "logger", "requests", "trace"),
    *("keep", "canaries", "epsilon", "phi", "strength", "objective"),
)
"""Keys of a run that say nothing of an audit."""


def run_of_audit(
    inquiry: Inquiry,
    population: Population,
    findings: Sequence[Finding],
    seconds: float,
    device: str,
) -> Run:
    """The run that one draw of the attacks makes.

    Args:
        inquiry: The audit, with the seeds of this draw.
        population: Who was asked about.
        findings: Everything that was measured.
        seconds: What the attacks took.
        device: Its name.
    """
    config = config_of_audit(inquiry)
    sums = {key: one["sha256"] for key, one in given_models(inquiry).items()}
    seeds = inquiry.seeds

    facts = RunFacts(
        dataset=inquiry.dataset.name,
        backbone=inquiry.backbone.name,
        method=AUDITED,
        forget_label=population.audited,
        requests=None,
        seed=seeds.seed,
        split_seed=seeds.split,
        train_seed=seeds.train,
        method_seed=seeds.method,
        experiment=None,
        budget=None,
        task=population.task.name,
        data=population.source.fingerprint,
        config_hash=digest({**identity(config), "models": sums}),
        commit=commit(),
        device=device,
        date=now(),
        versions=library_versions(),
    )

    results = Results(
        run=facts,
        seconds={**dict.fromkeys(("original", "retrain", "unlearn")), "attack": seconds},
        speedup=None,
        work={},
        work_ratio=None,
        measured={},
        metrics=metrics_of(findings),
        missing={one.path: one.missing for one in findings if one.missing is not None},
        chosen=chosen_of(findings),
    )

    return Run(inquiry.folder, results, config)


def config_of_audit(inquiry: Inquiry) -> dict[str, Any]:
    """The configuration without what decides nothing of an audit, with the seed of this draw."""
    kept = {key: value for key, value in inquiry.config.items() if key not in _OF_TRAINING}
    return {**kept, "method": {"name": AUDITED}, "seed": inquiry.seeds.seed}


def given_models(inquiry: Inquiry) -> dict[str, Mapping[str, Any]]:
    """Name and checksum of each file that a model came from, by key; without where it lies."""
    found: dict[str, Mapping[str, Any]] = {}
    if inquiry.features is not None:
        found["features"] = file_facts(inquiry.features)
    for key, source in inquiry.models.items():
        in_python = {"file": "given in Python", "sha256": None}
        found[key] = file_facts(source) if isinstance(source, Path) else in_python
    return found


def file_facts(file: Path) -> dict[str, Any]:
    return {"file": file.name, "sha256": checksum(file)}
