"""Figures of what the forgotten outputs still say."""

from collections.abc import Sequence

import numpy as np

from mlu.metrics.findings import Finding
from mlu.metrics.labels import METRICS, Figures, finding
from mlu.models.tasks import Task

FORGOTTEN_METRICS = (*METRICS, "recall", "positive_rate", "mutual_information")


def forgotten_findings(
    task: Task, figures: dict[str, Figures], labels: Sequence[str], forgotten: Sequence[int]
) -> list[Finding]:
    """`forgotten/<metric>` of the label that is remembered best, right way round or inverted.

    `forgotten/remembered` is its output's distance from saying nothing (`Task.remembered`).
    """
    distance = np.abs(figures["balanced_accuracy"].value[list(forgotten)] - 0.5)
    worst = forgotten[0] if np.isnan(distance).all() else forgotten[int(np.nanargmax(distance))]
    reason = f"{labels[worst]} does not occur both ways among the known targets of this split"
    found = [
        finding(f"forgotten/{metric}", figures[metric], worst, reason)
        for metric in FORGOTTEN_METRICS
    ]

    accuracy, recall = (figures[metric].value[worst] for metric in ("balanced_accuracy", "recall"))
    remembered = task.remembered(float(accuracy), float(recall))
    known = not np.isnan(remembered)
    path = "forgotten/remembered"

    return [*found, Finding(path, remembered if known else None, missing=None if known else reason)]
