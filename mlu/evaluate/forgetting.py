"""Figures of what the forgotten outputs still say."""

from collections.abc import Sequence

import numpy as np

from mlu.metrics.findings import Finding
from mlu.metrics.labels import METRICS, Figures, finding

FORGOTTEN_METRICS = (*METRICS, "recall", "positive_rate", "mutual_information")


def forgotten_findings(
    figures: dict[str, Figures], labels: Sequence[str], forgotten: Sequence[int]
) -> list[Finding]:
    """`forgotten/<metric>` of the label that is remembered best, right way round or inverted."""
    distance = np.abs(figures["balanced_accuracy"].value[list(forgotten)] - 0.5)
    worst = forgotten[0] if np.isnan(distance).all() else forgotten[int(np.nanargmax(distance))]
    reason = f"{labels[worst]} does not occur both ways among the known targets of this split"
    return [
        finding(f"forgotten/{metric}", figures[metric], worst, reason)
        for metric in FORGOTTEN_METRICS
    ]
