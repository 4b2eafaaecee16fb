"""Batches as the sources draw them, and what else all of their loops share."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

Examples = tuple[Tensor, Tensor]
"""Images, float32 (n, channels, h, w), and their targets, integers (n,)."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every draw within begins at `seed`; draws outside are as if there had been none."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def trainable(net: nn.Module) -> nn.Module:
    """Copy of `net` without gradients, every weight of which may be trained."""
    student = copy.deepcopy(net)
    student.zero_grad()
    return student.requires_grad_(True)


def in_order(examples: Examples, size: int) -> Iterator[Examples]:
    """Batches of `size` in the order of `examples`; the last one may be smaller."""
    images, targets = examples
    yield from zip(images.split(size), targets.split(size), strict=True)


def shuffled(examples: Examples, size: int) -> Iterator[Examples]:
    """Batches of `size` in a new order at each call; the last one may be smaller."""
    images, targets = examples
    order = torch.randperm(len(targets)).to(targets.device)
    for chosen in order.split(size):
        yield images[chosen], targets[chosen]


def moved(images: Tensor, padding: int, flip: bool) -> Tensor:
    """Each image cut at random out of itself with a border of zeros, and mirrored by a coin."""
    count, _, height, width = images.shape
    cut = images

    if padding:
        padded = F.pad(images, [padding] * 4)
        top = torch.randint(2 * padding + 1, (count,)).tolist()
        left = torch.randint(2 * padding + 1, (count,)).tolist()
        corners = zip(padded, top, left, strict=True)
        cut = torch.stack([image[:, y : y + height, x : x + width] for image, y, x in corners])

    if flip:
        mirrored = (torch.rand(count) < 0.5).to(images.device)
        cut = torch.where(mirrored[:, None, None, None], cut.flip(-1), cut)
    return cut


def descend(optimiser: Optimizer, loss: Tensor) -> None:
    """One step down `loss`, from gradients of zero."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def class_count(net: nn.Module, images: Tensor) -> int:
    """Number of logits of `net`, asked of a copy of it."""
    with torch.no_grad():
        return int(copy.deepcopy(net).eval()(images[:1]).shape[1])
