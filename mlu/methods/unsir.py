from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from mlu.data.base import Images
from mlu.data.split import Batch, Split
from mlu.methods.parts.losses import loss_of_both, loss_of_retained, retained_loss
from mlu.methods.parts.passes import share_of
from mlu.models.network import Network
from mlu.system.errors import UserError
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem

TUNED_PIXELS = 3 * 32 * 32
"""Numbers in an image of the source, for which its `penalty` was chosen."""


@dataclass(frozen=True, kw_only=True)
class Unsir(Method):
    """UNSIR: learns noise that the network is most wrong about, impairs it by that, and repairs it.

    Tarun et al. (2023). Noise images stand for the forgotten label. They start from a normal
    distribution (in normalised pixels) and climb the forgotten loss of the frozen network. Then one
    pass teaches them together with retained images, and one pass repairs on retained images alone.
    In a multi-label task each noise image has a random target for each forgotten label, so that no
    side of it is favoured, and none for the others; in a single-label task it has a forgotten
    class. No image is asked for its forgotten target.

    Attributes:
        noise_images: Number of noise images.
        noise_steps: Steps of Adam that they are learnt in.
        noise_lr: Of these steps, in normalised pixels.
        penalty: Weight of the mean squared norm of a noise image, for 3 x 32 x 32 numbers; scaled
            to other sizes.
        shown: Noise images of each forgotten label that are shuffled among the retained ones for
            the first pass, as in the source (and not augmented, which would clip them); None makes
            half of each batch noise.
        share: Of the retained training images that both passes go through, in (0, 1].
        per_class: Most of these of each class, where an image has one; None for any.
        repair_lr: Learning rate of the repairing pass, which has an optimiser of its own.
        tuning: Optimiser of both passes; `lr` is that of the impairing one, `epochs` counts passes
            of each kind.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str
    noise_images: int
    noise_steps: int
    noise_lr: float
    penalty: float
    shown: int | None
    share: float
    per_class: int | None
    repair_lr: float
    tuning: Tuning

    def __post_init__(self) -> None:
        if self.shown is not None and self.tuning.augment != "none":
            raise UserError(
                f"method.shown={self.shown} shuffles noise among images, which augmentation would "
                "clip: use method.tuning.augment=none, or method.shown=null"
            )

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        epochs = self.tuning.epochs or 0
        if not epochs:
            return []

        with phase("score"):
            generator = problem.generator()
            targets = noise_targets(problem, self.noise_images, generator)
            noise = self.learn_noise(problem, targets, generator)

        images = self.of_each_class(problem, share_of(problem.retain, self.share, generator))
        if self.shown is None:
            half = partial(self.impairing_loss, problem, noise, targets, generator)
            impair = Pass(images=images, loss=half)
        else:
            mixed = with_noise(problem, images, noise, targets, self.shown)
            impair = Pass(images=mixed, loss=partial(loss_of_both, problem))

        repair = Pass(images=images, loss=partial(loss_of_retained, problem), lr=self.repair_lr)
        fresh = Pass(images=images, loss=repair.loss, lr=self.repair_lr, fresh=True)

        return [impair] * epochs + [fresh] + [repair] * (epochs - 1)

    def of_each_class(self, problem: Problem, images: Split) -> Split:
        """At most `per_class` images of each class, the first ones."""
        classes = problem.task.one_class(images.targets)
        if classes is None or self.per_class is None:
            return images

        rank = torch.zeros_like(classes)
        for number in classes.unique():
            rows = (classes == number).nonzero().squeeze(1)
            rank[rows] = torch.arange(len(rows))

        return images.subset((rank < self.per_class).nonzero().squeeze(1))

    def learn_noise(self, problem: Problem, targets: Tensor, generator: torch.Generator) -> Tensor:
        """Noise images on the scale of images, shape (noise_images, 3, height, width)."""
        net, (_, *shape) = problem.net, problem.train[[0]].images.shape
        start = torch.randn(len(targets), *shape, generator=generator)
        noise = start.to(problem.device).requires_grad_()

        optimiser = torch.optim.Adam([noise], lr=self.noise_lr)
        penalty = self.penalty * TUNED_PIXELS / noise[0].numel()

        for _ in range(self.noise_steps):
            optimiser.zero_grad()
            loss = noise_loss(problem, net(net.denormalised(noise)), targets)
            (penalty * noise.square().flatten(1).sum(1).mean() - loss).backward()
            optimiser.step()

        return net.denormalised(noise.detach())

    def impairing_loss(
        self,
        problem: Problem,
        noise: Tensor,
        targets: Tensor,
        generator: torch.Generator,
        net: Network,
        batch: Batch,
    ) -> Tensor:
        """Loss of half a batch of noise and half of retained images, passed together.

        Batch norm demands that.
        """
        rows = torch.randint(len(noise), (len(batch),), generator=generator).to(noise.device)
        images = batch.images
        if images.dtype == torch.uint8:
            images = images.float() / 255

        # In turn, so that both halves of a batch can be shared by several processes.
        pairs = torch.stack([noise[rows[batch.part]].to(images), images], 1)
        false, true = net(pairs.flatten(0, 1)).unflatten(0, (-1, 2)).unbind(1)

        return noise_loss(problem, false, targets[rows]) + retained_loss(true, batch, problem)


def noise_targets(problem: Problem, images: int, generator: torch.Generator) -> Tensor:
    """Labels that noise images stand for: random and balanced, or a forgotten class in turn.

    Shape (images, labels).
    """
    labels = problem.train.targets.shape[1]
    targets = problem.task.invented_targets(images, labels, problem.request.forgotten, generator)
    return targets.to(problem.device)


def noise_loss(problem: Problem, logits: Tensor, targets: Tensor) -> Tensor:
    """Mean loss of the forgotten labels alone; noise says nothing about the others."""
    return problem.task.column_loss(logits, targets, problem.request.forgotten)


@dataclass(frozen=True)
class WithNoise:
    """Images, and noise images behind them, all on one scale.

    Attributes:
        images: uint8, or floats on the scale that a network takes.
        noise: Floats, shape (n, 3, height, width); of pixels in [0, 1], which noise may leave.
    """

    images: Images
    noise: np.ndarray

    def __len__(self) -> int:
        return len(self.images) + len(self.noise)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), *self.noise.shape[1:]), np.float32)
        true = rows < len(self.images)
        if true.any():
            images = self.images[rows[true]]
            found[true] = images / 255 if images.dtype == np.uint8 else images
        found[~true] = self.noise[rows[~true] - len(self.images)]
        return found


def with_noise(
    problem: Problem, images: Split, noise: Tensor, targets: Tensor, shown: int
) -> Split:
    """Images and, behind them, so many noise images of each forgotten label, repeated in turn."""
    forgotten = problem.request.forgotten
    taken = torch.arange(shown * len(forgotten)) % len(noise)
    known = torch.zeros(len(taken), images.known.shape[1], dtype=torch.bool)
    known[:, list(forgotten)] = True

    return Split(
        images=WithNoise(images.images, noise.cpu().numpy()),
        rows=np.concatenate([images.rows, len(images.images) + taken.numpy()]),
        targets=torch.cat([images.targets, targets.cpu()[taken]]),
        known=torch.cat([images.known, known]),
        identities=np.concatenate([images.identities, -1 - taken.numpy()]),
    )
