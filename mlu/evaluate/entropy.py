"""How sure a model is of its retained outputs, and how far it is from Retrain (paper, Section 7.4)."""

from collections.abc import Sequence

import numpy as np
from scipy import stats
from torch import Tensor

from mlu.contracts import Finding
from mlu.tasks import Task

SMALLEST = 1e-12
"""Entropies below this are drawn at it: their logarithm is shown."""


def entropy_findings(
    task: Task, logits: Tensor, reference: Tensor | None, columns: Sequence[int], no_reference: str
) -> list[Finding]:
    """`entropy/mean` in nats; `entropy/jensen_shannon` in nats and `entropy/ks` to Retrain's outputs.

    Args:
        task: Of the outputs.
        logits: Of the model, shape (images, labels).
        reference: Retrain's, on the same images; None where there is none.
        columns: The retained labels.
        no_reference: Why there is none.
    """
    columns = list(columns)
    entropies = task.entropy(logits.double(), columns).numpy()
    mean = Finding("entropy/mean", float(entropies.mean()))
    if reference is None:
        return [mean, *(Finding(f"entropy/{name}", None, missing=no_reference) for name in ("jensen_shannon", "ks"))]
    divergence = task.divergence(logits.double(), reference.double(), columns).mean().item()
    theirs = task.entropy(reference.double(), columns).numpy()
    statistic = float(stats.ks_2samp(entropies, theirs, method="asymp").statistic)
    return [mean, Finding("entropy/jensen_shannon", divergence), Finding("entropy/ks", statistic)]


def log_entropies(task: Task, logits: Tensor, columns: Sequence[int]) -> np.ndarray:
    """Natural logarithm of each image's entropy over the retained labels, shape (images,): the paper's Figure 3."""
    return np.log(np.maximum(task.entropy(logits.double(), list(columns)).numpy(), SMALLEST))
