from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from mlu.data.split import Batch, Split, count_batches
from mlu.methods.parts import MEAN_BATCH, every_weight, speaking
from mlu.models.network import Network
from mlu.scores.gradients import sensitivity
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import top_fraction


@dataclass(frozen=True, kw_only=True)
class SalUn(Method):
    """SalUn: teaches random forgotten labels to the weights that these labels depend on most (Fan
    et al., 2024).

    A weight's saliency is |dL_forgotten/dw| of the mean training loss. The body's weights, biases
    and batch norms are ranked together, the head's apart from them: a forgotten label's own row
    would fill the mask. All other weights are put back after each step, since momentum and weight
    decay walk through a mask of gradients.

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
    relabel: Literal["prior", "uniform", "flip"]
    resample: bool
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            net = speaking(problem)
            batches = (batch.to(problem.device) for batch in problem.forget.batches(MEAN_BATCH))
            columns = {"forgotten": problem.request.forgotten}
            saliency = sensitivity(net, problem.task, batches, columns, every_weight(net))[
                "forgotten"
            ]

        with phase("edit"):
            radius = {}
            for part in ("body.", "head."):
                names = [name for name in saliency if name.startswith(part)]
                flat = torch.cat([saliency[name].flatten() for name in names])
                moving = top_fraction(flat, self.fraction) & ((flat > 0) | (self.fraction == 1))
                sizes = [saliency[name].numel() for name in names]
                for name, chosen in zip(names, moving.split(sizes), strict=True):
                    radius[name] = torch.where(chosen, torch.inf, 0.0).view_as(saliency[name])
            return Edit(radius=radius)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        generator, loss = problem.generator(), partial(relabelled_loss, problem)
        first = self.relabelled(problem, generator)
        epochs = range(self.tuning.epochs_of(count_batches(len(first), self.tuning.batch_size)))
        splits = (
            first if not number or not self.resample else self.relabelled(problem, generator)
            for number in epochs
        )
        return [Pass(images=split, loss=loss) for split in splits]

    def relabelled(self, problem: Problem, generator: torch.Generator) -> Split:
        """The training split with new targets where it speaks of the forgotten labels."""
        draw = new_classes if problem.task.name == "singlelabel" else new_labels
        return replace(problem.train, targets=draw(problem, self.relabel, generator))


def new_labels(problem: Problem, relabel: str, generator: torch.Generator) -> Tensor:
    """Targets with new 0/1 in the forgotten columns, shape (images, labels)."""
    targets, rates = problem.train.targets.clone(), problem.train.base_rates()
    for column in problem.request.forgotten:
        old = targets[:, column]
        rate = rates[column] if relabel == "prior" else torch.tensor(0.5)
        drawn = (torch.rand(len(old), generator=generator) < rate).to(old)
        targets[:, column] = 1 - old if relabel == "flip" else drawn
    return targets


def new_classes(problem: Problem, relabel: str, generator: torch.Generator) -> Tensor:
    """Targets with another class for images of forgotten classes, shape (images, labels)."""
    targets, forgotten = problem.train.targets.clone(), list(problem.request.forgotten)
    rows = (targets[:, forgotten] > 0).any(1).nonzero().squeeze(1)
    chances = torch.ones(len(rows), targets.shape[1])
    if relabel == "prior":
        chances[:] = problem.train.base_rates()
        chances[:, forgotten] = 0
    elif relabel == "flip":
        chances -= targets[rows]

    if len(rows):
        drawn = torch.multinomial(chances, 1, generator=generator).squeeze(1)
        targets[rows] = F.one_hot(drawn, targets.shape[1]).to(targets)

    return targets


def relabelled_loss(problem: Problem, net: Network, batch: Batch) -> Tensor:
    """Mean loss over the retained labels plus that over the forgotten ones; of a single-label task
    over all images."""
    logits, task = net(batch.images), problem.task
    if task.name == "singlelabel":
        return task.loss(logits, batch.targets, batch.known.any(1))
    both = (problem.request.retained, problem.request.forgotten)
    scopes = [task.scope(batch.targets, batch.known, columns) for columns in both]
    return torch.stack([task.loss(logits, batch.targets, scope) for scope in scopes]).sum()
