"""The road: data, original, retrain, unlearn, evaluate, report."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from safetensors.torch import save_file

from mlu import stages
from mlu.contracts import Finding, ForgetRequest, Histograms, Victim
from mlu.data.module import ImageData
from mlu.errors import UserError
from mlu.evaluate.entropy import entropy_findings, log_entropies
from mlu.evaluate.forgetting import forgotten_findings
from mlu.evaluate.reassignment import reassignment_findings
from mlu.evaluate.utility import label_findings, retained_findings
from mlu.experiment import Experiment
from mlu.meter import measure
from mlu.methods.retrain import Retrain
from mlu.metrics.labels import label_figures
from mlu.models.outputs import outputs_of
from mlu.report.figures import entropy_picture
from mlu.report.table import run_table, show
from mlu.results import NO_REFERENCE, figures_of, results_of, write_config, write_json
from mlu.stages import EXPOSED, Context, Model
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
        with measure(device) as meter:
            leaks = list(compare(models, partial(infer, context)))
        figures = [*compare(models, partial(judge, context, models)), *leaks]
        results = results_of(experiment, costs, figures, meter.seconds["total"] if experiment.attack else 0.0)
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


def compare(models: Mapping[str, Model | None], look: Callable[[Model], Iterable[Finding]]) -> Iterator[Finding]:
    """What `look` finds of every model. A model that there is not has all of it, missing with the reason."""
    found = {name: list(look(model)) for name, model in models.items() if model}
    absent = [Finding(finding.path, None, missing=NO_REFERENCE) for finding in found["original"]]
    for name in models:
        yield from (finding.under(name) for finding in found.get(name, absent))


def judge(context: Context, models: Mapping[str, Model | None], model: Model) -> Iterator[Finding]:
    """Utility, forgetting, distance to Retrain and reassignment of one model on every split."""
    task, request, labels = context.task, context.request, context.data.labels
    original, reference = models["original"], models["retrain"]
    assert original is not None
    for name, split in context.data.splits.items():
        outputs = outputs_of(split, model.logits[name])
        figures = label_figures(task, outputs)
        findings = [
            *retained_findings(task, outputs, request.retained),
            *forgotten_findings(figures, labels, request.forgotten),
            *label_findings(figures, labels),
            *entropy_findings(
                task, outputs.logits, reference.logits[name] if reference else None, request.retained, NO_REFERENCE
            ),
            *reassignment_findings(task, outputs, original.logits[name], original.net.head, request, labels),
        ]
        yield from (finding.under(name) for finding in findings)


def infer(context: Context, model: Model) -> Iterator[Finding]:
    """What an attacker learns from one model; nothing where there is no attack."""
    attack = context.experiment.attack
    if attack is not None:
        shown = {
            name: outputs_of(context.data.splits[name], model.logits[name], model.features[name]) for name in EXPOSED
        }
        victim = Victim(context.task, context.request, shown["validation"], shown["test"])
        yield from (finding.under("attack") for finding in attack.run(victim))


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
