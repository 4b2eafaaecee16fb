"""SSD, selective synaptic dampening: scale down weights that matter more to what is forgotten.

Paper: Foster, Schoepf and Brintrup, "Fast Machine Unlearning without Retraining through Selective
Synaptic Dampening", AAAI 2024.

Repository: if-loops/selective-synaptic-dampening at cdfdc0e35c1908e032a6e150d882b0fa17833f85. Read
were src/ssd.py, src/forget_full_class_main.py, src/forget_full_class_strategies.py, the main
scripts of the two other tasks for their numbers, src/datasets.py, and the shell scripts for full
classes.

The rule. The importance of a weight to a data set is a mean over its batches of the squared
gradient of the batch's mean cross-entropy, in evaluation mode; the last batch may be smaller and
counts as much. Weights more important to what is forgotten than alpha times to all data (retained
and forgotten together) are multiplied by min(1, lambda * all / forgotten). Nothing is trained,
running statistics stay, no augmentation, nothing is drawn.

What one would not guess. The square is of a batch's mean, not of single images (the paper's Fisher
diagonal is of images), so that a batch's size scales both importances. And all data come sorted by
class, retained classes first, without shuffling, whatever the loader of the retained images says:
most batches hold one class, whose gradients cancel far less than those of a mixed batch.
`by_class` turns this off. With several forgotten classes the rule is applied once to all of them;
the script forgets one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sources.batches import Examples, in_order, trainable


@dataclass(frozen=True)
class Settings:
    """Values of src/forget_full_class_main.py, for a ResNet-18."""

    alpha: float = 10.0
    """How many times more important to the forgotten, strictly, a selected weight is.

    5 for a vision transformer in this script; the same 10 where a ResNet forgets sub-classes or
    random images.
    """
    dampening: float = 1.0
    """The paper's lambda."""
    bound: float = 1.0
    """Largest factor of a weight (forget_full_class_strategies.py, `lower_bound`)."""
    exponent: float = 1.0
    """Of the factor, before the bound (forget_full_class_strategies.py)."""
    batch: int = 64
    """Default of the argument -b, which the shell scripts do not give."""
    by_class: bool = True
    """Whether what is retained is sorted by class (get_classwise_ds and what follows it)."""


def unlearn(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` with weights dampened, in evaluation mode. Nothing is drawn from `seed`."""
    student = trainable(net).eval()
    kept = sorted_by_class(retain) if settings.by_class else retain
    everything = torch.cat([kept[0], forget[0]]), torch.cat([kept[1], forget[1]])

    to_forgotten = importances(student, forget, settings.batch)
    to_all = importances(student, everything, settings.batch)

    dampen(student, to_forgotten, to_all, settings)
    return student


def sorted_by_class(examples: Examples) -> Examples:
    """The same examples class by class, each class in its old order."""
    order = examples[1].argsort(stable=True)
    return examples[0][order], examples[1][order]


def importances(student: nn.Module, examples: Examples, batch: int) -> list[Tensor]:
    """Mean over batches of squared gradients of mean cross-entropy, one tensor per parameter."""
    weights = list(student.parameters())
    sums = [torch.zeros_like(weight) for weight in weights]
    batches = list(in_order(examples, batch))

    for images, targets in batches:
        loss = F.cross_entropy(student(images), targets)
        slopes = torch.autograd.grad(loss, weights, allow_unused=True)
        for total, slope in zip(sums, slopes, strict=True):
            if slope is not None:
                total += slope.square()
    return [total / len(batches) for total in sums]


@torch.no_grad()
def dampen(
    student: nn.Module, to_forgotten: list[Tensor], to_all: list[Tensor], settings: Settings
) -> None:
    """Scale the selected weights in place."""
    for weight, forgotten, everything in zip(
        student.parameters(), to_forgotten, to_all, strict=True
    ):
        selected = forgotten > settings.alpha * everything
        ratio = settings.dampening * everything[selected] / forgotten[selected]
        weight[selected] *= ratio.pow(settings.exponent).clamp(max=settings.bound)
