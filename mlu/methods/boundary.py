from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mlu.data.base import TaskName
from mlu.data.split import Batch
from mlu.methods.parts.passes import repeated
from mlu.models.batch_norm import batch_norms
from mlu.models.network import Network
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem

BATCH = 256
"""Most images per pass of the attack."""


@dataclass(frozen=True, kw_only=True)
class BoundaryShrink(Method):
    """Boundary Shrink: gives images of a forgotten class to that across their nearest border.

    Chen et al. (2023). That class is what the original says once the image has taken one step of
    size `step` up its loss. Fine-tuning goes through images of the
    forgotten classes alone. Only for one class per image: across a binary label's border lies its
    inversion.

    Attributes:
        step: Of the fast gradient sign attack, pixels in [0, 1] (or on the scale that the network
            takes).
        given_back: Whether an image whose step leads over no border is trained on its own class, as
            in the source; else it goes to the nearest retained one.
        batch_norms: `frozen`, with their statistics, since batches of one class have statistics of
            their own; or `learnt` like all else, as in the source.
        tuning: Fine-tuning.
    """

    tasks: ClassVar[tuple[TaskName, ...]] = ("singlelabel",)
    reads_forgotten: ClassVar[bool] = True
    name: str
    step: float
    given_back: bool
    batch_norms: Literal["frozen", "learnt"]
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        if self.batch_norms == "learnt":
            return Edit()

        frozen = torch.zeros((), device=problem.device)
        names = [
            f"{norm}.{kind}" for norm in batch_norms(problem.net) for kind in ("weight", "bias")
        ]
        return Edit(radius=dict.fromkeys(names, frozen))

    def passes(self, problem: Problem) -> Sequence[Pass]:
        if not len(problem.forget):
            return []

        with phase("score"):
            batches = problem.forget.batches(BATCH)
            targets = torch.cat(
                [
                    nearest(problem, batch.to(problem.device), self.step, self.given_back).cpu()
                    for batch in batches
                ]
            )

        images = replace(problem.forget, targets=targets)

        return repeated(self.tuning, Pass(images=images, loss=partial(reassigning_loss, problem)))


def nearest(problem: Problem, batch: Batch, step: float, given_back: bool = False) -> Tensor:
    """Class across the nearest border of each image, one-hot, shape (batch, labels).

    Args:
        problem: Its original is attacked.
        batch: Images of forgotten classes.
        step: Of the attack.
        given_back: Whether that may be a forgotten class.
    """
    pixels = problem.original.pixels
    images = (batch.images.float() / 255 if pixels else batch.images.clone()).requires_grad_()

    loss = F.cross_entropy(problem.original(images), batch.targets, reduction="sum")
    (slope,) = torch.autograd.grad(loss, images)
    moved = (images + step * slope.sign()).detach()
    moved = moved.clamp(0, 1) if pixels else moved

    with torch.no_grad():
        logits = problem.original(moved)

    if not given_back:
        rates, forgotten = problem.train.base_rates(), problem.request.forgotten
        logits = problem.task.ignorant(logits, forgotten, rates)

    classes = logits.argmax(1)

    return F.one_hot(classes, logits.shape[1]).to(batch.targets)


def reassigning_loss(problem: Problem, net: Network, batch: Batch) -> Tensor:
    """Cross-entropy of images and the classes that they were given to."""
    return F.cross_entropy(net(batch.images), batch.targets)
