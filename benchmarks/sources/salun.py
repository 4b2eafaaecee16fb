"""SalUn: random labels for what is forgotten, learnt by the weights that it pulls on most.

Paper: Fan, Liu, Zhang, Wong, Wei and Liu, "SalUn: Empowering Machine Unlearning via Gradient-based
Weight Saliency in Both Image Classification and Generation", ICLR 2024.

Repository: OPTML-Group/Unlearn-Saliency at a6e89fd17ff737c24c6aa16c9574469a234ffd91, the folder
Classification. Read were generate_mask.py, main_random.py, unlearn/RL.py, unlearn/impl.py,
arg_parser.py, dataset.py (CIFAR-10), utils.py and README.md.

The rule. In evaluation mode the gradients of batches of what is forgotten (true labels, mean
cross-entropy of a batch) are added up with their signs; one ranking over all parameters of their
absolute values, biases and batch norms included, marks exactly int(density * number) as free. Then
the network is fine-tuned in training mode. Every epoch draws the labels of what is forgotten anew,
uniformly from all classes, so that the true one may be drawn. For CIFAR-10 and SVHN an epoch is a
pass over what is forgotten, then one over what is retained; for CIFAR-100 and TinyImageNet both are
shuffled into one. Gradients of other parameters are set to zero. Shuffled batches, last ones kept.

Weight decay and momentum still moved the other parameters until the commit of 2026-02-28, which
puts them back after every step and empties their momentum; the published numbers are older.
`restore` chooses. Augmentation (crop after padding by 4, mirror) is on for CIFAR-10, in the mask's
pass as well, and off for SVHN; the images have values in [0, 1] there and the network normalises
them, so that the border is black. The soft variant (RL_pro.py) is not written here. The paper's own
text was not read.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from benchmarks.sources.batches import (
    Examples,
    class_count,
    moved,
    seeded,
    shuffled,
    trainable,
)


@dataclass(frozen=True)
class Settings:
    """Values for CIFAR-10."""

    density: float = 0.5
    """Fraction of parameters that are free (README.md: with_0.5.pt)."""
    order: Literal["in turn", "mixed"] = "in turn"
    """Forgotten then retained, or shuffled into one (unlearn/RL.py)."""
    restore: bool = True
    """Whether parameters that are not free are put back (unlearn/RL.py since 2026-02-28)."""
    epochs: int = 10
    """README.md and arg_parser.py."""
    rate: float = 0.013
    """README.md, for a tenth of CIFAR-10; 0.01 in arg_parser.py."""
    momentum: float = 0.9
    """arg_parser.py."""
    decay: float = 5e-4
    """arg_parser.py."""
    milestones: tuple[int, ...] = (91, 136)
    """Epochs after which the rate falls to a tenth (arg_parser.py, impl.py): never within 10."""
    batch: int = 256
    """arg_parser.py; of the mask as well."""
    padding: int = 4
    """Of the random crop (dataset.py); 0 for none, as for SVHN."""
    flip: bool = True
    """Whether images are mirrored at random (dataset.py); not for SVHN."""


def unlearn(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` after SalUn, in evaluation mode."""
    student, classes = trainable(net), class_count(net, forget[0])
    optimiser = torch.optim.SGD(
        student.parameters(), settings.rate, settings.momentum, weight_decay=settings.decay
    )
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, list(settings.milestones))

    with seeded(seed):
        free = saliency_mask(student, forget, settings)
        start = [weight.detach().clone() for weight in student.parameters()]
        student.train()
        for _ in range(settings.epochs):
            for images, targets in epoch_of(retain, forget, classes, settings):
                loss = F.cross_entropy(student(changed(images, settings)), targets)
                masked_step(optimiser, loss, free, start, settings.restore)
            schedule.step()
    return student.eval()


def changed(images: Tensor, settings: Settings) -> Tensor:
    """Augmented images."""
    return moved(images, settings.padding, settings.flip)


def saliency_mask(student: nn.Module, forget: Examples, settings: Settings) -> list[Tensor]:
    """1 for each free parameter and 0 for the rest, one tensor per parameter."""
    weights = list(student.parameters())
    sums = [torch.zeros_like(weight) for weight in weights]
    student.eval()

    for images, targets in shuffled(forget, settings.batch):
        loss = -F.cross_entropy(student(changed(images, settings)), targets)
        for total, slope in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            total += slope

    flat = torch.cat([total.abs().flatten() for total in sums])
    first = flat.argsort(descending=True)[: int(settings.density * len(flat))]
    marks = torch.zeros_like(flat).index_fill(0, first, 1.0)
    parts = marks.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]


def epoch_of(
    retain: Examples, forget: Examples, classes: int, settings: Settings
) -> Iterator[Examples]:
    """Batches of an epoch, with labels of what is forgotten drawn anew."""
    images, targets = forget
    drawn = torch.randint(classes, targets.shape).to(targets)

    if settings.order == "mixed":
        together = torch.cat([images, retain[0]]), torch.cat([drawn, retain[1]])
        yield from shuffled(together, settings.batch)
        return
    yield from shuffled((images, drawn), settings.batch)
    yield from shuffled(retain, settings.batch)


def masked_step(
    optimiser: Optimizer, loss: Tensor, free: list[Tensor], start: list[Tensor], restore: bool
) -> None:
    """One step in which only free parameters have a gradient; `restore` puts the others back."""
    weights = optimiser.param_groups[0]["params"]
    optimiser.zero_grad()
    loss.backward()
    for weight, mask in zip(weights, free, strict=True):
        weight.grad *= mask

    optimiser.step()
    if restore:
        put_back(optimiser, free, start)


@torch.no_grad()
def put_back(optimiser: Optimizer, free: list[Tensor], start: list[Tensor]) -> None:
    """Parameters that are not free have their first values, and no momentum."""
    weights = optimiser.param_groups[0]["params"]
    for weight, mask, first in zip(weights, free, start, strict=True):
        weight.copy_(torch.where(mask.bool(), weight, first))
        gathered = optimiser.state[weight].get("momentum_buffer")
        if gathered is not None:
            gathered *= mask
