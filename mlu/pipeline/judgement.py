"""The figures of a run's models by their outputs, and the distributions that are drawn of them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from mlu.evaluate.confidences import confidence_findings
from mlu.evaluate.distributions import PICTURED, distribution_findings, drawn
from mlu.evaluate.forgetting import forgotten_findings
from mlu.evaluate.reassignment import reassignment_findings
from mlu.evaluate.utility import label_findings, retained_findings
from mlu.metrics.findings import NO_REFERENCE, Finding
from mlu.metrics.labels import label_figures
from mlu.pipeline.context import Context
from mlu.pipeline.entries import Model
from mlu.pipeline.models import Models
from mlu.runs.layout import Histograms

BINS = 50
"""Bins of the histograms of entropies and losses."""


def judge(context: Context, models: Models) -> dict[str, list[Finding]]:
    """Every figure of each trained model by its outputs, by the name of the model."""
    return {name: [*judge_model(context, models, one)] for name, one in models.judged().items()}


def judge_model(context: Context, models: Models, model: Model) -> Iterator[Finding]:
    """Utility, forgetting, distance to Retrain and reassignment of one model on every split."""
    task, request, labels = context.task, context.request, context.data.labels
    original, retrain, random = models.original, models.retrain, models.random

    for name, outputs in model.outputs.items():
        figures = label_figures(task, outputs)
        reference = None if retrain is None else retrain.outputs[name]
        floor, first = random.outputs[name], original.outputs[name].logits

        findings = [
            *retained_findings(task, outputs, request.retained),
            *forgotten_findings(task, figures, labels, request.forgotten),
            *label_findings(figures, labels),
            *distribution_findings(task, outputs, reference, floor, request),
            *confidence_findings(task, outputs, request),
            *reassignment_findings(task, outputs, first, original.net.head, request, labels),
        ]
        yield from (finding.under(name) for finding in findings)


def completed(figures: Mapping[str, Sequence[Finding]]) -> Iterator[Finding]:
    """The findings of every model under its name; without Retrain all that it would have, missing.

    Args:
        figures: By the name of the model.
    """
    by_model = dict(figures)
    if "retrain" not in figures:
        paths = [finding.path for finding in figures["original"]]
        by_model["retrain"] = [Finding(path, None, missing=NO_REFERENCE) for path in paths]

    for name, findings in by_model.items():
        yield from (finding.under(name) for finding in findings)


def output_histograms(context: Context, models: Models) -> Histograms:
    """`<model>/<split>/<entropy or loss>/histogram`: counts and edges.

    All models of a split have the same edges.
    """
    histograms: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for kind, values_of in PICTURED.items():
        for split in context.data.splits:
            values = {}
            for name, model in models.judged().items():
                found = values_of(context.task, model.outputs[split], context.request)
                values[f"{name}/{split}/{kind}/histogram"] = drawn(found)

            edges = np.histogram_bin_edges(np.concatenate(list(values.values())), BINS)
            histograms |= {path: np.histogram(value, edges) for path, value in values.items()}

    return histograms
