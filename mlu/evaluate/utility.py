"""How well a model predicts each label, and the retained ones together."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multilabel_auroc,
    multilabel_average_precision,
    multilabel_f1_score,
    multilabel_stat_scores,
)

from mlu.contracts import Finding
from mlu.evaluate.intervals import mean_interval, rate_interval
from mlu.evaluate.outputs import Outputs
from mlu.tasks import Task

METRICS = ("accuracy", "balanced_accuracy", "auroc", "f1", "average_precision")
UNDEFINED = -1
"""Target of what does not count, for torchmetrics."""


@dataclass(frozen=True)
class Figures:
    """One metric of every label, shape (labels,); NaN where it is undefined. Ends of its interval, where it has one."""

    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def label_figures(task: Task, outputs: Outputs) -> dict[str, Figures]:
    """Every metric of every label, one against the rest, over the images whose target is known.

    Besides METRICS: `recall` (share of positives predicted positive), `positive_rate` (share predicted positive) and
    `mutual_information` (between prediction and target, in bits). Rates have intervals.
    """
    probs, predictions = task.probs(outputs.logits), task.predictions(outputs.logits)
    targets = torch.where(outputs.known, outputs.targets, UNDEFINED).long()
    labels = targets.shape[1]
    counts = multilabel_stat_scores(predictions.long(), targets, labels, average=None, ignore_index=UNDEFINED)
    tp, fp, tn, fn, _ = counts.double().numpy().T
    positives, negatives = tp + fn, tn + fp
    both = (positives > 0) & (negatives > 0)
    right, positive = (predictions == (targets == 1)).numpy(), (targets == 1).numpy()
    known, persons = outputs.known.numpy(), outputs.identities
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, specificity = tp / positives, tn / negatives
        accuracy, positive_rate = (tp + tn) / (positives + negatives), (tp + fp) / (positives + negatives)
    recall_ends = rate_interval(right, known & positive, persons)
    specificity_ends = rate_interval(right, known & ~positive, persons)

    def curve(metric: Callable[..., Tensor]) -> np.ndarray:
        with warnings.catch_warnings():
            # Of labels that do not occur both ways; their figures are reported as missing.
            warnings.simplefilter("ignore", UserWarning)
            return metric(probs, targets, labels, average=None, ignore_index=UNDEFINED).double().numpy()

    return {
        "accuracy": Figures(accuracy, *rate_interval(right, known, persons)),
        "balanced_accuracy": Figures(
            (recall + specificity) / 2, *mean_interval(recall, specificity, recall_ends, specificity_ends)
        ),
        "auroc": Figures(np.where(both, curve(multilabel_auroc), np.nan)),
        "f1": Figures(np.where(positives > 0, curve(multilabel_f1_score), np.nan)),
        "average_precision": Figures(np.where(positives > 0, curve(multilabel_average_precision), np.nan)),
        "recall": Figures(recall, *recall_ends),
        "positive_rate": Figures(positive_rate, *rate_interval(predictions.numpy(), known, persons)),
        "mutual_information": Figures(mutual_information(tp, fp, tn, fn)),
    }


def mutual_information(tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray) -> np.ndarray:
    """Plug-in mutual information of prediction and target, from their counts, in bits, shape (labels,).

    An inverted predictor has as much as a right one. NaN where there is no image.
    """
    table = np.stack([tp, fp, fn, tn]).reshape(2, 2, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = table / table.sum((0, 1))
        expected = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
        bits = np.where(joint > 0, joint * np.log2(joint / expected), 0).sum((0, 1))
    return np.where(table.sum((0, 1)) > 0, np.maximum(bits, 0), np.nan)


def label_findings(figures: dict[str, Figures], labels: Sequence[str]) -> list[Finding]:
    """`label/<Label>/<metric>` of every label."""
    return [
        finding(f"label/{label}/{metric}", figures[metric], column, f"{label} does not occur both ways in this split")
        for column, label in enumerate(labels)
        for metric in METRICS
    ]


def retained_findings(task: Task, outputs: Outputs, retained: Sequence[int]) -> list[Finding]:
    """`retained/<metric>`: the mean over the retained labels for which it is defined.

    Of a single-label task only images of retained classes count, and `accuracy` is the share of them that is right.
    """
    columns = list(retained)
    if task.name == "singlelabel":
        rows = task.scope(outputs.targets, outputs.known, columns).nonzero().squeeze(1)
        outputs = outputs.subset(rows)
    figures = label_figures(task, outputs)
    findings = [
        Finding(f"retained/{metric}", *value_or_reason(mean_defined(figures[metric].value[columns])))
        for metric in METRICS
        if metric != "accuracy"
    ]
    return [retained_accuracy(task, outputs, columns), *findings]


def retained_accuracy(task: Task, outputs: Outputs, columns: list[int]) -> Finding:
    """Mean accuracy with its interval: of persons, by the share of their retained labels that is right."""
    right = (task.predictions(outputs.logits) == (outputs.targets > 0)) & outputs.known
    if task.name == "singlelabel":
        share, counted = right.all(1, keepdim=True).double(), outputs.known.all(1, keepdim=True)
        mean = share.mean().item() if len(share) else math.nan
    else:
        known = outputs.known[:, columns]
        share = right[:, columns].double().sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
        counted = known.any(1, keepdim=True)
        mean = mean_defined((right.sum(0) / outputs.known.sum(0)).double().numpy()[columns])
    low, high = rate_interval(share.numpy(), counted.numpy(), outputs.identities)
    value, _, _, missing = value_or_reason(mean)
    return Finding("retained/accuracy", value, none_if_nan(low[0]), none_if_nan(high[0]), missing)


def mean_defined(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN when nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def value_or_reason(value: float) -> tuple[float | None, None, None, str | None]:
    if math.isnan(value):
        return None, None, None, "no retained label occurs both ways in this split"
    return value, None, None, None


def finding(path: str, figures: Figures, column: int, reason: str) -> Finding:
    """One label's figure with its interval, or the reason why there is none."""
    value = none_if_nan(figures.value[column])
    if value is None:
        return Finding(path, None, missing=reason)
    if figures.low is None or figures.high is None:
        return Finding(path, value)
    return Finding(path, value, none_if_nan(figures.low[column]), none_if_nan(figures.high[column]))


def none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
