"""Metrics of each label from a model's outputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torchmetrics.functional.classification import binary_auroc, binary_average_precision

from mlu.metrics.findings import Finding
from mlu.metrics.intervals import error_correlation, mean_interval, rate_interval
from mlu.models.outputs import Outputs
from mlu.models.tasks import Task

METRICS = ("accuracy", "balanced_accuracy", "auroc", "f1", "average_precision")


@dataclass(frozen=True)
class Figures:
    """One metric of every label, shape (labels,), with the ends of its interval, where it has one.

    NaN where it is undefined.
    """

    value: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def label_figures(task: Task, outputs: Outputs) -> dict[str, Figures]:
    """Every metric of every label, one against the rest, over the images whose target is known.

    Besides METRICS: `recall` (share of positives predicted positive), `positive_rate` (share
    predicted positive) and `mutual_information` (between prediction and target, in bits). Rates
    have intervals.

    An output that is the same for all images has a balanced accuracy and an AUROC of 0.5, an
    average precision of the share p of positives, no mutual information, and an F1 of 0 where it
    says no, 2 p / (1 + p) where it says yes. Without a positive image, F1, average precision,
    recall and balanced accuracy are NaN; without a negative one, balanced accuracy is, and without
    either the AUROC.
    """
    probs = task.probs(outputs.logits.double())
    predictions, positive = task.predictions(outputs.logits).numpy(), (outputs.targets > 0).numpy()
    known, persons = outputs.known.numpy(), outputs.identities

    tp, fn = (predictions & positive & known).sum(0), (~predictions & positive & known).sum(0)
    fp, tn = (predictions & ~positive & known).sum(0), (~predictions & ~positive & known).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        recall, specificity = tp / (tp + fn), tn / (tn + fp)
        accuracy, positive_rate = (tp + tn) / known.sum(0), (tp + fp) / known.sum(0)
        f1 = np.where(tp + fn > 0, 2 * tp / (2 * tp + fp + fn), np.nan)

    right, positives, negatives = predictions == positive, known & positive, known & ~positive
    recall_ends, specificity_ends = (
        rate_interval(right, trial, persons) for trial in (positives, negatives)
    )
    shared = error_correlation(right, positives, negatives, persons)

    def curve(metric: Callable[..., Tensor], defined: np.ndarray) -> np.ndarray:
        values = np.full(len(defined), np.nan)
        for column in np.flatnonzero(defined):
            rows = outputs.known[:, column]
            values[column] = metric(
                probs[rows, column], outputs.targets[rows, column].long()
            ).item()
        return values

    return {
        "accuracy": Figures(accuracy, *rate_interval(right, known, persons)),
        "balanced_accuracy": Figures(
            (recall + specificity) / 2,
            *mean_interval(recall, specificity, recall_ends, specificity_ends, shared),
        ),
        "auroc": Figures(curve(binary_auroc, positives.any(0) & negatives.any(0))),
        "f1": Figures(f1),
        "average_precision": Figures(curve(binary_average_precision, positives.any(0))),
        "recall": Figures(recall, *recall_ends),
        "positive_rate": Figures(positive_rate, *rate_interval(predictions, known, persons)),
        "mutual_information": Figures(mutual_information(tp, fp, tn, fn)),
    }


def mutual_information(
    tp: np.ndarray, fp: np.ndarray, tn: np.ndarray, fn: np.ndarray
) -> np.ndarray:
    """Plug-in mutual information of prediction and target, from counts, in bits, shape (labels,).

    An inverted predictor has as much as a right one. NaN where there is no image.
    """
    table = np.stack([tp, fp, fn, tn]).reshape(2, 2, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = table / table.sum((0, 1))
        expected = joint.sum(0, keepdims=True) * joint.sum(1, keepdims=True)
        bits = np.where(joint > 0, joint * np.log2(joint / expected), 0).sum((0, 1))
    return np.where(table.sum((0, 1)) > 0, np.maximum(bits, 0), np.nan)


def finding(path: str, figures: Figures, column: int, reason: str) -> Finding:
    """One label's figure with its interval, or the reason why there is none."""
    value = none_if_nan(figures.value[column])
    if value is None:
        return Finding(path, None, missing=reason)
    if figures.low is None or figures.high is None:
        return Finding(path, value)
    return Finding(path, value, none_if_nan(figures.low[column]), none_if_nan(figures.high[column]))


def none_if_nan(value: float) -> float | None:
    """The value as a figure has it."""
    return None if math.isnan(value) else float(value)
