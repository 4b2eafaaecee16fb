"""Divergence of the confidences of images with a label from those without (paper, Section 7.2)."""

from collections.abc import Iterator

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from mlu.metrics.findings import Finding
from mlu.models.outputs import Outputs
from mlu.models.tasks import ForgetRequest, Task

CELLS = 20
"""Equal parts of [0, 1] in which confidences are counted."""

SHUFFLES = 50
"""Times that targets are shuffled for what chance gives."""

ONE_SIDED = "no split shows the label both ways"


def confidence_findings(task: Task, outputs: Outputs, request: ForgetRequest) -> Iterator[Finding]:
    """`forgotten/confidence_kl` and `forgotten/sureness_kl` of one split, in nats.

    KL(with || without) between histograms of a confidence among images that have the forgotten
    label and among those that do not: the probability that the forgotten output gives the label,
    and how sure the retained outputs are on average. The paper minimises such a divergence, which
    it does not write down. Half an image is added to each of CELLS cells, so it is finite; of few
    images it is above 0 by chance: `..._by_chance` is its mean over shuffled targets. Of several
    forgotten labels the one with the largest divergence of its own output counts.

    Args:
        task: Of the outputs.
        outputs: Of the model.
        request: The columns.
    """
    probs = task.probs(outputs.logits.double()).numpy()
    sure = sureness_of(task, outputs.logits.double(), request)
    asked = [column for column in request.forgotten if shows_both_ways(outputs, column)]
    if not asked:
        for name in ("confidence_kl", "sureness_kl"):
            for end in ("", "_by_chance"):
                yield Finding(f"forgotten/{name}{end}", None, missing=ONE_SIDED)
        return

    def apart(column: int) -> float:
        return divergence_of(outputs, column, probs[:, column])[0]

    most = max(asked, key=apart)
    for name, values in (("confidence_kl", probs[:, most]), ("sureness_kl", sure)):
        value, chance = divergence_of(outputs, most, values)
        yield Finding(f"forgotten/{name}", value)
        yield Finding(f"forgotten/{name}_by_chance", chance)


def sureness_of(task: Task, logits: Tensor, request: ForgetRequest) -> np.ndarray:
    """Retained outputs' distance from saying nothing, in [0, 1]: 1 less their relative entropy."""
    columns = list(request.retained)
    most = task.entropy(torch.zeros_like(logits[:1]), columns)
    return (1 - task.entropy(logits, columns) / most).clamp(0, 1).numpy()


def shows_both_ways(outputs: Outputs, column: int) -> bool:
    """Whether images with and without a label are known."""
    known = outputs.known[:, column]
    return len(outputs.targets[known, column].unique()) == 2


def divergence_of(outputs: Outputs, column: int, values: np.ndarray) -> tuple[float, float]:
    """Divergence of some numbers in [0, 1] by a label, and what shuffled targets give on average.

    In nats, of the images whose target is known.
    """
    known = outputs.known[:, column].numpy()
    truth = outputs.targets[:, column].numpy()[known] > 0
    cells = np.clip((values[known] * CELLS).astype(int), 0, CELLS - 1)

    random, chances = np.random.default_rng(len(truth)), []
    for _ in range(SHUFFLES):
        chances.append(histogram_divergence(cells, random.permutation(truth)))

    return histogram_divergence(cells, truth), float(np.mean(chances))


def histogram_divergence(cells: np.ndarray, truth: np.ndarray) -> float:
    """KL(with || without) of two histograms, each with half an image more in each cell, in nats.

    Args:
        cells: Number of the cell of each image, in [0, CELLS), shape (images,).
        truth: Whether it has the label, bool, shape (images,).
    """
    sides = [np.bincount(cells[side], minlength=CELLS) + 0.5 for side in (truth, ~truth)]
    return float(stats.entropy(*sides))
