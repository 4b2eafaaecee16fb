import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mlu.data.split import Batch
from mlu.methods.parts.losses import forgotten_loss, retained_loss
from mlu.methods.parts.passes import repeated
from mlu.models.network import Network
from mlu.training.optimise import Tuning
from mlu.unlearning.contract import Edit, Method, Pass, Problem


@dataclass(frozen=True, kw_only=True)
class NegGrad(Method):
    """NegGrad+: descends on the retained loss and ascends on the forgotten one.

    Kurmanji et al. (2023). The loss is alpha L_retained - (1 - alpha) L_forgotten. Ascent without
    an end turns a binary label round, which an attacker reads as well as the label itself; so a
    batch on which the forgotten output is as wrong as its base rate pushes no further. Momentum and
    other batches may still carry it past that point, since nothing pulls it back: keep steps small.

    Attributes:
        alpha: Weight of the retained loss, in [0, 1].
        capped: Whether a batch stops pushing at the loss of the constant base rate; the source does
            not stop.
        batches: `mixed` takes both means over one batch of all training images; `paired` takes a
            batch of what is retained and another one of what is forgotten, each by itself, as the
            source does.
        forget_batch_size: Images of what is forgotten per step, in pairs.
        anchor: Weight of half the squared distance of all weights from where they started, beside
            the retained loss, >= 0.
        tuning: Fine-tuning.
    """

    reads_forgotten: ClassVar[bool] = True
    name: str
    alpha: float
    capped: bool
    batches: Literal["mixed", "paired"]
    forget_batch_size: int
    anchor: float
    tuning: Tuning

    def edit(self, problem: Problem) -> Edit:
        return Edit()

    def passes(self, problem: Problem) -> Sequence[Pass]:
        forgotten = problem.request.forgotten

        cap = math.inf
        if self.capped:
            cap = problem.task.ignorance(problem.train.base_rates(), forgotten)

        loss = partial(self.loss, problem, cap)
        one = Pass(images=problem.train, loss=loss)
        # A batch of a single image has no statistics.
        if self.batches == "paired" and len(problem.forget) > 1:
            one = Pass(
                images=problem.retain,
                beside=problem.forget,
                beside_size=self.forget_batch_size,
                loss=loss,
            )

        return repeated(self.tuning, one)

    def loss(
        self, problem: Problem, cap: float, net: Network, batch: Batch, beside: Batch | None = None
    ) -> Tensor:
        """Retained loss less the forgotten one, which counts up to `cap`.

        Args:
            problem: Task and columns.
            cap: In nats.
            net: The network that is tuned.
            batch: What is retained, and forgotten.
            beside: What is forgotten, where it has a batch of its own.
        """
        logits = net(batch.images)
        retained = retained_loss(logits, batch, problem)
        if self.anchor:
            retained = retained + self.anchor * distance(net, problem.net) / 2

        if beside is not None:
            batch, logits = beside, net(beside.images)

        ascent = forgotten_loss(logits, batch, problem).clamp(max=cap)

        return self.alpha * retained - (1 - self.alpha) * ascent


def distance(net: Network, start: Network) -> Tensor:
    """Squared distance of all weights from those of another network, a scalar."""
    pairs = zip(net.parameters(), start.parameters(), strict=True)
    return torch.stack([(one - other).square().sum() for one, other in pairs]).sum()
