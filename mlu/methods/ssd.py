from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from mlu.data.split import Split
from mlu.methods.parts.scoring import both_sides, on_device, refuse_silence, speaking
from mlu.models.network import Weights
from mlu.models.tasks import Groups
from mlu.scores.gradients import every_weight, fisher
from mlu.training.meter import phase
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class SelectiveDampening(Method):
    """SSD: shrinks the weights that matter more to what must be forgotten than to the rest.

    Foster et al. (2024). A weight's importance is its mean squared gradient, to the forgotten
    labels F_u and to the others F_R. Where F_u > alpha F_R the weight is multiplied by min(lambda
    F_R / F_u, 1). Nothing is fine-tuned. The source squares the mean gradient of a batch, which
    depends on the batch's size; this squares each image's. F_R is that of the retained labels or
    classes, not of all images as in the source: the mean over all is at least the forgotten class's
    share of F_u, so that no weight could be alpha times as important to a class of 1 / alpha of the
    images or more.

    Attributes:
        alpha: How many times more a weight must matter to the forgotten labels, > 0.
        dampening: The lambda above, >= 0.
        score_batch: Images per random-sign draw of the importance.
        images: Most training images that importances are computed on; null for all.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    alpha: float
    dampening: float
    score_batch: int
    images: int | None

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            scores = self.importances(problem)
            forgotten = refuse_silence(scores["forgotten"])

        with phase("edit"):
            weights = every_weight(problem.net)
            return Edit(weights=self.dampened(weights, forgotten, scores["retained"]))

    def passes(self, problem: Problem) -> Sequence[Pass]:
        return ()

    def importances(self, problem: Problem) -> dict[str, Weights]:
        """F_u and F_R, by one forward pass where every image speaks of both."""
        found: dict[str, Weights] = {}
        for images, columns in problem.task.parts(problem.train, both_sides(problem)):
            found |= self.fisher_of(problem, images, columns)
        return found

    def fisher_of(self, problem: Problem, part: Split, columns: Groups) -> dict[str, Weights]:
        net = speaking(problem)
        rows = torch.randperm(len(part), generator=problem.generator())[: self.images]
        batches = on_device(problem, part.subset(rows), self.score_batch)
        return fisher(net, problem.task, batches, columns, every_weight(net), problem.generator())

    def dampened(
        self, weights: Weights, forgotten: Weights, retained: Weights
    ) -> dict[str, torch.Tensor]:
        """Weights, less where they matter more to the forgotten labels."""
        changed = {}
        for name, value in weights.items():
            ours, theirs = forgotten[name], retained[name]
            tiny = torch.finfo(ours.dtype).tiny
            factor = (self.dampening * theirs / ours.clamp(min=tiny)).clamp(max=1)
            changed[name] = torch.where(ours > self.alpha * theirs, factor * value, value)

        return changed
