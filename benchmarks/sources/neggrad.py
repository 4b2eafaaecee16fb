"""NegGrad+: down the retained loss and up the forgotten one, in one step.

Paper: Kurmanji, Triantafillou, Hayes and Triantafillou, "Towards Unbounded Machine Unlearning",
NeurIPS 2023, whose authors run it as a rival of SCRUB.

Repository: meghdadk/SCRUB at 98ffb1196ffbec2665092598c13ad3b6ec3d095d. Read were
thirdparty/repdistiller/helper/loops.py (`train_negrad`), and of the notebooks
small_scale_unlearning (cells 70, 71, 83, 85), small_scale_ictest, large_scale_ictest (cell 40),
MIA_experiments and VGG_experiments. large_scale_unlearning, the notebook for CIFAR-10, runs no
NegGrad+.

The rule. Each step takes one batch of what is retained and one of what is forgotten, each through
the network by itself: a * CE(retained) - (1 - a) * CE(forgotten). An epoch ends with the retained
batches; the forgotten ones begin again in the same order when they run out, and are drawn anew
for the next epoch. Plain SGD, no schedule, no augmentation, last batches kept.

Two loops exist. The small-scale notebooks hold batch norm in evaluation mode and pull the weights
to the original's within the retained term (`Settings()`); the others train in training mode
without a pull (`LARGE`, `MEMBERSHIP`). The paper's own text was not read, so that it is not known
whether it tells of the pull.
"""

from dataclasses import dataclass
from itertools import cycle

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.sources.batches import Examples, descend, seeded, shuffled, trainable


@dataclass(frozen=True)
class Settings:
    """Values of small_scale_unlearning.ipynb."""

    alpha: float = 0.95
    """Weight of the retained loss; the forgotten one has minus the rest (cell 85)."""
    epochs: int = 10
    """Passes over what is retained (cell 85)."""
    rate: float = 0.01
    """Of SGD (cell 85)."""
    momentum: float = 0.0
    """Of SGD (cell 71, which names none)."""
    decay: float = 0.0
    """Of SGD (cell 71); 5e-4 in VGG_experiments alone."""
    retained_batch: int = 128
    """Cell 83, whose loader is still in use: the default of main.py, given in cell 8."""
    forgotten_batch: int = 64
    """Cell 26."""
    pull: float = 0.1
    """Half of it times the squared distance from the original is added to the retained loss.

    Cell 70, with the weight decay that the original was trained with (cell 8).
    """
    training_mode: bool = False
    """Whether batch norms use and update the statistics of batches (cell 70: they do not)."""


LARGE = Settings(alpha=0.9999, forgotten_batch=32, pull=0.0, training_mode=True)
"""large_scale_ictest.ipynb, cells 30 and 40: the loop of loops.py."""
MEMBERSHIP = Settings(
    alpha=0.9999, epochs=5, retained_batch=32, forgotten_batch=16, pull=0.0, training_mode=True
)
"""MIA_experiments.ipynb: the loop of loops.py on CIFAR-10."""


def unlearn(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` after NegGrad+, in evaluation mode."""
    student = trainable(net)
    start = [weight.detach().clone() for weight in student.parameters()]
    optimiser = torch.optim.SGD(
        student.parameters(), settings.rate, settings.momentum, weight_decay=settings.decay
    )

    with seeded(seed):
        for _ in range(settings.epochs):
            student.train(settings.training_mode)
            forgotten = cycle(shuffled(forget, settings.forgotten_batch))
            for kept, dropped in zip(
                shuffled(retain, settings.retained_batch), forgotten, strict=False
            ):
                descend(optimiser, mixed_loss(student, start, kept, dropped, settings))
    return student.eval()


def mixed_loss(
    student: nn.Module, start: list[Tensor], kept: Examples, dropped: Examples, settings: Settings
) -> Tensor:
    """a * (CE of `kept` + pull to `start`) - (1 - a) * CE of `dropped`."""
    kept_loss = F.cross_entropy(student(kept[0]), kept[1])
    dropped_loss = F.cross_entropy(student(dropped[0]), dropped[1])

    if settings.pull:
        pairs = zip(student.parameters(), start, strict=True)
        distance = torch.stack([(weight - first).square().sum() for weight, first in pairs]).sum()
        kept_loss = kept_loss + settings.pull / 2 * distance
    return settings.alpha * kept_loss - (1 - settings.alpha) * dropped_loss
