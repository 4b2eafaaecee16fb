from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mlu.data.split import Batch, Split
from mlu.methods.parts.anew import new_start
from mlu.methods.parts.influential import influence_on_forgotten
from mlu.methods.parts.passes import repeated
from mlu.models.network import Network
from mlu.scores.gradients import every_weight
from mlu.scores.influence import Perturbation, Solver
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class DataRemoval(Method):
    """Removal of data: trains all labels anew, without some of the training images.

    Paper, Section 5: "removing more than 20% of influential data points completely significantly
    degrades model utility". Images are removed with all their labels; every label is trained on
    those that are left, the forgotten one too, so this is no way to forget a label. It starts from
    Kaiming-normal weights.

    Attributes:
        share: Of the training images that is removed, in [0, 1); at least two are left.
        select: Which images go: those of largest absolute influence on the forgotten labels
            (`influential`, Eq. 2), or as many drawn at random (`random`).
        influence: How Eq. 2 is solved: `head_exact`, `cg` or `kfac`.
        perturbation: Of a point, in Eq. 2: `label_flip`, `label_prior` or `input_noise`.
        damping: Of the curvature in Eq. 2, as a share of its mean over weights, > 0.
        curvature_images: Most images that the curvature of `cg` and `kfac` is computed on.
        tuning: Training.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    share: float
    select: Literal["influential", "random"]
    influence: Solver
    perturbation: Perturbation
    damping: float
    curvature_images: int
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        generator, anew = problem.generator(), {}
        for name, value in every_weight(problem.net).items():
            anew[name] = new_start(name, value, generator).to(value)
        return Edit(weights=anew)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        with phase("score"):
            images = self.left(problem)
        return repeated(self.tuning, Pass(images=images, loss=partial(loss_of_all, problem)))

    def left(self, problem: Problem) -> Split:
        """The training images that are not removed, in their order."""
        count = max(min(2, len(problem.train)), round((1 - self.share) * len(problem.train)))
        order = self.ranks(problem).argsort(stable=True)
        return problem.train.subset(order[:count].sort().values)

    def ranks(self, problem: Problem) -> Tensor:
        """Number of each training image; those of the highest go first, shape (images,)."""
        if self.select == "random":
            return torch.rand(len(problem.train), generator=problem.generator())

        return influence_on_forgotten(
            problem,
            problem.train,
            self.influence,
            self.perturbation,
            self.damping,
            self.curvature_images,
        )


def loss_of_all(problem: Problem, net: Network, batch: Batch) -> Tensor:
    """Mean loss of a network over all labels."""
    scope = problem.task.scope(batch.targets, batch.known, range(batch.targets.shape[1]))
    return problem.task.loss(net(batch.images), batch.targets, scope)
