from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from mlu.data.split import Split
from mlu.methods.parts.dampening import class_by_class, dampening_edit
from mlu.methods.parts.scoring import (
    both_sides,
    forgotten_side,
    on_device,
    speaking,
)
from mlu.models.network import Weights
from mlu.models.tasks import Groups
from mlu.scores.gradients import every_weight, output_slopes
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class LossFreeDampening(Method):
    """LFSSD: shrinks the weights that move the forgotten output more than the rest, by no loss.

    Foster, Schoepf and Brintrup (2024, Loss-Free Machine Unlearning, arXiv 2402.19308); code of the
    authors: the README of if-loops/selective-synaptic-dampening at cdfdc0e. It is SSD with another
    importance: not the squared gradient of the loss, but |d ||f(x)||^2 / dw|, how far the squared
    length of the outputs moves with a weight. So no target is read: of a multi-label task the
    forgotten and the retained outputs are told apart, of a single-label one the images.

    Attributes:
        against: What the forgotten images or outputs are weighed against: the `retained` ones, or
            `all`, as in the source. Of single images those of a class are a share of all, so that
            no weight could matter to them more often than that share goes into 1.
        alpha: How many times more a weight must matter to what is forgotten, > 0.
        dampening: The source's lambda, >= 0: a weight is multiplied by it and by how much less it
            matters to the rest, at most by 1.
        score_batch: Images whose mean squared length has its gradient taken: 1 is the paper's
            formula, 64 its code.
        images: Most training images that importances are computed on; null for all.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str
    against: Literal["retained", "all"]
    alpha: float
    dampening: float
    score_batch: int
    images: int | None

    def edit(self, problem: Problem) -> Edit:
        return dampening_edit(problem, self.importances, self.alpha, self.dampening)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()

    def importances(self, problem: Problem) -> dict[str, Weights]:
        """Importance to what is forgotten and to the rest, by one pass where images have both."""
        labels = tuple(range(problem.train.targets.shape[1]))
        sides = both_sides(problem) if self.against == "retained" else forgotten_side(problem)
        parts = list(problem.task.parts(problem.train, sides))
        if self.against == "all":
            parts.append((problem.train, {"retained": labels}))

        found: dict[str, Weights] = {}
        for images, columns in parts:
            found |= self.slopes_of(problem, images, columns)
        return found

    def slopes_of(self, problem: Problem, part: Split, columns: Groups) -> dict[str, Weights]:
        """Sizes of the slopes of some images' outputs by each weight."""
        net, labels = speaking(problem), part.targets.shape[1]
        rows = torch.randperm(len(part), generator=problem.generator())[: self.images]
        rows = class_by_class(problem, part, rows.sort().values)

        outputs = {name: problem.task.competing(chosen, labels) for name, chosen in columns.items()}
        batches = on_device(problem, part.subset(rows), self.score_batch)
        return output_slopes(net, batches, outputs, every_weight(net))
