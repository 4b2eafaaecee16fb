import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mlu.data.split import Batch
from mlu.methods.parts.losses import retained_loss, teacher_logits
from mlu.methods.parts.passes import share_of
from mlu.models.network import Network
from mlu.models.outputs import respond
from mlu.scores.gradients import every_weight
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem

JITTER = 1e-3
"""Of the start under a maximising objective, in root mean squares of each layer."""


@dataclass(frozen=True, kw_only=True)
class Scrub(Method):
    """SCRUB: away from the original where it must forget, near it where it must not.

    Kurmanji et al. (2023). The original is a frozen teacher in evaluation mode. Each of the first
    `max_passes` epochs begins with a pass that drives the forgotten outputs away from it; every
    epoch ends with one that minimises gamma L_retained + alpha KL(teacher || student) on the
    retained outputs. The divergence of a multi-label task is that of a Bernoulli for each label,
    never of a softmax over labels.

    Attributes:
        objective: Of the first kind of pass. `kl_max` maximises the divergence, as the source does;
            it has no bound, and of a binary label it often ends with the inverted one.
            `kl_max_clipped` stops at ln 2 for each image. `kl_prior` minimises the divergence from
            what knows nothing: the base rate, or the teacher's distribution over the retained
            classes.
        alpha: Weight of the divergence in the second kind, >= 0.
        gamma: Weight of the retained loss in it, >= 0.
        temperature: Of the divergences, > 0.
        max_passes: Epochs that begin with a pass of the first kind.
        forget_fraction: Share of the forgetting images that such a pass goes through, in (0, 1];
            drawn anew each time.
        forget_batch_size: Images per step in such a pass.
        milestones: Epochs after which the learning rate is multiplied by `decay`.
        decay: See above.
        rewind: Whether the epoch is kept, from the second on, whose forgotten output knows least on
            the validation split (AUROC nearest 0.5). Of a single-label task the one whose error on
            the training images of the forgotten classes is nearest to the last epoch's on such
            validation images, as in the source.
        tuning: Fine-tuning; its epochs are those above.
    """

    reads_forgotten: ClassVar[bool] = False
    name: str
    objective: Literal["kl_max", "kl_max_clipped", "kl_prior"]
    alpha: float
    gamma: float
    temperature: float
    max_passes: int
    forget_fraction: float
    forget_batch_size: int
    milestones: tuple[int, ...]
    decay: float
    rewind: bool
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        """A start near the original where a divergence is maximised: at it there is no slope."""
        if self.objective == "kl_prior" or not self.max_passes:
            return Edit()

        generator, moved = problem.generator(), {}
        for name, value in every_weight(problem.net).items():
            noise = torch.randn(value.shape, generator=generator).to(value)
            moved[name] = value + JITTER * value.square().mean().sqrt() * noise

        return Edit(weights=moved)

    def passes(self, problem: Problem) -> Sequence[Pass]:
        drive = partial(self.forgetting_loss, problem)
        keep = partial(self.retaining_loss, problem)

        generator, passes = problem.generator(), []
        for epoch in range(1, (self.tuning.epochs or 0) + 1):
            reached = sum(epoch > milestone for milestone in self.milestones)
            lr = self.tuning.lr * self.decay**reached
            if epoch <= self.max_passes:
                images = share_of(problem.forget, self.forget_fraction, generator)
                size = self.forget_batch_size
                passes.append(Pass(images=images, loss=drive, lr=lr, batch_size=size))

            judge = partial(self.judge, problem) if self.rewind and epoch > 1 else None
            passes.append(Pass(images=problem.retain, loss=keep, lr=lr, judge=judge))

        return passes

    def forgetting_loss(self, problem: Problem, net: Network, batch: Batch) -> Tensor:
        """Loss of a pass that drives the forgotten outputs away."""
        logits, columns = net(batch.images), problem.request.forgotten
        if self.objective == "kl_prior":
            teacher = partial(teacher_logits, problem, batch.images)
            rates = problem.train.base_rates()
            target = problem.task.ignorant_teacher(logits, teacher, columns, rates)
            return problem.task.distillation(target, logits, columns, 1.0).mean()

        said = teacher_logits(problem, batch.images)
        divergence = problem.task.distillation(said, logits, columns, self.temperature)
        if self.objective == "kl_max_clipped":
            divergence = divergence.clamp(max=math.log(2))

        return -divergence.mean()

    def retaining_loss(self, problem: Problem, net: Network, batch: Batch) -> Tensor:
        """Loss of a pass that keeps the retained outputs."""
        logits = net(batch.images)
        loss = self.gamma * retained_loss(logits, batch, problem)

        if self.alpha:
            teacher, columns = teacher_logits(problem, batch.images), problem.request.retained
            apart = problem.task.distillation(teacher, logits, columns, self.temperature)
            loss = loss + self.alpha * apart.mean()

        return loss

    def judge(self, problem: Problem, net: Network) -> tuple[float, float]:
        """Figure of what the network knows of the forgotten label, and what that should be."""
        columns = problem.request.forgotten
        return problem.task.leak_and_goal(
            lambda split: respond(net, split)[0], problem.forget, problem.validation, columns
        )
