"""CF-k and EU-k: train the last k layers on what is retained, from where they are or from scratch.

Paper: Goel, Prabhu, Sanyal, Lim, Torr and Kumaraguru, "Towards Adversarial Evaluations for Inexact
Machine Unlearning", 2022 (arXiv 2201.06640).

Repository: shash42/Evaluating-Inexact-Unlearning at a45fe023216f407e947b0c87c3ea2c8229f1d5e5. Read
were src/methods.py, src/learn.py, src/unlearn.py, src/train.py, src/load_datasets.py, src/models.py
(`_reinit`), and of the scripts unlearn.sh, cifar10-exch.sh and caller.sh.

The rule. From output to input, in order of registration, each convolution, batch norm and linear
layer is set free until k convolutions and linear layers are; the rest is frozen. EU-k draws the
free convolutions and linear layers anew (normal, by He's rule; biases 0), not the batch norms. Then
SGD on what is retained with a cosine that restarts after 1, 2, 4, ... epochs, gradients clipped by
their norm, crop and mirror, shuffled batches, last ones kept; the last network counts. Every batch
norm is in training mode, so that running statistics of frozen layers move as well.

EU-k of a network that had been pre-trained goes back to the weights of the pre-training; such a
start is not known here. CutMix, off by default, is not written here. The colour of the padding in
the source is within 0.006 of the mean of its normalised images: zeros here. SCRUB's authors run
other loops under these names (SGD 0.01 for 10 epochs; layer4, without the classifier, of a ResNet).
The paper's own text was not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.sources.batches import Examples, moved, seeded, shuffled, trainable


@dataclass(frozen=True)
class Settings:
    """Values of CF-k for CIFAR-10; `EXACT` has those of EU-k."""

    k: int = 3
    """Layers that are trained (unlearn.py: 1 to 3; cifar10-exch.sh: 10 and 50 of a ResNet-110)."""
    epochs: int = 30
    """cifar10-exch.sh; 62 by default in unlearn.py."""
    rate: float = 0.1
    """Highest of the cosine (learn.py, cifar10-exch.sh)."""
    lowest_rate: float = 0.005
    """learn.py, cifar10-exch.sh."""
    first_cycle: int = 1
    """Epochs until the first restart; each later cycle takes twice as long (learn.py)."""
    momentum: float = 0.9
    """learn.py."""
    decay: float = 5e-5
    """train.py, learn.py."""
    clip: float = 10.0
    """Largest norm of all gradients together (learn.py)."""
    batch: int = 64
    """train.py, learn.py."""
    padding: int = 4
    """Of the random crop (load_datasets.py); 0 for none."""
    flip: bool = True
    """Whether images are mirrored at random (load_datasets.py)."""


EXACT = Settings(epochs=62)
"""EU-k (cifar10-exch.sh): as many epochs as the original's training."""


def unlearn(
    net: nn.Module,
    retain: Examples,
    forget: Examples,
    settings: Settings,
    seed: int,
    layers: Sequence[nn.Module] | None = None,
) -> nn.Module:
    """Copy of `net` after CF-k, in evaluation mode. `forget` is not used.

    Args:
        net: The original.
        retain: What is trained on.
        forget: Not used.
        settings: The authors' values, unless changed.
        seed: Of all draws.
        layers: Modules of `net` from input to output, for a network that registers them in another
            order; what they contain counts, in order of registration.
    """
    return last_trained(net, retain, settings, seed, layers, anew=False)


def relearn(
    net: nn.Module,
    retain: Examples,
    forget: Examples,
    settings: Settings,
    seed: int,
    layers: Sequence[nn.Module] | None = None,
) -> nn.Module:
    """Copy of `net` after EU-k, in evaluation mode; arguments as for `unlearn`."""
    return last_trained(net, retain, settings, seed, layers, anew=True)


def last_trained(
    net: nn.Module,
    retain: Examples,
    settings: Settings,
    seed: int,
    layers: Sequence[nn.Module] | None,
    anew: bool,
) -> nn.Module:
    """Copy of `net` whose last layers are trained, `anew` from new weights."""
    student = trainable(net)
    free = last_layers(copies_in(student, net, layers), settings.k)
    with seeded(seed):
        if anew:
            draw_anew(free)
        fit(student, free, retain, settings)
    return student.eval()


def copies_in(
    student: nn.Module, net: nn.Module, layers: Sequence[nn.Module] | None
) -> list[nn.Module]:
    """The modules of `student` at the places of `layers` in `net`; by default the whole of it."""
    if layers is None:
        return [student]
    names = {module: name for name, module in net.named_modules()}
    return [student.get_submodule(names[layer]) for layer in layers]


def last_layers(modules: Sequence[nn.Module], k: int) -> list[nn.Module]:
    """Layers from the output on until `k` convolutions and linear layers are among them."""
    found: list[nn.Module] = []
    inner = [layer for module in modules for layer in module.modules()]
    for layer in reversed(inner):
        if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear):
            found.append(layer)
        if sum(isinstance(one, nn.Conv2d | nn.Linear) for one in found) == k:
            break
    return found


def draw_anew(layers: Sequence[nn.Module]) -> None:
    """New weights of convolutions and linear layers, in place; batch norms keep theirs."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def fit(
    student: nn.Module, free: Sequence[nn.Module], retain: Examples, settings: Settings
) -> None:
    """Train the weights of `free` alone, in place; every batch norm is in training mode."""
    student.requires_grad_(False)
    weights = [weight for layer in free for weight in layer.parameters()]
    for weight in weights:
        weight.requires_grad_(True)

    optimiser = torch.optim.SGD(
        weights, settings.rate, settings.momentum, weight_decay=settings.decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        optimiser, settings.first_cycle, 2, settings.lowest_rate
    )

    student.train()
    for _ in range(settings.epochs):
        for images, targets in shuffled(retain, settings.batch):
            logits = student(moved(images, settings.padding, settings.flip))
            optimiser.zero_grad()
            F.cross_entropy(logits, targets).backward()
            nn.utils.clip_grad_norm_(weights, settings.clip)
            optimiser.step()
        schedule.step()
    student.requires_grad_(True)
