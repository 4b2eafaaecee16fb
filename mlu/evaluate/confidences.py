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
        return float(histogram_divergence(*histograms_of(outputs, column, probs[:, column])))

    most = max(asked, key=apart)
    for name, values in (("confidence_kl", probs[:, most]), ("sureness_kl", sure)):
        having, without = histograms_of(outputs, most, values)
        yield Finding(f"forgotten/{name}", float(histogram_divergence(having, without)))
        yield Finding(f"forgotten/{name}_by_chance", chance_divergence(having, without))


def sureness_of(task: Task, logits: Tensor, request: ForgetRequest) -> np.ndarray:
    """Retained outputs' distance from saying nothing, in [0, 1]: 1 less their relative entropy."""
    columns = list(request.retained)
    most = task.entropy(torch.zeros_like(logits[:1]), columns)
    return (1 - task.entropy(logits, columns) / most).clamp(0, 1).numpy()


def shows_both_ways(outputs: Outputs, column: int) -> bool:
    """Whether images with and without a label are known."""
    known = outputs.known[:, column]
    return len(outputs.targets[known, column].unique()) == 2


def histograms_of(
    outputs: Outputs, column: int, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Images with a label and without it in each cell, shape (CELLS,) both.

    Args:
        outputs: Whose targets in the column count, where they are known.
        column: Of the label.
        values: Of each image, in [0, 1].
    """
    known = outputs.known[:, column].numpy()
    truth = outputs.targets[:, column].numpy()[known] > 0
    cells = np.clip((values[known] * CELLS).astype(int), 0, CELLS - 1)
    having, without = (np.bincount(cells[side], minlength=CELLS) for side in (truth, ~truth))
    return having, without


def chance_divergence(having: np.ndarray, without: np.ndarray) -> float:
    """Mean divergence of two histograms whose targets are shuffled, in nats.

    Shuffled targets draw as many images from all cells together, whichever they are: their counts
    follow the multivariate hypergeometric law.
    """
    together, drawn = having + without, int(having.sum())
    random = np.random.default_rng(int(together.sum()))
    shuffled = random.multivariate_hypergeometric(together, drawn, SHUFFLES, method="marginals")
    return float(histogram_divergence(shuffled, together - shuffled).mean())


def histogram_divergence(having: np.ndarray, without: np.ndarray) -> np.ndarray:
    """KL(with || without) of histograms, each with half an image more in each cell, in nats.

    Args:
        having: Images with the label by cell, shape (..., CELLS).
        without: Likewise those without it.

    Returns:
        Shape (...).
    """
    divergences: np.ndarray = stats.entropy(having + 0.5, without + 0.5, axis=-1)
    return divergences
