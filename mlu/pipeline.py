"""The road: data, original, retrain, unlearn, evaluate, report."""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from safetensors.torch import save_file

from mlu import stages
from mlu.contracts import Finding, ForgetRequest, Histograms
from mlu.data.module import ImageData
from mlu.errors import UserError
from mlu.evaluate.entropy import entropy_findings, log_entropies
from mlu.evaluate.forgetting import forgotten_findings
from mlu.evaluate.outputs import outputs_of
from mlu.evaluate.utility import label_figures, label_findings, retained_findings
from mlu.experiment import Experiment
from mlu.methods.retrain import Retrain
from mlu.report.figures import entropy_picture
from mlu.report.table import run_table, show
from mlu.results import NO_REFERENCE, figures_of, results_of, write_config, write_json
from mlu.stages import Context, Model
from mlu.tasks import task_of

log = logging.getLogger(__name__)

BINS = 50
"""Of the entropy histograms."""


def run(experiment: Experiment) -> dict[str, Any]:
    """Walk the road once; returns what `results.json` in the experiment's folder holds."""
    device = stages.device_of(experiment)
    data = ImageData(experiment.dataset.load(), experiment.seed, experiment.training.batch_size, experiment.workers)
    request = request_of(experiment, data)
    write_config(experiment, experiment.folder / "config.yaml")
    with experiment.tracker.run(experiment.folder, experiment.title, experiment.group, experiment.config) as tracking:
        context = Context(experiment, data, task_of(data.task), request, tracking.lightning, device)
        original = stages.original(context)
        wanted = experiment.with_reference or isinstance(experiment.method, Retrain)
        retrain = stages.retrain(context) if wanted else None
        unlearned = forget(context, original, retrain)
        models = {
            "original": original,
            "retrain": retrain if experiment.with_reference else None,
            "unlearned": unlearned,
        }
        costs = {name: model.cost if model else None for name, model in models.items()}
        results = results_of(experiment, costs, evaluate(context, models))
        histograms = entropy_histograms(context, models)
        tracking.record(figures_of(results), histograms)
    leave(experiment, unlearned, results, histograms)
    return results


def request_of(experiment: Experiment, data: ImageData) -> ForgetRequest:
    """Columns of the labels to forget; refuses a task that the method does not serve."""
    if data.task not in experiment.method.tasks:
        raise UserError(
            f"method={experiment.method.name} serves {' and '.join(experiment.method.tasks)} data, "
            f"{data.source.name} is {data.task}: choose another method"
        )
    forgotten = tuple(sorted(data.columns(experiment.forget)))
    return ForgetRequest(forgotten, tuple(column for column in range(len(data.labels)) if column not in forgotten))


def forget(context: Context, original: Model, retrain: Model | None) -> Model:
    """The unlearned model, by the configured method."""
    method = context.experiment.method
    if isinstance(method, Retrain):
        assert retrain is not None
        return retrain
    log.info("unlearning %s by %s", ", ".join(context.experiment.forget), method.name)
    return stages.unlearn(context, method, original)


def evaluate(context: Context, models: Mapping[str, Model | None]) -> Iterator[Finding]:
    """Every figure of every model and split. A model that there is not has all of them, missing with the reason."""
    judged = {name: list(judge(context, model, models["retrain"])) for name, model in models.items() if model}
    absent = [Finding(finding.path, None, missing=NO_REFERENCE) for finding in judged["original"]]
    for name in models:
        yield from (finding.under(name) for finding in judged.get(name, absent))


def judge(context: Context, model: Model, reference: Model | None) -> Iterator[Finding]:
    """Utility, forgetting and distance to Retrain of one model on every split."""
    task, request, labels = context.task, context.request, context.data.labels
    for name, split in context.data.splits.items():
        outputs = outputs_of(model.logits[name], split)
        figures = label_figures(task, outputs)
        findings = [
            *retained_findings(task, outputs, request.retained),
            *forgotten_findings(figures, labels, request.forgotten),
            *label_findings(figures, labels),
            *entropy_findings(
                task, outputs.logits, reference.logits[name] if reference else None, request.retained, NO_REFERENCE
            ),
        ]
        yield from (finding.under(name) for finding in findings)


def entropy_histograms(context: Context, models: Mapping[str, Model | None]) -> Histograms:
    """`<model>/<split>/entropy/histogram`: counts and edges, the same edges for all models of a split."""
    histograms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for split in context.data.splits:
        values = {
            f"{name}/{split}/entropy/histogram": log_entropies(
                context.task, model.logits[split], context.request.retained
            )
            for name, model in models.items()
            if model
        }
        edges = np.histogram_bin_edges(np.concatenate(list(values.values())), BINS)
        histograms |= {path: np.histogram(value, edges) for path, value in values.items()}
    return histograms


def leave(experiment: Experiment, unlearned: Model, results: dict[str, Any], histograms: Histograms) -> None:
    """Write what a run leaves, `results.json` last, and show its table."""
    folder = experiment.folder
    state = unlearned.net.state_dict()
    save_file({name: value.contiguous().cpu() for name, value in state.items()}, folder / "unlearned.safetensors")
    arrays: dict[str, np.ndarray] = {}
    for path, (counts, edges) in histograms.items():
        arrays |= {f"{path}/counts": counts, f"{path}/edges": edges}
    np.savez(folder / "entropy.npz", **arrays)  # type: ignore[arg-type]
    entropy_picture(histograms, folder / "entropy.png")
    write_json(results, folder / "results.json")
    show(run_table(results))
    log.info("results in %s", folder)
