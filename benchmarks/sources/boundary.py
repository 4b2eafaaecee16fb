"""Boundary unlearning: what is forgotten goes to the nearest class, or to a shadow class.

Paper: Chen, Gao, Liu, Peng and Wang, "Boundary Unlearning: Rapid Forgetting of Deep Networks via
Shifting the Decision Boundary", CVPR 2023.

Repository: TY-LEE-KR/Boundary-Unlearning-Code at 19f9f230d3dccbad2ffd7d65e279eb7ac0dbbca9, whose
README links the paper and an archive of its authors' code. Read were boundary_unlearning.py,
adv_generator.py, expand_exp.py, main.py, models.py, trainer.py, utils.py and README.md.

Shrink. The original, in evaluation mode, takes each forgotten image one signed step up its own loss
(FGSM); its answer there is the label to learn. Nothing keeps the true label out: an image that the
step does not carry over a boundary is trained on its own class. The copy is trained in training
mode on forgotten batches alone (their statistics enter the batch norms), one step for each.

Expand. The last linear layer gets one more output, drawn as the source draws layers; the network is
fine-tuned to answer it for every forgotten image; then the output is cut off again. The first step
finds batch norms in evaluation mode, as the evaluation before has left them, all others in training
mode.

Both: SGD, no schedule, no decay, no augmentation, shuffled batches, last ones kept; retained images
are never used.

The step is meant in values of [0, 1], where the result is clamped and rounded to 255 levels; the
source converts with a mean and deviation of its own (the third mean is not CIFAR-10's 0.4465), not
with the 0.5 and 0.5 that utils.py normalises its images with. Its step of 0.1 thus is one of about
0.25 in true values. The defaults reproduce this on images normalised as there; for others, `mean`
and `deviation` should be what they were normalised with, (0.0,) and (1.0,) for images in [0, 1].

The two optional extras of the repository, curvature and weights by margin, are not written here.
The paper's own text was not read; a summary of it speaks of the nearest incorrect class.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from benchmarks.sources.batches import (
    Examples,
    class_count,
    descend,
    seeded,
    shuffled,
    trainable,
)


@dataclass(frozen=True)
class Settings:
    """Values for CIFAR-10."""

    epochs: int = 10
    """boundary_unlearning.py, of either way."""
    rate: float = 1e-5
    """boundary_unlearning.py, of either way; the argument of main.py is for the original."""
    momentum: float = 0.9
    """boundary_unlearning.py, of either way."""
    batch: int = 64
    """main.py."""
    bound: float = 0.1
    """Step of FGSM, in values of [0, 1] (boundary_unlearning.py). Shrink alone."""
    mean: tuple[float, ...] = (0.4914, 0.4822, 0.2265)
    """Per channel, or one for all (adv_generator.py). Shrink alone."""
    deviation: tuple[float, ...] = (0.2023, 0.1994, 0.2010)
    """Per channel, or one for all (adv_generator.py). Shrink alone."""
    levels: int = 255
    """Steps from 0 to 1 that shifted images are rounded to (adv_generator.py). Shrink alone."""
    training_mode: bool = True
    """Whether batch norms use and update the statistics of batches (boundary_unlearning.py)."""


def unlearn(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` after Boundary Shrink, in evaluation mode. `retain` is not used."""
    original, student = trainable(net).eval(), trainable(net)
    optimiser = optimiser_of(student, settings)

    with seeded(seed):
        student.train(settings.training_mode)
        for _ in range(settings.epochs):
            for images, targets in shuffled(forget, settings.batch):
                nearest = nearest_labels(original, images, targets, settings)
                descend(optimiser, F.cross_entropy(student(images), nearest))
    return student.eval()


def expand(
    net: nn.Module, retain: Examples, forget: Examples, settings: Settings, seed: int
) -> nn.Module:
    """Copy of `net` after Boundary Expanding, in evaluation mode. `retain` is not used."""
    student, shadow = trainable(net), class_count(net, forget[0])

    with seeded(seed):
        widen(student)
        optimiser = optimiser_of(student, settings)
        student.eval()
        for _ in range(settings.epochs):
            for images, targets in shuffled(forget, settings.batch):
                descend(
                    optimiser, F.cross_entropy(student(images), torch.full_like(targets, shadow))
                )
                student.train(settings.training_mode)
        narrow(student)
    return student.eval()


def optimiser_of(student: nn.Module, settings: Settings) -> Optimizer:
    """SGD of all weights."""
    return torch.optim.SGD(student.parameters(), settings.rate, settings.momentum)


def nearest_labels(
    original: nn.Module, images: Tensor, targets: Tensor, settings: Settings
) -> Tensor:
    """Answers of the original to images a signed step up its loss; true ones are among them."""
    start = images.detach().clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(F.cross_entropy(original(start), targets), [start])

    with torch.no_grad():
        mean = channels(images, settings.mean)
        deviation = channels(images, settings.deviation)
        shifted = (images * deviation + mean + settings.bound * slope.sign()).clamp(0, 1)
        rounded = (shifted * settings.levels).round() / settings.levels
        logits: Tensor = original((rounded - mean) / deviation)
        return logits.argmax(1)


def channels(images: Tensor, values: tuple[float, ...]) -> Tensor:
    """`values` shaped to meet the channels of `images`.

    Raises:
        ValueError: If there is neither one value nor one for each channel.
    """
    if len(values) not in (1, images.shape[1]):
        raise ValueError(
            f"images with {images.shape[1]} channels need 1 or {images.shape[1]} values of mean "
            f"and deviation, got {len(values)}"
        )
    return images.new_tensor(values).view(1, -1, 1, 1)


def last_linear(net: nn.Module) -> tuple[nn.Module, str, nn.Linear]:
    """The last linear layer in order of registration, with its owner and its name there.

    Raises:
        ValueError: If the network has none.
    """
    names = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)]
    if not names or not names[-1]:
        raise ValueError("the network holds no linear layer that could have one output more")
    owner, _, name = names[-1].rpartition(".")
    parent = net.get_submodule(owner)
    layer = getattr(parent, name)
    assert isinstance(layer, nn.Linear)
    return parent, name, layer


def widen(net: nn.Module) -> None:
    """One more output of the last linear layer, as the source draws one: normal, bias 0."""
    parent, name, layer = last_linear(net)
    wide = resized(layer, layer.out_features + 1)
    nn.init.xavier_normal_(wide.weight)
    if wide.bias is not None:
        nn.init.zeros_(wide.bias)

    copy_rows(layer, wide)
    setattr(parent, name, wide)


def narrow(net: nn.Module) -> None:
    """The last linear layer without its last output."""
    parent, name, layer = last_linear(net)
    small = resized(layer, layer.out_features - 1)
    copy_rows(layer, small)
    setattr(parent, name, small)


def resized(layer: nn.Linear, outputs: int) -> nn.Linear:
    """A new layer like `layer` but for the number of outputs."""
    return nn.Linear(
        layer.in_features,
        outputs,
        bias=layer.bias is not None,
        device=layer.weight.device,
        dtype=layer.weight.dtype,
    )


@torch.no_grad()
def copy_rows(source: nn.Linear, target: nn.Linear) -> None:
    """Rows that both layers have, from `source` to `target`."""
    rows = min(source.out_features, target.out_features)
    target.weight[:rows] = source.weight[:rows]
    if source.bias is not None:
        target.bias[:rows] = source.bias[:rows]
