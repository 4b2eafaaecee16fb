"""The road: data, original, retrain, unlearn, evaluate, report."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mlu.data.base import LabelledImages
from mlu.data.divided import ImageData
from mlu.data.examination import label_correlations
from mlu.data.labels import forgotten_labels
from mlu.evaluate.distributions import PICTURED, distribution_findings, drawn
from mlu.evaluate.forgetting import forgotten_findings
from mlu.evaluate.reassignment import reassignment_findings
from mlu.evaluate.utility import label_findings, retained_findings
from mlu.methods.retrain import Retrain
from mlu.metrics.findings import NO_REFERENCE, Finding
from mlu.metrics.labels import label_figures
from mlu.models.tasks import ForgetRequest, task_of
from mlu.pipeline import stages
from mlu.pipeline.canaries import canaries_of, planted
from mlu.pipeline.context import Context, Model
from mlu.pipeline.evidence import Exposure, exposure_of, findings_of, roc_curves, united_evidence
from mlu.pipeline.experiment import Experiment
from mlu.pipeline.outcome import results_of, write_config
from mlu.runs.layout import (
    CONFIG,
    DISTRIBUTION_PICTURE,
    DISTRIBUTIONS,
    LABELS,
    RECOVERY_PICTURE,
    RESULTS,
    ROC,
    ROC_PICTURE,
    STAGE_PICTURE,
    WEIGHTS,
    Histograms,
    figures_of,
    write_json,
)
from mlu.runs.pictures import distribution_picture, recovery_picture, roc_picture, stage_picture
from mlu.runs.plain import plain_tables
from mlu.runs.tables import attack_table, run_table, show_table
from mlu.system.disk import write_tensors
from mlu.system.errors import UserError
from mlu.training.devices import device_of
from mlu.training.meter import measure
from mlu.training.team import Team, alone, team_of

log = logging.getLogger(__name__)

BINS = 50
"""Of the histograms of entropies and losses."""


def run(experiment: Experiment) -> dict[str, Any]:
    """Walk the road once; returns what `results.json` in the experiment's folder holds."""
    with team_of(experiment.devices, wanted_device(experiment)) as team:
        return walk(context_of(experiment, team))


def walk(context: Context) -> dict[str, Any]:
    """The road, with the data at hand."""
    experiment = context.experiment
    write_config(experiment, experiment.folder / CONFIG)
    with experiment.tracker.run(
        experiment.folder, experiment.subject, experiment.config
    ) as tracking:
        context = replace(context, logger=tracking.lightning)
        models = models_of(context)
        unlearned = models["unlearned"]
        assert unlearned is not None
        with measure(context.device) as meter:
            exposures = [exposure_of(context, attack, models) for attack in experiment.attacks]
            leaks = [findings_of(*pair) for pair in zip(experiment.attacks, exposures, strict=True)]

        judged = {
            name: [*judge(context, models, model)]
            for name, model in models.items()
            if model and name != "random"
        }
        findings = [found for figures in (judged, *leaks) for found in completed(figures)]
        costs = {
            name: model.cost if model else None
            for name, model in models.items()
            if name != "random"
        }
        results = results_of(
            experiment,
            context.data.source,
            costs,
            findings,
            meter.seconds["total"] if experiment.attacks else 0.0,
        )
        histograms = output_histograms(context, models)
        tracking.record(figures_of(results), histograms, plain_tables(results, context.data.labels))

    leave(context, unlearned, results, histograms, united_evidence(exposures))

    return results


def context_of(experiment: Experiment, team: Team | None = None) -> Context:
    """The experiment with its data, divided, for a team or for this process alone; refuses what
    they do not allow."""
    team = team or alone(wanted_device(experiment))
    data = ImageData(
        experiment.dataset.load(),
        experiment.seed,
        experiment.training.batch_size,
        experiment.workers,
    )
    request = request_of(experiment, data)
    canaries = canaries_of(data.splits["train"], **experiment.canaries)
    train = planted(data.splits["train"], request, canaries)
    requests = tuple(tuple(sorted(data.columns(names))) for names in experiment.requests)

    return Context(
        experiment, data, task_of(data.task), request, requests, train, canaries, None, team
    )


def wanted_device(experiment: Experiment) -> torch.device:
    """The device that the configuration asks for."""
    trainer = experiment.trainer
    return device_of(trainer["accelerator"], trainer["precision"], experiment.devices)


def models_of(context: Context) -> dict[str, Model | None]:
    """`original`, `retrain`, `unlearned` and `random`; None where the configuration asks for none."""
    experiment = context.experiment
    original = stages.original(context)
    wanted = experiment.with_reference or isinstance(experiment.method, Retrain)
    retrain = stages.retrain(context) if wanted else None
    return {
        "original": original,
        "retrain": retrain if experiment.with_reference else None,
        "unlearned": unlearned_model(context, original, retrain),
        "random": stages.random(context),
    }


def request_of(experiment: Experiment, data: ImageData) -> ForgetRequest:
    """Columns of the labels to forget; refuses a task that the method does not serve."""
    if data.task not in experiment.method.tasks:
        raise UserError(
            f"method={experiment.method.name} serves {' and '.join(experiment.method.tasks)} data, "
            f"{data.source.name} is {data.task}: choose another method"
        )

    names = forgotten_labels(experiment.forget, data.labels, data.source.name)
    forgotten = tuple(sorted(data.columns(names)))
    for column in forgotten:
        if not data.source.targets[:, column].any():
            raise UserError(
                f"no image of {data.source.name} has {data.labels[column]!r}: choose another forget_label"
            )

    if experiment.canaries["withheld"] and not task_of(data.task).withholds_labels:
        raise UserError(
            f"canaries need labels that can be withheld, {data.source.name} has classes: set canaries.withheld=0"
        )

    return ForgetRequest(
        forgotten, tuple(column for column in range(len(data.labels)) if column not in forgotten)
    )


def unlearned_model(context: Context, original: Model, retrain: Model | None) -> Model:
    """The unlearned model, by the configured method."""
    method = context.experiment.method
    if isinstance(method, Retrain):
        assert retrain is not None
        return retrain
    log.info("unlearning %s by %s", ", ".join(context.experiment.forget), method.name)
    return stages.unlearn(context, method, original)


def completed(figures: Mapping[str, Sequence[Finding]]) -> Iterator[Finding]:
    """What was found of every model, under its name; without Retrain all that there would be of it,
    missing."""
    absent = [Finding(finding.path, None, missing=NO_REFERENCE) for finding in figures["original"]]
    for name, findings in (
        figures if "retrain" in figures else {**figures, "retrain": absent}
    ).items():
        yield from (finding.under(name) for finding in findings)


def judge(context: Context, models: Mapping[str, Model | None], model: Model) -> Iterator[Finding]:
    """Utility, forgetting, distance to Retrain and reassignment of one model on every split."""
    task, request, labels = context.task, context.request, context.data.labels
    original, retrain, random = models["original"], models["retrain"], models["random"]
    assert original is not None
    assert random is not None
    for name, outputs in model.outputs.items():
        figures = label_figures(task, outputs)
        first, reference = original.outputs[name], retrain.outputs[name] if retrain else None
        findings = [
            *retained_findings(task, outputs, request.retained),
            *forgotten_findings(figures, labels, request.forgotten),
            *label_findings(figures, labels),
            *distribution_findings(task, outputs, reference, random.outputs[name], request),
            *reassignment_findings(task, outputs, first.logits, original.net.head, request, labels),
        ]
        yield from (finding.under(name) for finding in findings)


def output_histograms(context: Context, models: Mapping[str, Model | None]) -> Histograms:
    """`<model>/<split>/<entropy or loss>/histogram`: counts and edges, the same edges for all
    models of a split."""
    shown = {name: model for name, model in models.items() if model and name != "random"}
    histograms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, values_of in PICTURED.items():
        for split in context.data.splits:
            values = {
                f"{name}/{split}/{kind}/histogram": drawn(
                    values_of(context.task, model.outputs[split], context.request)
                )
                for name, model in shown.items()
            }
            edges = np.histogram_bin_edges(np.concatenate(list(values.values())), BINS)
            histograms |= {path: np.histogram(value, edges) for path, value in values.items()}

    return histograms


def leave(
    context: Context,
    unlearned: Model,
    results: dict[str, Any],
    histograms: Histograms,
    exposure: Exposure,
) -> None:
    """Write what a run leaves, `results.json` last, and show its tables."""
    folder = context.experiment.folder
    write_tensors(folder / WEIGHTS, unlearned.net.state_dict())
    write_json(label_facts(context.data.source), folder / LABELS)
    arrays: dict[str, np.ndarray] = {}
    for path, (counts, edges) in histograms.items():
        arrays |= {f"{path}/counts": counts, f"{path}/edges": edges}

    np.savez(folder / DISTRIBUTIONS, **arrays)  # type: ignore[arg-type]  # as if one were named allow_pickle
    distribution_picture(histograms, folder / DISTRIBUTION_PICTURE)
    if curves := roc_curves(exposure):
        np.savez(folder / ROC, **curves)  # type: ignore[arg-type]  # as if one were named allow_pickle
        roc_picture(curves, folder / ROC_PICTURE)

    stage_picture(results["metrics"], folder / STAGE_PICTURE)
    recovery_picture(exposure, folder / RECOVERY_PICTURE)
    write_json(results, folder / RESULTS)
    show_table(run_table(results))
    if context.experiment.attacks:
        show_table(attack_table(results))

    log.info("results in %s", folder)


def label_facts(data: LabelledImages) -> dict[str, Any]:
    """What `labels.json` holds: what each output of the model means, and how the labels go together
    (phi)."""
    rows = [
        [None if np.isnan(value) else value for value in row]
        for row in label_correlations(data).tolist()
    ]
    return {"labels": list(data.labels), "task": data.task, "correlation": rows}
