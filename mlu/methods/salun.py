from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mlu.data.split import Split, count_batches
from mlu.methods.parts.losses import loss_of_both
from mlu.methods.parts.scoring import MEAN_BATCH, forgotten_side, on_device, speaking
from mlu.models.network import Weights
from mlu.models.tasks import Relabelling
from mlu.scores.gradients import every_weight, sensitivity
from mlu.training.meter import phase
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem
from mlu.unlearning.edits import top_fraction


@dataclass(frozen=True, kw_only=True)
class SalUn(Method):
    """SalUn: teaches random forgotten labels to the weights that these labels depend on most.

    Fan et al. (2024). A weight's saliency is |dL_forgotten/dw| of the mean training loss, of
    weights, biases and batch norms alike. All that is not salient is put back after each step,
    since momentum and weight decay walk through a mask of gradients.

    Attributes:
        fraction: Share of what is ranked that may move, in [0, 1]; 1 is plain relabelling. A weight
            without any saliency never moves below 1.
        ranking: What is ranked: the `whole` network together, as in the source, or body and head as
            `parts`, each by itself: a forgotten label's own row would else fill the mask.
        relabel: New forgotten targets. Multi-label: `prior` draws from the base rate, `uniform`
            tosses a coin, `flip` inverts, and so keeps the label readable for everyone.
            Single-label: `prior` draws a retained class by its base rate, `uniform` any class,
            `flip` any class but the true one.
        resample: Whether every epoch draws anew; a fixed draw can be learnt by heart.
        order: Of an epoch: forgotten and retained `mixed` in each batch, or all that is forgotten
            and then all that is retained (`forget_first`), as the source has it for CIFAR-10 and
            SVHN.
        tuning: Fine-tuning on all images, retained labels included.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    fraction: float
    ranking: Literal["parts", "whole"]
    relabel: Relabelling
    resample: bool
    order: Literal["mixed", "forget_first"]
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        with phase("score"):
            saliency = self.saliency(problem)
        with phase("edit"):
            if self.ranking == "whole":
                return Edit(radius=self.radius(saliency, ""))
            return Edit(radius=self.radius(saliency, "body.") | self.radius(saliency, "head."))

    def saliency(self, problem: Problem) -> Weights:
        """|dL_forgotten/dw| of every parameter."""
        net, columns = speaking(problem), forgotten_side(problem)
        batches = on_device(problem, problem.forget, MEAN_BATCH)
        scores = sensitivity(net, problem.task, batches, columns, every_weight(net))
        return scores["forgotten"]

    def radius(self, saliency: Weights, part: str) -> dict[str, Tensor]:
        """Radius of a part's weights: inf where their saliency is highest, else 0.

        Args:
            saliency: Of every parameter.
            part: With what the names of the part's begin.
        """
        names = [name for name in saliency if name.startswith(part)]
        flat = torch.cat([saliency[name].flatten() for name in names])
        moving = top_fraction(flat, self.fraction) & ((flat > 0) | (self.fraction == 1))

        radius = {}
        sizes = [saliency[name].numel() for name in names]

        for name, chosen in zip(names, moving.split(sizes), strict=True):
            radius[name] = torch.where(chosen, torch.inf, 0.0).view_as(saliency[name])

        return radius

    def passes(self, problem: Problem) -> Sequence[Pass]:
        generator = problem.generator()
        spoken, rest = problem.train, []
        if self.order == "forget_first":
            spoken, rest = problem.forget, [problem.retain]

        batches = sum(
            count_batches(len(split), self.tuning.batch_size) for split in (spoken, *rest)
        )
        first, loss = self.relabelled(problem, spoken, generator), partial(loss_of_both, problem)

        passes = []
        for number in range(self.tuning.epochs_of(batches)):
            anew = number > 0 and self.resample
            split = self.relabelled(problem, spoken, generator) if anew else first
            passes += [Pass(images=images, loss=loss) for images in (split, *rest)]

        return passes

    def relabelled(self, problem: Problem, split: Split, generator: torch.Generator) -> Split:
        """Some training images with new targets where they speak of the forgotten labels."""
        targets = problem.task.redrawn_targets(
            split.targets,
            problem.request.forgotten,
            problem.train.base_rates(),
            self.relabel,
            generator,
        )
        return replace(split, targets=targets)
