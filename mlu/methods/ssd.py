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
from mlu.scores.gradients import batch_squares, every_weight, fisher
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class SelectiveDampening(Method):
    """SSD: shrinks the weights that matter more to what must be forgotten than to the rest.

    Foster et al. (2024). A weight's importance is its mean squared gradient, to the forgotten
    labels F_u and to the others F_R. Where F_u > alpha F_R the weight is multiplied by min(lambda
    F_R / F_u, 1). Nothing is fine-tuned.

    Attributes:
        importance: What is squared. `image`: the gradient of each image's loss, and F_R is that of
            the retained labels or classes. `batch`, as in the source: the gradient of a batch's
            mean loss, and F_R is that of all labels and all training images, class by class: in a
            batch of one class gradients cancel less than in a mixed one. Of single images that is
            at least the forgotten class's share of F_u, so that no weight could be alpha times as
            important to a class of 1 / alpha of them.
        alpha: How many times more a weight must matter to the forgotten labels, > 0.
        dampening: The lambda above, >= 0.
        score_batch: Images of a `batch`, or per random-sign draw of an `image`'s importance.
        images: Most training images that importances are computed on; null for all.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    importance: Literal["image", "batch"]
    alpha: float
    dampening: float
    score_batch: int
    images: int | None

    def edit(self, problem: Problem) -> Edit:
        return dampening_edit(problem, self.importances, self.alpha, self.dampening)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()

    def importances(self, problem: Problem) -> dict[str, Weights]:
        """F_u and F_R, by one forward pass where every image speaks of both."""
        if self.importance == "batch":
            labels = tuple(range(problem.train.targets.shape[1]))
            return {
                **self.squares_of(problem, problem.forget, forgotten_side(problem)),
                **self.squares_of(problem, problem.train, {"retained": labels}),
            }

        found: dict[str, Weights] = {}
        for images, columns in problem.task.parts(problem.train, both_sides(problem)):
            found |= self.squares_of(problem, images, columns)
        return found

    def squares_of(self, problem: Problem, part: Split, columns: Groups) -> dict[str, Weights]:
        """Mean squared gradients by some images."""
        net = speaking(problem)
        weights = every_weight(net)
        rows = torch.randperm(len(part), generator=problem.generator())[: self.images]
        if self.importance == "batch":
            rows = class_by_class(problem, part, rows.sort().values)

        batches = on_device(problem, part.subset(rows), self.score_batch)
        if self.importance == "batch":
            return batch_squares(net, problem.task, batches, columns, weights)
        return fisher(net, problem.task, batches, columns, weights, problem.generator())
