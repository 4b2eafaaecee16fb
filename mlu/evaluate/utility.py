"""Figures of how well a model predicts each label, and the retained ones together."""

import math
from collections.abc import Sequence

import numpy as np

from mlu.metrics.findings import Finding
from mlu.metrics.intervals import mean_rate_interval, rate_and_residual
from mlu.metrics.labels import METRICS, Figures, finding, label_figures, none_if_nan
from mlu.models.outputs import Outputs
from mlu.models.tasks import Task

_UNDEFINED = "no retained label occurs both ways among the known targets of this split"


def label_findings(figures: dict[str, Figures], labels: Sequence[str]) -> list[Finding]:
    """`label/<Label>/<metric>` of every label."""
    return [
        finding(
            f"label/{label}/{metric}",
            figures[metric],
            column,
            f"{label} does not occur both ways among the known targets of this split",
        )
        for column, label in enumerate(labels)
        for metric in METRICS
    ]


def retained_findings(task: Task, outputs: Outputs, retained: Sequence[int]) -> list[Finding]:
    """`retained/<metric>`: the mean over the retained labels for which it is defined.

    Of a single-label task only images of retained classes count, and `accuracy` is the share of
    them that is right.
    """
    columns = list(retained)
    asked = task.images_of(outputs.targets, outputs.known, columns)
    outputs = outputs.subset(asked.nonzero().squeeze(1))
    figures = label_figures(task, outputs)
    findings = [
        Finding(
            f"retained/{metric}", *value_or_reason(mean_defined(figures[metric].value[columns]))
        )
        for metric in METRICS
        if metric != "accuracy"
    ]

    return [retained_accuracy_finding(task, outputs, columns), *findings]


def retained_accuracy_finding(task: Task, outputs: Outputs, columns: list[int]) -> Finding:
    """Mean accuracy over the retained labels, or share of right classes, with its interval."""
    right, known = (
        answers.numpy()
        for answers in task.right_answers(outputs.logits, outputs.targets, outputs.known, columns)
    )
    low, high = mean_rate_interval(right, known, outputs.identities)
    value, _, _, missing = value_or_reason(mean_defined(rate_and_residual(right, known)[0]))
    return Finding("retained/accuracy", value, none_if_nan(low), none_if_nan(high), missing)


def mean_defined(values: np.ndarray) -> float:
    """Mean of what is not NaN; NaN when nothing is left."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan


def value_or_reason(value: float) -> tuple[float | None, None, None, str | None]:
    """Value, no interval, and the reason why there is none, in the order of a Finding's fields."""
    if math.isnan(value):
        return None, None, None, _UNDEFINED
    return value, None, None, None
