from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from mlu.data.split import Batch, Split, count_batches
from mlu.methods.parts.scoring import MEAN_BATCH, forgotten_side, on_device, speaking
from mlu.models.network import Network, Weights
from mlu.models.tasks import Relabelling
from mlu.scores.gradients import every_weight, sensitivity
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import top_fraction


@dataclass(frozen=True, kw_only=True)
class SalUn(Method):
    """SalUn: teaches random forgotten labels to the weights that these labels depend on most.

    Fan et al. (2024). A weight's saliency is |dL_forgotten/dw| of the mean training loss. The
    body's weights, biases and batch norms are ranked together, the head's apart from them: a
    forgotten label's own row would fill the mask. All other weights are put back after each step,
    since momentum and weight decay walk through a mask of gradients.

    Attributes:
        fraction: Share of the body's and of the head's weights that may move, in [0, 1]; 1 is plain
            relabelling. A weight without any saliency never moves below 1.
        relabel: New forgotten targets. Multi-label: `prior` draws from the base rate, `uniform`
            tosses a coin, `flip` inverts, and so keeps the label readable for everyone.
            Single-label: `prior` draws a retained class by its base rate, `uniform` any class,
            `flip` any class but the true one.
        resample: Whether every epoch draws anew; a fixed draw can be learnt by heart.
        tuning: Fine-tuning on all images, retained labels included.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    fraction: float
    relabel: Relabelling
    resample: bool
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            saliency = self.saliency(problem)
        with phase("edit"):
            radius = self.radius(saliency, "body.") | self.radius(saliency, "head.")
            return Edit(radius=radius)

    def saliency(self, problem: Problem) -> Weights:
        """|dL_forgotten/dw| of every parameter."""
        net, columns = speaking(problem), forgotten_side(problem)
        batches = on_device(problem, problem.forget, MEAN_BATCH)
        scores = sensitivity(net, problem.task, batches, columns, every_weight(net))
        return scores["forgotten"]

    def radius(self, saliency: Weights, part: str) -> dict[str, Tensor]:
        """Radius of a part's weights: inf where their saliency is highest, else 0."""
        names = [name for name in saliency if name.startswith(part)]
        flat = torch.cat([saliency[name].flatten() for name in names])
        moving = top_fraction(flat, self.fraction) & ((flat > 0) | (self.fraction == 1))

        radius = {}
        sizes = [saliency[name].numel() for name in names]

        for name, chosen in zip(names, moving.split(sizes), strict=True):
            radius[name] = torch.where(chosen, torch.inf, 0.0).view_as(saliency[name])

        return radius

    def passes(self, problem: Problem) -> Sequence[Pass]:
        generator, loss = problem.generator(), partial(relabelled_loss, problem)
        first = self.relabelled(problem, generator)
        epochs = range(self.tuning.epochs_of(count_batches(len(first), self.tuning.batch_size)))

        passes = []
        for number in epochs:
            anew = number > 0 and self.resample
            split = self.relabelled(problem, generator) if anew else first
            passes.append(Pass(images=split, loss=loss))

        return passes

    def relabelled(self, problem: Problem, generator: torch.Generator) -> Split:
        """The training split with new targets where it speaks of the forgotten labels."""
        train = problem.train
        targets = problem.task.redrawn_targets(
            train.targets, problem.request.forgotten, train.base_rates(), self.relabel, generator
        )
        return replace(train, targets=targets)


def relabelled_loss(problem: Problem, net: Network, batch: Batch) -> Tensor:
    """Loss in which the retained and the forgotten labels weigh the same, however many they are."""
    groups = (problem.request.retained, problem.request.forgotten)
    return problem.task.grouped_loss(net(batch.images), batch.targets, batch.known, groups)
